"""Sentences we would say in court, over random fields: whatever the field reports, the scan answers safely."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.command import Kind, Role
from controller.core.field_image import Points
from controller.core.image import ProcessImage, RackMode, SiteMode
from controller.core.layout import RECORDS, Layout, tags_of
from controller.core.memory import Memory
from controller.core.protect import ROWS, Effect, Matrix
from controller.core.scan import scan
from controller.core.signal import Quality
from tests.story import Story, connected, fork

EXAMPLES = int(os.environ.get("CELLWARDEN_EXAMPLES", "60"))
often = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NONSENSE = (np.nan, np.inf, -np.inf, -1e30, 1e30, 0.0, 65535.0, -273.15)
POINTS = tags_of(Points)
BASE = fork(connected())
BASE.seconds(2)  # so that every command is older than any data: an older feedback says nothing of a newer command
LOST_AFTER_MS = BASE.program.sensors.settings.lost_after_ms
SOON = np.array([s.row.delay_ms(BASE.program.limit) < 60_000 for s in BASE.program.matrix.slots])
"""Slots of rows that act within a minute."""


@st.composite
def fields(draw: Any) -> list[tuple[str, float, int, int]]:
    """Disturbances: point, value (or nonsense), quality, age in ms, each at one random element."""
    one = st.tuples(
        st.sampled_from([t.name for t in POINTS]),
        st.one_of(st.sampled_from(NONSENSE), st.floats(-3000, 3000, width=32)),
        st.sampled_from([int(q) for q in Quality]),
        st.integers(0, 5000),
        st.integers(0, 10**6),
    )
    return list(draw(st.lists(one, min_size=1, max_size=12)))


def disturb(story: Story, disturbances: list[Any]) -> None:
    for name, value, quality, age, at in disturbances:
        samples = getattr(story.points, name)
        i = at % samples.value.size
        story.silent.add(name)
        story.hold.add(name)
        samples.time_ms[...] = story.now_ms - 10
        samples.value.flat[i], samples.quality.flat[i] = value, quality
        samples.time_ms.flat[i] = story.now_ms - age


@often
@given(fields(), st.floats(-2e5, 2e5))
def test_no_field_makes_the_scan_raise_or_an_output_unsafe(disturbances: list[Any], setpoint: float) -> None:
    story = fork(BASE)
    story.tell(Kind.SET_ACTIVE_POWER, setpoint)
    disturb(story, disturbances)
    for _ in range(4):
        image = story.scans()
        o, limits = image.outputs, image.limits
        for t in tags_of(ProcessImage):
            if t.dtype in RECORDS or t.dtype.startswith("S"):
                continue
            value = Layout.get(image, t.path)
            number = value.value if t.samples else value
            assert np.isfinite(np.asarray(number, float)).all(), t.path
        total = o.pcs_active_power_setpoint_w.sum()
        assert -limits.charge_limit_w - 1e-6 <= total <= limits.discharge_limit_w + 1e-6
        tripped = (image.trips.rack_effect & int(Effect.TRIP | Effect.LOCKOUT)) != 0
        assert not (o.rack_main_close & tripped).any()
        assert not (o.rack_precharge_close & tripped).any()
        if image.modes.site_mode not in (SiteMode.ONLINE, SiteMode.STOPPING):
            assert total == 0
        assert not o.cell_bleed_on[tripped].any()


@often
@given(fields())
def test_the_same_inputs_give_the_same_bytes(disturbances: list[Any]) -> None:
    images, memories = [], []
    process, memory = Layout(ProcessImage, BASE.program.dims), Layout(Memory, BASE.program.dims)
    for _ in range(2):
        story = fork(BASE)
        disturb(story, disturbances)
        story.scans(2)
        assert story.image is not None
        images.append(process.to_bytes(story.image))
        memories.append(memory.to_bytes(story.memory))
    assert images[0] == images[1]
    assert memories[0] == memories[1]


LONE = (
    "cell_voltage_v", "cell_temperature_degc", "module_bleeding_cells", "rack_current_a", "rack_current_redundant_a",
    "rack_link_voltage_v", "rack_insulation_ohm", "rack_precharge_closed", "rack_main_confirmed",
    "pcs_active_power_confirmed_w", "pcs_fault", "pcs_running",
)  # fmt: skip
"""Points of which one can fall silent while its place is heard."""


@st.composite
def lone_fields(draw: Any) -> list[tuple[str, float, int, int, int]]:
    """Disturbances of single sensors, fresh and mostly beyond a limit or against their sisters."""
    volts, wide = st.floats(0.5, 5.0, width=32), st.floats(-400, 400, width=32)
    one = st.sampled_from(LONE).flatmap(
        lambda name: st.tuples(
            st.just(name), volts if name == "cell_voltage_v" else wide, st.just(int(Quality.GOOD)), st.just(10),
            st.integers(0, 10**4),
        )
    )  # fmt: skip
    return list(draw(st.lists(one, min_size=1, max_size=6)))


@often
@given(lone_fields() | fields(), st.integers(1, 2 * LOST_AFTER_MS))
def test_older_data_never_look_safer(disturbances: list[Any], older: int) -> None:
    """All of the same age: what the causes asked for they still ask for, and of data that are lost every rack opens.
    Data of one sensor that are lost a moment before its sister's are another story."""

    def asked(extra: int) -> Any:
        story = fork(BASE)
        disturb(story, [d for d in disturbances if d[2] == Quality.GOOD])
        for field in dataclasses.fields(story.points):
            story.silent.add(field.name)
            getattr(story.points, field.name).time_ms[...] = story.now_ms - 10 - extra
        return BASE.program.matrix.effects(story.scans().trips.slot_cause & SOON)[0]

    fresh, aged = asked(0), asked(older)
    opening = aged & int(Effect.STOP | Effect.TRIP | Effect.LOCKOUT) != 0
    assert not (fresh & ~aged)[~opening].any()
    assert opening.all() or older <= LOST_AFTER_MS


