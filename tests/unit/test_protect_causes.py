"""Every witness cause at its boundary: present just beyond it, absent just before it, silent without data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.effect import Effect
from controller.core.image import RackMode
from controller.core.protect import ROWS, Priority, Reset, Row, told
from controller.core.protect import facts as q
from controller.core.protect import plausible as p
from controller.core.protect.row import When
from controller.core.signal import Quality
from tests.protect_bench import BASE, Bench, Change, all_of, lose, out, own_precharge, put, rack_mode, trend, unfitted

AGE_MS = 30
"""How old the link's value is; by so much less than what protection has waited did it rise."""


def precharge(ms: int, part: float) -> Change:
    def change(b: Bench) -> None:
        b.trend.precharge_ms[0], b.trend.link_start_v[0] = ms, 10.0
        b.trend.link_rise_ms[0] = ms + AGE_MS
        b.points.rack_link_voltage_v.time_ms[0] = b.system.now_ms - AGE_MS
        b.modes.rack_mode[0] = int(RackMode.PRECHARGE)
        rack = b.points.rack_voltage_v.value[0]
        b.put("rack_link_voltage_v", 10.0 + part * (rack - 10.0))

    return change


def reported(charge: float, discharge: float, amps: float) -> Change:
    return all_of(
        put("rack_charge_limit_reported_a", charge), put("rack_discharge_limit_reported_a", discharge),
        put("rack_current_a", amps),
    )  # fmt: skip


OPEN = all_of(out("rack_main_close", False, 0), out("rack_precharge_close", False, 0), put("rack_main_closed", 0.0))
ALIKE = put("cell_voltage_v", 210.56 / 64, ...)
SHARE = 142.45
"""What each rack carries at 60 kW, in A."""


def blind(*cells: int) -> Change:
    """So many unseen cells in the first modules of the first rack."""

    def change(b: Bench) -> None:
        counts = np.zeros_like(b.trend.module_blind_cells)
        counts[0, : len(cells)] = cells
        b.trend = dataclasses.replace(b.trend, module_blind_cells=counts)

    return change


