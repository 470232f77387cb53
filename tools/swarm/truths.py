"""Hazards that are true in the plant, whatever anybody shows or believes, and how soon each must have ended.

Only what the controller can see is asked of it: a hazard counts while its instruments are heard and show the truth.
A silent device is a hazard of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np

from controller.core.image import ProcessImage
from controller.core.settings import Band
from controller.core.signal import Bools, Floats
from tools.swarm.day import Day

NOISE_V, NOISE_K, NOISE_RATIO = 0.02, 1.0, 0.05
"""What an instrument may hide: nearer to its limit a hazard is nobody's fault."""
SETTLE_MS: Final = 1000
"""Beside a row's delay: noise gives some of it back."""
STOP_MS: Final = 30_000
"""An orderly stop has brought the current down, and opened, after this."""
NO_CHARGE_MS: Final = 10_000
CHARGING: Final = 0.05
"""Of 1C: a charge that no offset of a sensor explains."""


@dataclasses.dataclass(frozen=True, slots=True)
class Truth:
    """One hazard.

    points: what shows it; wrong: racks at which it is true and nobody has acted; within_ms: how long that may last,
    beside two cycles.
    """

    name: str
    points: tuple[str, ...]
    within_ms: Callable[[Day], int]
    wrong: Callable[[Day, ProcessImage], Bools]


def _closed(_: Day, image: ProcessImage) -> Bools:
    return np.asarray(image.outputs.rack_main_close)


def _estop(day: Day, image: ProcessImage) -> Bools:
    e = day.plant.enclosure
    return _closed(day, image) & (not (e.estop_channel_1 and e.estop_channel_2))


def _fire(day: Day, image: ProcessImage) -> Bools:
    e = day.plant.enclosure
    return _closed(day, image) & (e.fire or e.smoke)


def _insulation(day: Day, image: ProcessImage) -> Bools:
    limit = day.program.limit.insulation.trip * (1 - NOISE_RATIO)
    return _closed(day, image) & (day.plant.racks.insulation_ohm < limit)


def _supply(day: Day, image: ProcessImage) -> Bools:
    return _closed(day, image) & (day.plant.enclosure.aux_supply_v < day.program.limit.aux_supply.trip - NOISE_RATIO)


def _high_cell(day: Day, image: ProcessImage) -> Bools:
    limit = day.program.limit.cell_overvoltage.trip + NOISE_V
    return _closed(day, image) & (day.plant.cell_v > limit).any(axis=(1, 2))


def _low_cell(day: Day, image: ProcessImage) -> Bools:
    limit = day.program.limit.cell_undervoltage.trip - NOISE_V
    return _closed(day, image) & (day.plant.cell_v < limit).any(axis=(1, 2))


def _seen_degc(day: Day) -> Floats:
    return day.plant.temperature_degc().take(day.simulator.sensors.spots, axis=2)


def _hot(day: Day, image: ProcessImage) -> Bools:
    limit = day.program.limit.discharge_overtemperature.trip + NOISE_K
    return _closed(day, image) & (_seen_degc(day) > limit).any(axis=(1, 2))


def _charge_outside(day: Day, _: ProcessImage) -> Bools:
    """Charged while a cell is too cold or too hot for it."""
    limit, seen = day.program.limit, _seen_degc(day)
    cold = seen < limit.charge_undertemperature.trip - NOISE_K
    hot = seen > limit.charge_overtemperature.trip + NOISE_K
    charged = day.plant.current_a < -CHARGING * limit.rack_1c_a
    return np.asarray((cold | hot).any(axis=(1, 2)) & charged)


def _current(day: Day, image: ProcessImage) -> Bools:
    limit, amps = day.program.limit, day.plant.current_a
    most = np.where(amps > 0, limit.discharge_overcurrent.trip, limit.charge_overcurrent.trip)
    return np.asarray(_closed(day, image) & (np.abs(amps) > (1 + NOISE_RATIO) * most))


def _deaf_rack(day: Day, image: ProcessImage) -> Bools:
    return _closed(day, image) & day.wires.deaf(day.now_ms)


def _deaf_site(day: Day, image: ProcessImage) -> Bools:
    return _closed(day, image) & day.wires.cut_at("site", day.now_ms)


