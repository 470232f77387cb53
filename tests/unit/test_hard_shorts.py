"""Hard shorts on plain numbers: told within a minute, and what looks a little like one is not."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest

from controller.core.estimate.faults import Finding
from controller.core.image_warnings import Fault
from controller.core.memory_watch import WatchMemory
from controller.core.signal import Floats
from plc_config.compile import compile_site
from tests.early_rig import CELLS, String, kinds
from tests.sites import free_site
from tests.story import Story
from tools.score.hard_shorts import EACH, PLACES, tried

R0, R1, TAU1_S, JOULES_PER_K = 2.4e-4, 1.6e-4, 30.0, 19.0 * 280
WARM_UP_S = 240
Change = Callable[[float, float, Floats, Floats], None]
"""What happens: seconds since the onset and string current (A); voltages and temperatures are changed in place."""


def short(ohm: float, lag_s: float = 0.0, cell: int = 5) -> Change:
    """A resistance across one cell; its heat reaches the sensor `lag_s` late."""

    def change(t: float, current: float, v: Floats, warm: Floats) -> None:
        amps = 3.3 / ohm
        v[cell] -= amps * (R0 + R1 * (1 - np.exp(-t / TAU1_S)))
        late = t if lag_s == 0 else t - lag_s * (1 - np.exp(-t / lag_s))
        warm[cell] += 3.3 * amps / JOULES_PER_K * late

    return change


class Seconds(String):
    """A string looked at once a second (or every `step_ms`)."""

    def run(self, seconds: int, current: Callable[[float], float], change: Change | None = None,
            step_ms: int = 1000) -> list[tuple[float, Finding]]:  # fmt: skip
        """The onsets found meanwhile, with the seconds since the beginning."""
        found, p = [], self.points
        for t in np.arange(step_ms, 1000 * seconds + 1, step_ms) / 1000:
            amps = current(float(t))
            v = 3.3 - self.ohm[0, 0] * amps + self.random.normal(0, 1e-3, CELLS)
            warm = 25 + self.random.normal(0, 0.08, CELLS)
            if change is not None:
                change(float(t), amps, v, warm)
            p.rack_current_a.value[...], p.cell_voltage_v.value[0, 0] = amps, np.round(v, 3)
            p.cell_temperature_degc.value[0, 0] = np.round(warm, 1)
            self.memory, more = self.watch.step(self.memory, p, self.estimation, step_ms)
            found += [(float(t), f) for f in more]
        return found


@functools.cache
def steady(amps: float) -> Callable[[float], float]:
    return lambda _: amps


REST = steady(0.0)


def blocks(t: float) -> float:
    """Charge, rest and discharge, twenty seconds each."""
    return (-140.0, 0.0, 140.0)[int(t) // 20 % 3]


@functools.cache
def watched(current: Callable[[float], float]) -> tuple[WatchMemory, Floats]:
    """What is remembered of a healthy string after four minutes under that current, and its resistances."""
    s = Seconds()
    s.ohm *= 1 + s.random.normal(0, 0.03, s.ohm.shape)
    assert s.run(WARM_UP_S, current) == []
    return s.memory, s.ohm


def string(current: Callable[[float], float] = REST) -> Seconds:
    s = Seconds(seed=1)
    s.memory, s.ohm = watched(current)
    return s


@pytest.mark.parametrize("amps", [0.0, -70.0, 70.0], ids=["at rest", "in charge", "in discharge"])
def test_a_hard_short_is_told_within_a_minute_with_its_current(amps: float) -> None:
    found = string(steady(amps)).run(60, steady(amps), short(0.1))
    assert kinds([f for _, f in found]) == {(5, Fault.INTERNAL_SHORT)}
    t, f = found[0]
    assert t <= 60 and 100 * 20 / 280 < f.value < 100 * 45 / 280, "33 A, in % of capacity per hour"
    assert "A inside (C/" in f.text and "K/min" in f.text and f.sigmas > 4


@pytest.mark.parametrize("ohm", [0.05, 0.2])
def test_harder_is_not_later_and_softer_takes_longer(ohm: float) -> None:
    found = string().run(110, REST, short(ohm))
    assert kinds([f for _, f in found]) == {(5, Fault.INTERNAL_SHORT)}
    assert found[0][0] <= (60 if ohm < 0.1 else 110)


def test_a_surface_that_lags_its_core_tells_later() -> None:
    found = string().run(170, REST, short(0.1, 290.0))
    assert kinds([f for _, f in found]) == {(5, Fault.INTERNAL_SHORT)} and found[0][0] > 60


def test_two_at_once_are_both_told_and_the_cells_they_warm_are_not() -> None:
    def change(t: float, current: float, v: Floats, warm: Floats) -> None:
        short(0.1)(t, current, v, warm)
        short(0.05, cell=20)(t, current, v, warm)
        # The cell beside it is warmed through their faces, and falls as far as a short of 0.3 ohm.
        v[21] -= 0.004
        warm[21] += 0.3 * 3.3**2 / 0.05 / JOULES_PER_K * max(t - 20, 0)

    found = string().run(170, REST, change)
    assert kinds([f for _, f in found]) == {(5, Fault.INTERNAL_SHORT), (20, Fault.INTERNAL_SHORT)}


def _voltage_jump(t: float, current: float, v: Floats, warm: Floats) -> None:
    v[5] -= 0.012


def _both_jump(t: float, current: float, v: Floats, warm: Floats) -> None:
    v[5] -= 0.012
    warm[5] += 1.0


def _warmth_alone(t: float, current: float, v: Floats, warm: Floats) -> None:
    warm[5] += t / 48


def _eased(t: float, current: float, v: Floats, warm: Floats) -> None:
    """Heated from outside: the resistance falls."""
    warm[5] += t / 24
    v[5] += 0.026 * t / 24 * (R0 + R1) * current


def _connection(t: float, current: float, v: Floats, warm: Floats) -> None:
    v[5] -= 1e-4 * current
    warm[5] += 1e-4 * 140**2 * 2 / 3 / JOULES_PER_K * t


def _bleed(t: float, current: float, v: Floats, warm: Floats) -> None:
    v[::3] -= 0.2 * (R0 + R1)


def _module_warms(t: float, current: float, v: Floats, warm: Floats) -> None:
    warm[4:12] += t / 60
    v[5] -= 0.008


def _stuck(t: float, current: float, v: Floats, warm: Floats) -> None:
    v[5], warm[5] = 3.29, 25.6


NO_SHORTS = [_voltage_jump, _both_jump, _warmth_alone, _eased, _connection, _bleed, _module_warms, _stuck]


@pytest.mark.parametrize("change", NO_SHORTS)
@pytest.mark.parametrize("current", [steady(-140.0), blocks], ids=["charge", "blocks"])
def test_what_is_no_hard_short(change: Change, current: Callable[[float], float]) -> None:
    found = string(current).run(300, current, change)
    assert not any("inside" in f.text for _, f in found)


def test_a_joint_that_fails_in_discharge_and_warms_its_sensor_is_no_short() -> None:
    def joint(t: float, current: float, v: Floats, warm: Floats) -> None:
        v[5] -= 2.2e-4 * current
        warm[5] += t / 120

    found = string(steady(140.0)).run(300, steady(140.0), joint)
    assert not any("inside" in f.text for _, f in found)


def test_a_value_that_was_missing_starts_the_three_minutes_anew() -> None:
    s = string()
    s.points.cell_voltage_v.quality[0, 0, 5] = 5
    s.run(3, REST)
    s.points.cell_voltage_v.quality[0, 0, 5] = 0
    assert s.run(120, REST, short(0.1)) == [], "what was before the gap is not believed"
    again = string()
    again.points.cell_voltage_v.quality[0, 0, 9] = 5
    assert kinds([f for _, f in again.run(60, REST, short(0.1))]) == {(5, Fault.INTERNAL_SHORT)}


def test_long_steps_and_a_lost_current_say_nothing() -> None:
    s = string()
    assert s.run(600, REST, short(0.1), step_ms=30_000) == []
    lost = string()
    lost.points.rack_current_a.quality[...] = 5
    assert lost.run(120, REST, short(0.1)) == []


def test_the_memory_given_is_never_changed() -> None:
    s = string()
    before = s.memory
    kept = {f.name: getattr(before.blocks, f.name).copy() for f in dataclasses.fields(before.blocks)}
    s.run(40, REST, short(0.1))
    assert all((getattr(before.blocks, n) == x).all() for n, x in kept.items())
    assert before.told_count == 0 and before.bins.told.max() == 0 and s.memory.told_count == 1


def test_the_scan_raises_the_alarm_and_trips_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = free_site(tmp_path_factory.mktemp("site"))
    s = Story(compile_site(str(path))).online()
    s.cycle_ms = 1000
    t, random = s.program.topology, np.random.default_rng(0)
    shape = (t.racks, t.modules, t.cells)
    began = None
    for n in range(WARM_UP_S + 60):
        v, warm = 3.3 + random.normal(0, 5e-4, shape), 25 + random.normal(0, 0.05, (t.racks, t.modules, t.temperatures))
        if n >= WARM_UP_S:
            began = n - WARM_UP_S
            own, heat = v[0, 1], warm[0, 1]
            short(0.1, cell=0)(float(began), 0.0, own, heat)
        s.points.cell_voltage_v.value[...] = v
        s.points.rack_voltage_v.value[...] = v.sum(axis=(1, 2))
        s.points.rack_current_a.value[...] = 0.0
        s.points.cell_temperature_degc.value[...] = warm
        s.scans()
        if s.active("internal_short_suspected", "R01"):
            break
    assert began is not None and began < 60 and any("R01/M02/C01: internal_short" in x for x in s.texts()), s.texts()[
        -5:
    ]
    assert s.image is not None and s.image.warnings.internal_shorts == 1


def test_simulated_cells_with_other_resistances_noise_and_rows_of_five_seconds() -> None:
    told = list(tried(PLACES[3], 5.0, 17))
    assert sum(x.false for x in told) == 0
    hard = [x for x in told if x.ohm <= 0.1 and x.duty != "steps"]
    assert len(hard) == 6 * EACH and all(x.after_s is not None and x.after_s <= 60 for x in hard)
    assert {c for x in hard for c in x.called} == {"internal_short"}
