"""What we would say of protection in court, tried on random plants: latches, order of rows, limits for a PCS."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.command import Kind
from controller.core.compose import compose
from controller.core.dispatch import Dispatch, dispatch
from controller.core.field_image import Points
from controller.core.image import Alarms, Limits, Measured, Modes, OutputImage, RackMode, SiteMode, Trips
from controller.core.layout import Layout
from controller.core.protect import ROWS, Effect, Matrix, limit_power
from controller.core.signal import USABLE, Quality
from controller.core.topology import Topology
from controller.core.validate import validate
from tests.property.test_scan import BASE, disturb, fields
from tests.story import Story, fork

EXAMPLES = int(os.environ.get("CELLWARDEN_EXAMPLES", "60"))
often = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**32 - 1)
FITTED = [int(q) for q in Quality if q is not Quality.NOT_FITTED]
RAW = np.array([np.nan, np.inf, -np.inf, 0.0, 65535.0])


def random_plant(seed: int) -> tuple[Points, Measured]:
    """A plant in any state of voltage, temperature, current, quality, age and nonsense, and what validation makes of
    it. Now and then a rack says nothing at all of one of them."""
    rng = np.random.default_rng(seed)
    story = fork(BASE)
    p = story.points
    spread = rng.uniform(0, 0.4)
    p.cell_voltage_v.value[...] = rng.uniform(2.3, 3.8) + rng.normal(0, spread, p.cell_voltage_v.value.shape)
    p.cell_temperature_degc.value[...] = rng.uniform(-30, 70) + rng.normal(
        0, rng.uniform(0, 8), p.cell_temperature_degc.value.shape
    )
    p.rack_voltage_v.value[...] = rng.uniform(150, 240, p.rack_voltage_v.value.shape)
    p.rack_current_a.value[...] = rng.uniform(-400, 400, p.rack_current_a.value.shape)
    p.rack_main_closed.value[...] = rng.random(p.rack_main_closed.value.shape) < 0.8
    for name in ("rack_charge_limit_reported_a", "rack_discharge_limit_reported_a"):
        reported = getattr(p, name)
        reported.value[...] = rng.uniform(0, 400, reported.value.shape)
        if rng.random() < 0.5:
            reported.quality[...] = rng.choice(FITTED, reported.quality.shape)
    for name in ("cell_voltage_v", "cell_temperature_degc", "rack_voltage_v", "rack_current_a"):
        samples, rare = getattr(p, name), rng.random() ** 3
        bad = rng.random(samples.value.shape) < 0.3 * rare
        samples.value[bad] = rng.choice(RAW, int(bad.sum()))
        worse = rng.random(samples.value.shape) < 0.3 * rare
        samples.quality[worse] = rng.choice(FITTED, int(worse.sum()))
        samples.time_ms[...] = story.now_ms - rng.integers(0, 1200, samples.time_ms.shape)
        silent = rng.random(len(samples.value)) < 0.1
        samples.quality[silent] = rng.choice([int(Quality.BAD_COMM), int(Quality.BAD_SENSOR)])
    system = dataclasses.replace(story.input.system, scan=1, now_ms=story.now_ms, utc_ms=0, elapsed_ms=100)
    inputs = dataclasses.replace(story.input, system=system)
    measured, _ = validate(story.program.sensors, story.memory.validation, inputs)
    return story.points, measured


@often
@given(SEEDS)
def test_no_limit_for_a_pcs_exceeds_what_any_cell_of_its_racks_allows(seed: int) -> None:
    raw, measured = random_plant(seed)
    for name in ("cell_voltage_v", "cell_temperature_degc", "rack_voltage_v", "rack_current_a"):
        nonsense = ~np.isfinite(getattr(raw, name).value)
        assert (getattr(measured.points, name).quality[nonsense] > USABLE).all(), "nonsense is no value"
    image = BASE.image
    assert image is not None
    quiet = dataclasses.replace(image.trips, rack_effect=np.zeros_like(image.trips.rack_effect))
    limits = limit_power(BASE.program.derating, measured, quiet, image.modes)
    cell, p = BASE.site.cell, measured.points
    closed = (p.rack_main_closed.quality <= USABLE) & (p.rack_main_closed.value >= 0.5)
    for way, rated, volts, degc, reported, bank_w in (
        ("charge", cell.charge_current, cell.derate_charge_voltage, cell.derate_charge_temperature,
         p.rack_charge_limit_reported_a, limits.bank_charge_limit_w),
        ("discharge", cell.discharge_current, cell.derate_discharge_voltage, cell.derate_discharge_temperature,
         p.rack_discharge_limit_reported_a, limits.bank_discharge_limit_w),
    ):  # fmt: skip
        least = np.inf
        for r in np.flatnonzero(closed):
            allowed = rated
            for samples, line in ((p.cell_voltage_v, volts), (p.cell_temperature_degc, degc)):
                usable = samples.quality[r] <= USABLE
                value = samples.value[r][usable]
                allowed = min(allowed, rated * np.interp(value, line.at, line.fraction).min() if usable.any() else 0.0)
            if p.rack_voltage_v.quality[r] > USABLE or p.rack_current_a.quality[r] > USABLE:
                allowed = 0.0
            if reported.quality[r] != Quality.NOT_FITTED:
                allowed = min(allowed, reported.value[r] if reported.quality[r] <= USABLE else 0.0)
            given_a = (limits.rack_charge_limit_a if way == "charge" else limits.rack_discharge_limit_a)[r]
            assert 0.0 <= given_a <= allowed + 1e-6, (way, r)
            least = min(least, allowed)
        count, high = int(closed.sum()), float(np.where(closed, p.rack_voltage_v.value, 0.0).max(initial=0.0))
        assert np.isfinite(bank_w).all() and (bank_w >= 0).all()
        assert bank_w.sum() <= (count * least * high if count else 0.0) + 1e-6


@often
@given(fields(), st.floats(-2e5, 2e5))
def test_what_a_pcs_is_told_lies_inside_its_bank_s_limits(disturbances: list[Any], setpoint: float) -> None:
    story = fork(BASE)
    story.tell(Kind.SET_ACTIVE_POWER, setpoint)
    disturb(story, disturbances)
    for _ in range(3):
        image = story.scans()
        o, bank = image.outputs, story.program.topology.pcs_bank
        for told, most in (
            (o.pcs_charge_limit_w, image.limits.bank_charge_limit_w),
            (o.pcs_discharge_limit_w, image.limits.bank_discharge_limit_w),
        ):
            total = np.bincount(bank, told, len(most))
            assert (told >= 0).all() and (total <= most + 1e-6).all()
        assert (o.pcs_active_power_setpoint_w <= o.pcs_discharge_limit_w + 1e-6).all()
        assert (-o.pcs_active_power_setpoint_w <= o.pcs_charge_limit_w + 1e-6).all()


def random_wiring(rng: np.random.Generator) -> Topology:
    """One to three banks, each with racks and PCS of its own, several of either as it comes."""
    banks = int(rng.integers(1, 4))
    racks, pcs = (np.sort(np.append(np.arange(banks), rng.integers(0, banks, rng.integers(0, 5)))) for _ in range(2))
    return Topology.regular(len(racks), 1, 1, 1, len(pcs), racks, pcs)


@often
@given(SEEDS)
def test_however_banks_and_pcs_are_wired_together_they_get_no_more_than_their_bank_may(seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = random_wiring(rng)
    dims = {**t.dims, "slot": 1, "bus": 1}
    charge, discharge = (rng.uniform(0, 2e5, t.banks) * (rng.random(t.banks) < 0.8) for _ in range(2))
    limits = dataclasses.replace(
        Layout(Limits, dims).blank(), bank_charge_limit_w=charge, bank_discharge_limit_w=discharge,
        charge_limit_w=float(charge.sum()), discharge_limit_w=float(discharge.sum()),
    )  # fmt: skip
    blank = Layout(Modes, dims).blank()
    modes = dataclasses.replace(
        blank, site_mode=int(rng.choice([SiteMode.ONLINE, SiteMode.STOPPING, SiteMode.TRIPPED], p=[0.7, 0.2, 0.1])),
        rack_mode=rng.choice([RackMode.CLOSED, RackMode.STOPPING, RackMode.OPEN], t.racks, p=[0.7, 0.1, 0.2]),
        bank_connecting=rng.random(t.banks) < 0.2,
    )  # fmt: skip
    site_effect = int(rng.choice([0, Effect.STOP, Effect.TRIP], p=[0.8, 0.1, 0.1]))
    effect = site_effect | rng.choice([0, Effect.STOP, Effect.TRIP], t.racks, p=[0.8, 0.1, 0.1])
    trips = dataclasses.replace(Layout(Trips, dims).blank(), site_effect=site_effect, rack_effect=effect)
    before = dataclasses.replace(
        Layout(OutputImage, dims).blank(), pcs_active_power_setpoint_w=rng.uniform(-2e5, 2e5, t.pcs)
    )
    memory = dataclasses.replace(BASE.memory.dispatching, active_power_setpoint_w=float(rng.uniform(-3e5, 3e5)))
    settings = dataclasses.replace(BASE.program.dispatch.settings, share_by_limit=bool(rng.random() < 0.5))
    astray = rng.random(t.pcs) < 0.2
    power, _, _ = dispatch(Dispatch(t, settings), memory, limits, modes, before, BASE.inputs.system, [], astray)
    bleeds, calm = np.zeros((t.racks, 1, 1), bool), Layout(Alarms, dims).blank()
    told = compose(trips, limits, modes, power, bleeds, calm, np.zeros(1, np.int64), t, BASE.inputs.system)
    watts = told.pcs_active_power_setpoint_w
    for most, way, sign in ((charge, told.pcs_charge_limit_w, -1.0), (discharge, told.pcs_discharge_limit_w, 1.0)):
        assert (np.bincount(t.pcs_bank, way, t.banks) <= most + 1e-6).all(), "together no more than the bank"
        assert (sign * watts <= way + 1e-6).all(), "and each no more than its part"
        assert not way[~told.pcs_run].any() and not watts[~told.pcs_run].any()
        assert not watts[modes.bank_connecting[t.pcs_bank]].any(), "a bank that begins gives nothing"
    may = effect & int(Effect.TRIP) == 0
    feeds = may & np.isin(modes.rack_mode, (RackMode.CLOSED, RackMode.STOPPING))
    assert told.pcs_run.sum() == 0 or feeds.any()


@often
@given(fields(), st.lists(st.sampled_from(["scan", "worse", "heal", "reset"]), min_size=4, max_size=14))
def test_a_latch_goes_only_when_asked_and_clear(disturbances: list[Any], acts: list[str]) -> None:
    story = fork(BASE)
    for act in ["worse", *acts]:
        if act == "worse":
            disturb(story, disturbances)
        elif act == "heal":
            healthy = fork(BASE)
            for field in dataclasses.fields(story.points):
                for part in ("value", "quality"):
                    getattr(getattr(story.points, field.name), part)[...] = getattr(
                        getattr(healthy.points, field.name), part
                    )
            story.silent.clear()
            story.hold.clear()
        elif act == "reset":
            story.tell(Kind.RESET_TRIPS)
        before = story.memory.protection.latched.copy()
        image = story.scans(1 if act == "reset" else 2)
        gone = before & ~image.trips.slot_latched
        if act != "reset":
            assert not gone.any()
        assert not (gone & image.trips.slot_cause).any()
        assert not (gone & story.program.matrix.maintenance).any(), "only an engineer in MAINTENANCE"


@often
@given(fields(), SEEDS)
def test_the_order_of_the_rows_means_nothing(disturbances: list[Any], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(ROWS))
    program = BASE.program
    shuffled = Matrix([ROWS[i] for i in order], program.topology, program.limit, program.cycle_ms)
    where = {(s.row.id, s.place): s.index for s in program.matrix.slots}
    at = np.array([where[s.row.id, s.place] for s in shuffled.slots])
    story = fork(BASE)
    disturb(story, disturbances)
    other = fork(BASE)
    other.program = dataclasses.replace(program, matrix=shuffled)
    per_slot = ("timer_ms", "active", "latched", "value", "element")
    protection = other.memory.protection
    moved = dataclasses.replace(protection, **{n: getattr(protection, n)[at] for n in per_slot})
    alarms = other.memory.annunciation
    by_slot = {f.name: getattr(alarms, f.name)[..., at] for f in dataclasses.fields(alarms)
               if getattr(getattr(alarms, f.name), "shape", ())[-1:] == (len(at),)}  # fmt: skip
    other.memory = dataclasses.replace(
        other.memory, protection=moved, annunciation=dataclasses.replace(alarms, **by_slot)
    )
    disturb(other, disturbances)
    for _ in range(3):
        one, two = story.scans(), other.scans()
        assert (one.trips.slot_active[at] == two.trips.slot_active).all()
        assert (one.trips.rack_effect == two.trips.rack_effect).all()
        assert one.trips.site_effect == two.trips.site_effect
        assert (one.outputs.rack_main_close == two.outputs.rack_main_close).all()


@pytest.mark.parametrize(
    ("point", "what"),
    [(n, q) for n in ("cell_voltage_v", "cell_temperature_degc", "rack_voltage_v", "rack_current_a")
     for q in (Quality.BAD_COMM, Quality.BAD_SENSOR, np.nan, np.inf)],
)  # fmt: skip
def test_missing_or_nonsense_gives_limit_zero(point: str, what: Any, online: Story) -> None:
    samples = getattr(online.points, point)
    if isinstance(what, Quality):
        samples.quality[0] = int(what)
    else:
        samples.value[0] = what
        online.hold.add(point)
    image = online.scans()
    assert image.limits.rack_charge_limit_a[0] == image.limits.rack_discharge_limit_a[0] == 0
    if not image.outputs.rack_main_close[0]:
        # It opens in this very scan: what is left is the other rack's alone.
        volts = float(online.points.rack_voltage_v.value[1])
        assert image.limits.charge_limit_w <= image.limits.rack_charge_limit_a[1] * volts
        assert image.limits.discharge_limit_w <= image.limits.rack_discharge_limit_a[1] * volts
        return
    assert image.limits.charge_limit_w == image.limits.discharge_limit_w == 0
    assert not image.outputs.pcs_charge_limit_w.any()