BOUNDARY: list[tuple[Any, Change, Change]] = [
    (
        p.sense_wire_open,
        put("cell_voltage_v", [1.35, 5.2], np.s_[0, 1, 4:6]),
        put("cell_voltage_v", [1.2, 5.35], np.s_[0, 1, 4:6]),
    ),
    (
        p.sense_wire_open,
        put("cell_voltage_v", [1.2, 3.3, 5.35], np.s_[0, 1, 4:7]),
        put("cell_voltage_v", [5.35, 1.2], np.s_[0, 1, 4:6]),
    ),
    (
        p.temperature_sensor_lost,
        lambda b: b.lose("cell_temperature_degc", np.s_[0, 1]),
        lambda b: b.lose("cell_temperature_degc", np.s_[0, 1, 2]),
    ),
    (
        p.temperature_sensor_lost,
        all_of(lose("cell_temperature_degc", np.s_[0, 1, 2]), unfitted("temperature_fitted", np.s_[0, 1, 2])),
        lose("cell_temperature_degc", np.s_[0, 1, 2]),
    ),
    (p.cell_voltage_stuck, trend(module_stuck=False), trend(module_stuck=True)),
    (p.cell_unwitnessed, trend(module_blind_cells=0), trend(module_blind_cells=1)),
    (p.several_cells_unwitnessed, blind(1), blind(1, 1)),
    (p.several_cells_unwitnessed, blind(1), blind(2)),
    (p.cell_voltage_noisy, trend(module_noisy=False), trend(module_noisy=True)),
    (p.temperature_rises_fast, trend(module_rising=False), trend(module_rising=True)),
    (p.current_on_open_rack, all_of(OPEN, put("rack_current_a", 5.0)), all_of(OPEN, put("rack_current_a", 5.1))),
    (p.current_on_open_rack, put("rack_current_a", 5.1), all_of(OPEN, put("rack_current_a", -5.1))),
    (
        p.current_on_open_rack,
        all_of(OPEN, out("rack_precharge_close", True, 0), put("rack_current_a", 9.0)),
        all_of(OPEN, put("rack_current_a", 9.0)),
    ),
    (
        p.current_on_open_rack,
        all_of(OPEN, out("rack_main_close", True, 0), put("rack_current_a", 9.0)),
        all_of(OPEN, put("rack_current_a", 9.0)),
    ),
    (p.sum_of_cells_differs, all_of(ALIKE, put("rack_voltage_v", 216.7)), all_of(ALIKE, put("rack_voltage_v", 217.1))),
    (p.sum_of_cells_differs, all_of(ALIKE, put("rack_voltage_v", 204.5)), all_of(ALIKE, put("rack_voltage_v", 204.1))),
    (
        p.sum_of_cells_differs,
        all_of(ALIKE, put("rack_voltage_v", 300.0), lose("cell_voltage_v", np.s_[0, 0, 3])),
        all_of(ALIKE, put("rack_voltage_v", 300.0)),
    ),
    (
        p.rack_current_reversed,
        put("rack_current_a", [-100.0, SHARE + 150.0], ...),
        put("rack_current_a", [-100.0, SHARE + 122.0], ...),
    ),
    (
        p.rack_current_reversed,
        put("rack_current_a", -0.49 * SHARE),
        all_of(put("rack_current_a", [-SHARE, 900.0], ...), lose("rack_current_a", 1)),
    ),
    (p.bleed_switch_stuck, put("module_bleeding_cells", 0, np.s_[0, 0]), put("module_bleeding_cells", 1, np.s_[0, 0])),
    (
        p.bleed_switch_stuck,
        all_of(out("cell_bleed_on", True, np.s_[0, 0, :3]), put("module_bleeding_cells", 3, np.s_[0, 0])),
        put("module_bleeding_cells", 3, np.s_[0, 0]),
    ),
    (
        p.rack_currents_differ,
        all_of(put("rack_current_a", 100.0), put("rack_current_redundant_a", 92.3)),
        all_of(put("rack_current_a", 100.0), put("rack_current_redundant_a", 92.1)),
    ),
    (
        p.rack_currents_differ,
        all_of(put("rack_current_a", -100.0), put("rack_current_redundant_a", -108.1)),
        all_of(put("rack_current_a", -100.0), put("rack_current_redundant_a", -108.4)),
    ),
    (p.rack_current_reversed, put("rack_current_a", -0.49 * SHARE), put("rack_current_a", -0.52 * SHARE)),
    (p.rack_current_reversed, put("rack_current_a", -1.52 * SHARE), put("rack_current_a", -1.48 * SHARE)),
    (p.rack_current_stuck, trend(share_high_a=150.0, share_low_a=122.5), trend(share_high_a=150.0, share_low_a=121.5)),
    (
        p.rack_current_stuck,
        all_of(put("rack_main_closed", 0.0, ...), trend(share_high_a=150.0, share_low_a=0.0)),
        trend(share_high_a=150.0, share_low_a=0.0),
    ),
    (p.rack_current_offset, all_of(OPEN, put("rack_current_a", 2.79)), all_of(OPEN, put("rack_current_a", -2.81))),
    (
        p.rack_current_offset,
        all_of(OPEN, out("rack_precharge_close", True, 0), put("rack_current_a", 9.0)),
        all_of(OPEN, put("rack_current_a", 9.0)),
    ),
    (
        p.rack_current_offset,
        all_of(OPEN, out("rack_main_close", True, 0), put("rack_current_a", 9.0)),
        all_of(OPEN, put("rack_current_a", 9.0)),
    ),
    (
        p.rack_current_offset,
        all_of(OPEN, put("rack_main_closed", 1.0), put("rack_current_a", 9.0)),
        all_of(OPEN, put("rack_current_a", 9.0)),
    ),
    (
        p.contactor_opened_by_itself,
        all_of(trend(main_followed=False), put("rack_main_closed", 0.0)),
        put("rack_main_closed", 0.0),
    ),
    (
        p.contactor_opened_by_itself,
        all_of(out("rack_main_close", False), put("rack_main_closed", 0.0)),
        all_of(trend(main_followed=True), put("rack_main_closed", 0.0)),
    ),
    (p.contactor_opened_by_itself, put("rack_main_closed", 0.5), put("rack_main_closed", 0.49)),
    (p.closed_without_contact, put("rack_link_voltage_v", 0.905 * 210.56), put("rack_link_voltage_v", 0.895 * 210.56)),
    (p.closed_without_contact, put("rack_link_voltage_v", 1.095 * 210.56), put("rack_link_voltage_v", 1.105 * 210.56)),
    (
        p.closed_without_contact,
        all_of(own_precharge, rack_mode(RackMode.PRECHARGE), put("rack_link_voltage_v", 0.0)),
        all_of(own_precharge, put("rack_link_voltage_v", 0.0)),
    ),
    (
        p.closed_without_contact,
        rack_mode(RackMode.PRECHARGE),
        all_of(rack_mode(RackMode.PRECHARGE), put("rack_link_voltage_v", 0.0)),
    ),
    (
        p.closed_without_contact,
        all_of(put("rack_link_voltage_v", 0.0), lose("rack_link_voltage_v", 0)),
        put("rack_link_voltage_v", 0.0),
    ),
    (
        p.closed_without_contact,
        all_of(put("rack_link_voltage_v", 0.0), lose("rack_voltage_v", 0)),
        put("rack_link_voltage_v", 0.0),
    ),
    (
        p.closed_without_contact,
        all_of(put("rack_main_closed", 0.0), put("rack_link_voltage_v", 0.0)),
        put("rack_link_voltage_v", 0.0),
    ),
    (
        p.closed_without_contact,
        all_of(out("rack_main_close", False), put("rack_link_voltage_v", 0.0)),
        put("rack_link_voltage_v", 0.0),
    ),
    (p.precharge_too_fast, precharge(249, 0.89), precharge(249, 0.91)),
    (p.precharge_too_fast, precharge(500, 0.95), precharge(499, 0.95)),
    (
        p.precharge_too_fast,
        all_of(precharge(100, 0.95), lambda b: b.modes.rack_mode.__setitem__(0, int(RackMode.CLOSED))),
        precharge(100, 0.95),
    ),
    (p.precharge_without_rise, precharge(1499, 0.05), precharge(1500, 0.05)),
    (p.precharge_without_rise, precharge(2000, 0.11), precharge(2000, 0.09)),
    (
        p.precharge_without_rise,
        all_of(precharge(2000, 0.05), lambda b: b.modes.rack_mode.__setitem__(0, int(RackMode.CLOSED))),
        precharge(2000, 0.05),
    ),
    (
        p.precharge_without_rise,
        all_of(precharge(2000, 0.0), trend(link_start_v=108.0), put("rack_link_voltage_v", 108.0)),
        all_of(precharge(2000, 0.0), trend(link_start_v=100.0), put("rack_link_voltage_v", 100.0)),
    ),
    (
        p.precharge_without_rise,
        all_of(precharge(2000, 0.0), trend(link_start_v=205.0), put("rack_link_voltage_v", 200.0)),
        all_of(precharge(2000, 0.0), trend(link_start_v=205.0), put("rack_link_voltage_v", 0.0)),
    ),
    (
        p.precharge_too_fast,
        all_of(precharge(100, 0.0), trend(link_start_v=205.0), put("rack_link_voltage_v", 209.0)),
        precharge(100, 0.95),
    ),
    (p.heartbeat_not_received, trend(echo_still_ms=999), trend(echo_still_ms=1000)),
    (p.second_controller, trend(echo_foreign_ms=0), trend(echo_foreign_ms=1)),
    (p.rack_bms_alarm, put("rack_alarm_word", 0.0), put("rack_alarm_word", 1.0)),
    (p.rack_bms_lost, put("rack_alarm_word", 0.0), lambda b: b.lose("rack_alarm_word", 0)),
    (p.rack_bms_lost, put("rack_alarm_word", 0.0), lambda b: b.lose("rack_charge_limit_reported_a", 0)),
    (p.rack_bms_lost, put("rack_alarm_word", 0.0), lambda b: b.lose("rack_discharge_limit_reported_a", 0)),
    (p.rack_bms_limit_exceeded, reported(100.0, 100.0, 112.7), reported(100.0, 100.0, 112.9)),
    (p.rack_bms_limit_exceeded, reported(100.0, 0.0, -112.7), reported(100.0, 0.0, -112.9)),
    (told.dc_power_differs, put("rack_current_a", SHARE + 46.0), put("rack_current_a", SHARE + 49.0)),
    (told.dc_power_differs, put("rack_current_a", SHARE - 46.0), put("rack_current_a", SHARE - 49.0)),
    (p.no_current_though_commanded, put("rack_current_a", 29.0, ...), put("rack_current_a", 28.0, ...)),
    (
        p.no_current_though_commanded,
        put("rack_current_a", [60.0, -60.0], ...),
        put("rack_current_a", [20.0, -20.0], ...),
    ),
    (
        p.no_current_though_commanded,
        all_of(put("rack_current_a", 0.0, ...), out("pcs_active_power_setpoint_w", 9.9e3)),
        all_of(put("rack_current_a", 0.0, ...), out("pcs_active_power_setpoint_w", -10.1e3)),
    ),
    (
        p.no_current_though_commanded,
        all_of(put("rack_current_a", 0.0, ...), out("pcs_run", False)),
        put("rack_current_a", 0.0, ...),
    ),
    (p.link_voltages_differ, put("pcs_dc_voltage_v", 197.0), put("pcs_dc_voltage_v", 194.0)),
    (
        p.link_voltages_differ,
        all_of(put("rack_main_closed", 0.0, ...), put("pcs_dc_voltage_v", 100.0)),
        put("pcs_dc_voltage_v", 100.0),
    ),
    (
        told.pcs_exceeds_limits,
        all_of(trend(pcs_discharge_allowed_w=50e3), put("pcs_active_power_w", 56.9e3)),
        all_of(trend(pcs_discharge_allowed_w=50e3), put("pcs_active_power_w", 57.1e3)),
    ),
    (
        told.pcs_exceeds_limits,
        all_of(trend(pcs_charge_allowed_w=50e3), put("pcs_active_power_w", -56.9e3)),
        all_of(trend(pcs_charge_allowed_w=50e3), put("pcs_active_power_w", -57.1e3)),
    ),
    (
        p.pcs_power_uncommanded,
        all_of(out("pcs_run", False), put("pcs_active_power_w", -4.9e3)),
        all_of(out("pcs_run", False), put("pcs_active_power_w", -5.1e3)),
    ),
    (
        p.pcs_power_uncommanded,
        put("pcs_active_power_w", 60e3),
        all_of(out("pcs_run", False), put("pcs_active_power_w", 60e3)),
    ),
    (p.pcs_does_not_start, put("pcs_running", 1.0), put("pcs_running", 0.0)),
    (p.pcs_does_not_start, all_of(out("pcs_run", False), put("pcs_running", 0.0)), put("pcs_running", 0.0)),
    (
        told.pcs_command_not_confirmed,
        put("pcs_active_power_confirmed_w", 64.9e3),
        put("pcs_active_power_confirmed_w", 65.1e3),
    ),
    (
        told.pcs_command_not_confirmed,
        put("pcs_active_power_confirmed_w", 55.1e3),
        put("pcs_active_power_confirmed_w", 54.9e3),
    ),
    (told.pcs_does_not_follow, put("pcs_active_power_w", 69.9e3), put("pcs_active_power_w", 70.1e3)),
    (told.pcs_does_not_follow, put("pcs_active_power_w", 50.1e3), put("pcs_active_power_w", 49.9e3)),
    (
        told.pcs_does_not_follow,
        all_of(out("pcs_run", False), put("pcs_active_power_w", 49.9e3)),
        put("pcs_active_power_w", 49.9e3),
    ),
    (
        p.cooling_without_fall,
        trend(cooling_vain=0),
        all_of(trend(cooling_vain=1), lambda b: b.measured.extremes.temperature_max_degc.value.__setitem__(..., 47.1)),
    ),
    (
        p.cooling_without_fall,
        all_of(trend(cooling_vain=1), lambda b: b.measured.extremes.temperature_max_degc.value.__setitem__(..., 46.9)),
        all_of(trend(cooling_vain=1), lambda b: b.measured.extremes.temperature_max_degc.value.__setitem__(..., 47.1)),
    ),
    (
        p.clock_jumped,
        lambda b: b.more.update(utc_before_ms=BASE.inputs.system.utc_ms - 1100),
        lambda b: b.more.update(utc_before_ms=BASE.inputs.system.utc_ms - 1101),
    ),
    (
        p.clock_jumped,
        lambda b: b.more.update(utc_before_ms=BASE.inputs.system.utc_ms + 900),
        lambda b: b.more.update(utc_before_ms=BASE.inputs.system.utc_ms + 901),
    ),
    (p.clock_jumped, lambda b: b.more.update(utc_before_ms=0), lambda b: b.more.update(utc_before_ms=1)),
    (p.configuration_changed, lambda b: None, lambda b: b.more.update(configuration_changed=True)),
    (p.soc_differs, lambda b: soc(b, 0.649), lambda b: soc(b, 0.651)),
    (p.soc_differs, lambda b: soc(b, 0.9, sigma=0.051), lambda b: soc(b, 0.9, sigma=0.049)),
    (
        p.soc_unknown,
        lambda b: b.estimates.cell_soc_sigma_ratio.fill(0.99),
        lambda b: b.estimates.cell_soc_sigma_ratio.fill(1.0),
    ),
]


