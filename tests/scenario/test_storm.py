"""5,000 alarm transitions in one second, through the scan, the event ring and the store's journal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from controller.core.annunciate import MAX_ALARM_EVENTS
from controller.core.command import Kind
from controller.core.event import EVENT_DTYPE, What
from controller.image.ring import EVENT_CAPACITY, RingReader, RingWriter, create_ring
from tests.store_rig import Rig

FIRST = "cell_overvoltage R07/M03"


class Storm(Rig):
    """The plant site, where after one cell all the others fail within a second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "plant", with_store=False)
        self.transitions = 0
        self.seconds(3)
        self.healthy = self.points.cell_voltage_v.value.copy()
        self.before = len(self.events)

    def _one(self) -> None:
        before = self.memory.annunciation
        super()._one()
        now = self.memory.annunciation
        self.transitions += int(((now.shown != before.shown) | (now.state != before.state)).sum())

    def blow(self) -> None:
        """One second: one cell too high, a scan later all racks and two cells of every module, twice acknowledged."""
        volts = self.points.cell_voltage_v.value
        volts[6, 2, 4] = 3.9
        self.scans(1)
        volts[:, :, 0], volts[:, :, 1] = 4.2, 1.5
        self.points.rack_current_a.value[...] = 400.0
        self.scans(4)
        for rest in (1, 2):
            volts[...] = self.healthy
            self.tell(Kind.ACKNOWLEDGE, target=-1)
            self.scans(1)
            volts[:, :, 0], volts[:, :, 1] = 4.2, 1.5
            self.scans(rest)

    def told(self) -> list[Any]:
        """Alarm events since the storm began, as they were told."""
        return [e for e in self.events[self.before :] if e.what is What.ALARM]


def test_first_out_is_right_and_no_trip_is_lost(tmp_path: Path) -> None:
    storm = Storm(tmp_path)
    journal = storm.files.event_reader("scan")
    storm.blow()
    assert storm.transitions >= 5000
    slots = storm.program.matrix.slots
    assert storm.image is not None
    first = slots[storm.image.trips.first_out]
    assert f"{first.row.id} {first.place}" == FIRST
    assert storm.image.alarms.untold_alarms > 0, "the rest waits"
    most = 0
    while storm.image.alarms.untold_alarms:
        at = len(storm.events)
        storm.scans(1)
        most = max(most, len([e for e in storm.events[at:] if e.what is What.ALARM]))
    assert most == MAX_ALARM_EVENTS, "a scan tells its share and no more"

    acted = {s.index for s in slots if storm.memory.protection.latched[s.index] and s.row.opens}
    came = [e for e in storm.told() if e.came]
    assert len(acted) > 1000 and acted <= {e.slot for e in came}, "every trip was told"
    assert f"{slots[came[0].slot].row.id} {slots[came[0].slot].place}" == FIRST, "and the first one first"
    opens = [slots[e.slot].row.opens for e in came]
    assert all(opens[: opens.index(False)]) and sum(opens[: opens.index(False)]) >= MAX_ALARM_EVENTS
    dropped = storm.image.alarms.dropped_transitions
    assert len(storm.told()) + dropped >= storm.transitions and dropped > 0, "what was overtaken is counted"

    read = journal.take(2 * EVENT_CAPACITY)
    assert [(int(r["slot"]), int(r["new"])) for r in read if r["what"] == What.ALARM] == [
        (e.slot, int(e.new)) for e in storm.told()
    ]
    assert journal.lost == 0 and len(read) < EVENT_CAPACITY
    times = [int(r["time_ms"]) for r in read if r["came"] and slots[int(r["slot"])].row.opens]
    assert min(times) == times[0], "the row's own time is kept although it is told later"


def test_a_reader_that_sleeps_through_it_counts_what_it_lost(tmp_path: Path) -> None:
    """A ring of 1,000: the reader gets the newest, in order, and says how many are gone."""
    storm = Storm(tmp_path)
    path = tmp_path / "small.ring"
    create_ring(path, EVENT_DTYPE, 1000)
    storm.ring, reader = RingWriter(path, EVENT_DTYPE), RingReader(path, EVENT_DTYPE)
    storm.blow()
    while storm.image is not None and storm.image.alarms.untold_alarms:
        storm.scans(1)
    read = reader.take(10_000)
    assert len(read) == 1000 and reader.lost == storm.ring.written - 1000 > 0
    told = Counter(int(r["scan"]) for r in read)
    assert sorted(told) == list(told), "oldest first"
    assert np.isin([int(r["what"]) for r in read], [int(w) for w in What]).all()