@often
@given(lone_fields(), st.lists(st.integers(0, 3000), min_size=6, max_size=6))
def test_a_sensor_that_falls_silent_takes_no_effect_with_it(disturbances: list[Any], silence: list[int]) -> None:
    """Whichever fall silent after they were heard, at once or by age: all that the causes asked for
    is still asked for, by what was last seen or by a row for what is no longer seen."""

    def asked(lose: list[Any]) -> Any:
        story = fork(BASE)
        disturb(story, disturbances)
        story.scans()
        for (name, *_, at), age in zip(disturbances, lose, strict=False):
            samples = getattr(story.points, name)
            i = at % samples.quality.size
            if age % 2:
                samples.quality.flat[i] = max(samples.quality.flat[i], int(Quality.BAD_SENSOR))
            else:
                samples.time_ms.flat[i] -= age
        causes = story.scans().trips.slot_cause & SOON
        return causes, BASE.program.matrix.effects(causes)[0]

    heard, silent = asked([]), asked(silence)
    opening = silent[1] & int(Effect.STOP | Effect.TRIP | Effect.LOCKOUT) != 0
    less = heard[1] & ~silent[1]
    gone = [BASE.program.matrix.slots[i] for i in np.flatnonzero(heard[0] & ~silent[0])]
    assert not less[~opening].any(), [(s.row.id, s.place) for s in gone]


@often
@given(st.lists(st.booleans(), min_size=10, max_size=10), st.data())
def test_adding_causes_never_removes_effects_and_row_order_means_nothing(flags: list[bool], data: Any) -> None:
    matrix = BASE.program.matrix
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    active = rng.random(matrix.size) < 0.01
    more = active | (rng.random(matrix.size) < 0.01)
    rack, site = matrix.effects(active)
    rack_more, site_more = matrix.effects(more)
    assert ((rack & ~rack_more) == 0).all()
    assert site & ~site_more == 0
    order = rng.permutation(len(ROWS))
    shuffled = Matrix([ROWS[i] for i in order], matrix.topology, BASE.program.limit, BASE.cycle_ms)
    where = {(s.row.id, s.place): s.index for s in matrix.slots}
    mapped = np.array([active[where[s.row.id, s.place]] for s in shuffled.slots])
    rack_shuffled, site_shuffled = shuffled.effects(mapped)
    assert (rack == rack_shuffled).all() and site == site_shuffled


