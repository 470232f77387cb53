"""The annunciation alone, on a plant larger than any test site: one gateway before 16 racks x 20 modules."""

from __future__ import annotations

import dataclasses

import numpy as np

from controller.core.annunciate import MAX_ALARM_EVENTS, Annunciator, annunciate
from controller.core.event import Event
from controller.core.image import Alarms, AlarmState, ProcessImage, System, Trips
from controller.core.layout import Layout
from controller.core.memory import AnnunciationMemory
from controller.core.program import Program
from controller.core.protect import ROWS, Matrix
from controller.core.topology import Topology, Wires
from plc_config.compile import compile_site

RACKS, MODULES = 16, 20


def plant() -> Program:
    racks = np.ones((1, RACKS), bool)
    wires = Wires(("GW01",), np.ones((1, RACKS, MODULES), bool), racks, np.zeros((1, 1), bool), ((),))
    topology = dataclasses.replace(Topology.regular(RACKS, MODULES, 16, 4), wires=wires)
    bench = compile_site("bench").program
    matrix = Matrix(ROWS, topology, bench.limit, bench.cycle_ms)
    return dataclasses.replace(bench, topology=topology, buses=1, matrix=matrix)


class Panel:
    """Scans of the annunciation alone."""

    def __init__(self) -> None:
        self.program = plant()
        self.plan: Annunciator = self.program.alarms
        self.memory: AnnunciationMemory = Layout(AnnunciationMemory, self.program.dims).blank()
        self.trips: Trips = Layout(ProcessImage, self.program.dims).blank().trips
        self.system: System = Layout(ProcessImage, self.program.dims).blank().system
        self.events: list[Event] = []

    def scan(self, *acting: str) -> Alarms:
        slots = self.program.matrix.slots
        self.trips.slot_active[:] = [s.row.id in acting for s in slots]
        self.trips.slot_cause[:] = self.trips.slot_active
        self.trips.slot_element[:] = -1
        self.system = dataclasses.replace(
            self.system, elapsed_ms=100, now_ms=self.system.now_ms + 100, utc_ms=self.system.utc_ms + 100
        )
        alarms, _, events, self.memory = annunciate(self.plan, self.memory, self.trips, self.system, [])
        assert len(events) <= MAX_ALARM_EVENTS
        self.events += events
        return alarms


LOST = ("module_comm_lost", "rack_comm_lost", "rack_current_lost", "insulation_lost")
ALL = RACKS * MODULES + 3 * RACKS


def test_a_lost_gateway_before_368_alarms_is_one_alarm() -> None:
    panel = Panel()
    panel.scan(*LOST)  # one scan before the last device of the bus is missed
    for _ in range(30):
        alarms = panel.scan(*LOST, "bus_lost")
    root = next(s.index for s in panel.program.matrix.slots if s.row.id == "bus_lost")
    assert (alarms.active_alarms, alarms.unacknowledged_alarms, alarms.alarms_in_ten_minutes) == (1, 1, 1)
    assert alarms.alarm_consequences[root] == alarms.suppressed_alarms == ALL == 368
    assert alarms.untold_alarms == alarms.dropped_transitions == 0
    assert len([e for e in panel.events if e.new == AlarmState.SUPPRESSED]) == ALL, "each is in the journal"
    assert [e.place for e in panel.events if e.new == AlarmState.UNACKNOWLEDGED] == ["GW01"]
    for _ in range(60):
        alarms = panel.scan()
    assert alarms.unacknowledged_alarms == 1 and alarms.suppressed_alarms == 0, "the root returned, nothing else"


def test_in_a_storm_trips_are_told_first_and_none_is_lost() -> None:
    """Everything flickers for a second: the scan tells its share, the rest waits, and what is overtaken is counted."""
    panel = Panel()
    rows = [r.id for r in ROWS if not r.explained_by and r.id != "io_process_lost"]
    transitions = 0
    for i in range(10):
        before = panel.memory.told, panel.memory.shown, panel.memory.state
        alarms = panel.scan(*(rows if i % 4 < 2 else rows[::2]))
        transitions += int(((panel.memory.shown != before[1]) | (panel.memory.state != before[2])).sum())
    assert alarms.untold_alarms > 0
    opens = panel.plan.opens
    first_mild = next((i for i, e in enumerate(panel.events) if not opens[e.slot]), len(panel.events))
    assert all(opens[e.slot] for e in panel.events[:first_mild]) and first_mild >= MAX_ALARM_EVENTS
    for _ in range(200):
        alarms = panel.scan()
    assert alarms.untold_alarms == 0
    came = {e.slot for e in panel.events if e.came}
    wanted = {s.index for s in panel.program.matrix.slots if s.row.id in rows and s.row.opens}
    assert wanted <= came, "no trip is lost"
    assert transitions > 1000
    assert 0 < alarms.dropped_transitions < transitions