def _deaf_pcs(day: Day, image: ProcessImage) -> Bools:
    t = day.program.topology
    banks = [bank for p, bank in enumerate(t.pcs_bank.tolist()) if day.wires.cut_at("pcs", day.now_ms, (p,))]
    return _closed(day, image) & np.isin(t.rack_bank, banks)


def _deaf_module(day: Day, image: ProcessImage) -> Bools:
    t = day.program.topology
    cut = [any(day.wires.cut_at("module", day.now_ms, (r, m)) for m in range(t.modules)) for r in range(t.racks)]
    return np.asarray(_closed(day, image) & np.array(cut))


def _after(band: str, more_ms: int = SETTLE_MS) -> Callable[[Day], int]:
    def within(day: Day) -> int:
        found: Band = getattr(day.program.limit, band)
        return found.delay_ms + more_ms

    return within


def _lost(more_ms: int) -> Callable[[Day], int]:
    return lambda day: day.program.sensors.settings.lost_after_ms + more_ms


def _for(ms: int) -> Callable[[Day], int]:
    return lambda day: ms


TRUTHS: Final = (
    Truth("the E-stop is pressed", ("estop_channel_1_closed", "estop_channel_2_closed"), _for(0), _estop),
    Truth("there is fire or smoke", ("fire_alarm", "smoke_detected"), _for(0), _fire),
    Truth("its insulation has failed", ("rack_insulation_ohm",), _after("insulation"), _insulation),
    Truth("the control supply has failed", ("aux_supply_v",), _after("aux_supply", STOP_MS), _supply),
    Truth("a cell is overcharged", ("cell_voltage_v",), _after("cell_overvoltage"), _high_cell),
    Truth("a cell is discharged too far", ("cell_voltage_v",), _after("cell_undervoltage"), _low_cell),
    Truth("a cell is too hot", ("cell_temperature_degc",), _after("discharge_overtemperature"), _hot),
    Truth("a cell is charged too cold or too hot", ("cell_temperature_degc", "rack_current_a"),
          _after("charge_undertemperature", NO_CHARGE_MS), _charge_outside),
    Truth("its current is too large", ("rack_current_a",), _after("discharge_overcurrent"), _current),
    Truth("its controller is silent", (), _lost(SETTLE_MS), _deaf_rack),
    Truth("the auxiliary I/O is silent", (), _lost(SETTLE_MS), _deaf_site),
    Truth("a module of it is silent", (), _lost(STOP_MS), _deaf_module),
    Truth("a PCS of its bank is silent", (), _lost(STOP_MS), _deaf_pcs),
)  # fmt: skip


class Watch:
    """How long each hazard has stood unanswered at each rack."""

    def __init__(self, day: Day) -> None:
        self.day = day
        read = day.wires.points()
        self.truths = [t for t in TRUTHS if set(t.points) <= read]
        self.since_ms = np.full((len(self.truths), day.program.topology.racks), -1, np.int64)

    def look(self, image: ProcessImage) -> str:
        """What has stood for too long, for people; empty when nothing has."""
        day, cycle = self.day, self.day.program.cycle_ms
        for row, truth in enumerate(self.truths):
            wrong = truth.wrong(day, image)
            if not wrong.any():
                self.since_ms[row] = -1
                continue
            wrong = wrong & self._shown(truth)
            self.since_ms[row] = np.where(wrong, np.where(self.since_ms[row] < 0, 0, self.since_ms[row] + cycle), -1)
            late = self.since_ms[row] > truth.within_ms(day) + cycle
            if late.any():
                return f"rack {np.flatnonzero(late) + 1}: {truth.name}, for {self.since_ms[row].max()} ms"
        return ""

    def _shown(self, truth: Truth) -> Bools:
        """Racks at which the instruments show this truth now."""
        day = self.day
        shown = np.ones(day.program.topology.racks, bool)
        heard = day.wires.heard(day.now_ms)
        for point in truth.points:
            if point in heard:
                fresh = heard[point]
                shown &= fresh.reshape(len(shown), -1).all(axis=1) if fresh.ndim else bool(fresh)
            for fault in day.simulator.sensors.faults:
                if fault.point == point:
                    shown[fault.index[0] if fault.index else slice(None)] = False
        return shown