def soc(b: Bench, reported: float, sigma: float = 0.01) -> None:
    b.put("rack_soc_reported_ratio", reported)
    b.estimates.rack_soc_ratio[...] = 0.5
    b.estimates.cell_soc_sigma_ratio[...] = sigma
    b.estimates = dataclasses.replace(b.estimates, soc_sigma_ratio=sigma)


@pytest.mark.parametrize(("cause", "before", "beyond"), BOUNDARY, ids=lambda x: getattr(x, "__name__", ""))
def test_a_cause_has_its_boundary_where_it_says(cause: Any, before: Change, beyond: Change) -> None:
    for change, present in ((before, False), (beyond, True)):
        bench = Bench()
        change(bench)
        found = np.atleast_1d(cause(bench.facts()))
        assert bool(found.any()) is present, change
        if found.ndim == 1 and len(found) == 2 and present and cause is not p.no_current_though_commanded:
            assert found[0], "it is the first rack that was touched"


def witnesses() -> list[Any]:
    named = [r.cause.condition for r in ROWS if isinstance(r.cause, When)]
    return [c for c in named if c.__module__ in (p.__name__, told.__name__)]


def test_every_witness_has_a_boundary() -> None:
    assert set(witnesses()) == {cause for cause, _, _ in BOUNDARY}