@often
@given(
    st.floats(0.0, 5.0), st.floats(-40, 120), st.floats(-2000, 2000), st.sampled_from([int(q) for q in Quality]),
    st.integers(0, 1), st.integers(0, 3), st.integers(0, 15),
)  # fmt: skip
def test_no_limit_is_given_beyond_what_the_worst_cell_allows(
    volts: float, degc: float, amps: float, quality: int, rack: int, module: int, cell: int
) -> None:
    story = fork(BASE)
    v, t, i = story.points.cell_voltage_v, story.points.cell_temperature_degc, story.points.rack_current_a
    v.value[rack, module, cell], v.quality[rack, module, cell] = volts, quality
    t.value[rack, module, 0] = degc
    i.value[rack] = amps
    image = story.scans()
    site = story.site.cell
    if quality <= Quality.SUBSTITUTED and volts >= 0.5:
        allowed = np.interp(volts, site.derate_charge_voltage.at, site.derate_charge_voltage.fraction)
        assert image.limits.rack_charge_limit_a[rack] <= 140 * allowed + 1e-3
        allowed = np.interp(volts, site.derate_discharge_voltage.at, site.derate_discharge_voltage.fraction)
        assert image.limits.rack_discharge_limit_a[rack] <= 280 * allowed + 1e-3
    hot = np.interp(degc, site.derate_charge_temperature.at, site.derate_charge_temperature.fraction)
    assert image.limits.rack_charge_limit_a[rack] <= 140 * hot + 1e-3
    assert (image.limits.rack_charge_limit_a >= 0).all() and (image.limits.rack_discharge_limit_a >= 0).all()


@often
@given(st.lists(st.tuples(st.sampled_from(list(Kind)), st.floats(allow_nan=True)), max_size=8), fields())
def test_no_sequence_of_commands_closes_a_rack_on_bad_data(commands: list[Any], disturbances: list[Any]) -> None:
    story = Story(BASE.site)
    story.until(SiteMode.STANDBY)
    story.lose("rack_voltage_v")
    for kind, value in commands:
        story.tell(kind, value)
        image = story.scans()
        assert not image.outputs.rack_main_close.any()
        assert (image.modes.rack_mode != RackMode.CLOSED).all()


def test_purity_the_scan_changes_none_of_its_arguments() -> None:
    layout = Layout(Memory, BASE.program.dims)
    before = layout.to_bytes(BASE.memory)
    inputs = BASE.layout.to_bytes(BASE.inputs)
    scan(BASE.program, BASE.memory, BASE.inputs)
    assert layout.to_bytes(BASE.memory) == before
    assert BASE.layout.to_bytes(BASE.inputs) == inputs


HIDDEN = {s.index for s in BASE.program.matrix.slots if not s.row.opens and s.index not in BASE.program.alarms.root}


@often
@given(fields(), st.lists(st.tuples(st.sampled_from(sorted(HIDDEN)), st.booleans()), min_size=1, max_size=16))
def test_what_people_hide_from_themselves_changes_no_effect(disturbances: list[Any], hidden: list[Any]) -> None:
    def effects(hide: bool) -> Any:
        story = fork(BASE)
        for slot, shelve in hidden if hide else ():
            kind = Kind.SHELVE if shelve else Kind.ALARM_OUT_OF_SERVICE
            story.tell(kind, 3600.0, role=Role.ENGINEER, target=slot, text="property")
        disturb(story, disturbances)
        images = [story.scans() for _ in range(8)]
        assert not hide or images[-1].alarms.shelved_alarms + images[-1].alarms.out_of_service_alarms > 0
        process = Layout(ProcessImage, BASE.program.dims)
        return [
            [Layout.get(i, p) for p in process.parts if p.startswith(("trips.", "modes.", "limits."))] for i in images
        ]

    for open_, hidden_ in zip(effects(False), effects(True), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(open_, hidden_, strict=True))