@pytest.mark.parametrize("cause", witnesses(), ids=lambda c: c.__name__)
def test_a_healthy_plant_shows_nothing(cause: Any) -> None:
    assert not np.any(cause(Bench().facts()))


@pytest.mark.parametrize("cause", [b[0] for b in BOUNDARY if b[0] not in (p.rack_bms_lost, p.temperature_sensor_lost)],
                         ids=lambda c: c.__name__)  # fmt: skip
def test_without_data_a_witness_says_nothing(cause: Any) -> None:
    beyond = next(b[2] for b in BOUNDARY if b[0] is cause)
    bench = Bench()
    beyond(bench)
    for field in dataclasses.fields(bench.points):
        bench.lose(field.name)
    for field in dataclasses.fields(bench.measured.extremes):
        samples = getattr(bench.measured.extremes, field.name)
        if hasattr(samples, "quality"):
            samples.quality[...] = int(Quality.BAD_COMM)
    own = (
        p.second_controller, p.clock_jumped, p.configuration_changed, p.soc_unknown, p.cell_voltage_stuck,
        p.cell_voltage_noisy, p.temperature_rises_fast, p.cell_unwitnessed, p.several_cells_unwitnessed,
    )  # fmt: skip
    assert bool(np.any(cause(bench.facts()))) is (cause in own)


def test_a_condition_needs_a_delay() -> None:
    row = Row("x", "site", When(q.fire), Effect.ALARM, None, Reset.SELF, Priority.LOW, "because", "advice")
    with pytest.raises(TypeError, match="needs a delay"):
        row.delay_ms(BASE.program.limit)
