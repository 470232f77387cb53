"""Every plain cause at its boundary: what is not yet one, and what is, on a bench that discharges with 60 kW."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from controller.core.image import DISK_FULL, STORE_FAULT, ClockSync, RackMode, RetainedState, SiteMode, WeldTest
from controller.core.image_warnings import Fault
from controller.core.protect import ROWS
from controller.core.protect import facts as q
from controller.core.protect.row import When
from controller.core.signal import Quality
from controller.core.topology import Wires
from tests.protect_bench import BASE, Bench, Change, all_of, lose, put, rack_mode, unfitted
from tests.sequence_bench import Racks

MODULE = np.s_[0, 1]
REST_V = 3.29


def modes(**values: Any) -> Change:
    def change(b: Bench) -> None:
        b.modes = dataclasses.replace(b.modes, **values)

    return change


def contactors(**values: Any) -> Change:
    def change(b: Bench) -> None:
        b.modes = dataclasses.replace(b.modes, contactors=dataclasses.replace(b.modes.contactors, **values))

    return change


def system(**values: Any) -> Change:
    def change(b: Bench) -> None:
        b.system = dataclasses.replace(b.system, **values)

    return change


def more(**values: Any) -> Change:
    return lambda b: b.more.update(values)


def heartbeat(age_ms: int) -> Change:
    def change(b: Bench) -> None:
        b.dispatching = dataclasses.replace(b.dispatching, heartbeat_age_ms=age_ms)

    return change


def contested(left_ms: int) -> Change:
    def change(b: Bench) -> None:
        b.dispatching = dataclasses.replace(b.dispatching, contested_ms=left_ms)

    return change


def sound(b: Bench) -> None:
    """Nothing is wrong."""


CELLS, SENSORS = "cell_voltage_v", "cell_temperature_degc"
TOO_MANY = BASE.program.limit.overrun_scans
BOUNDARY: list[tuple[Any, Change, Change]] = [
    (q.module_lost, lose(CELLS, np.s_[0, 1, 1:]), lose(CELLS, MODULE)),
    (q.module_lost, all_of(lose(CELLS, MODULE), unfitted("module_fitted", MODULE)), lose(CELLS, MODULE)),
    (q.cell_voltage_lost, lose(CELLS, MODULE), lose(CELLS, np.s_[0, 1, 5])),
    (
        q.cell_voltage_lost,
        all_of(lose(CELLS, np.s_[0, 1, 5]), unfitted("cell_fitted", np.s_[0, 1, 5])),
        lose(CELLS, np.s_[0, 1, 5]),
    ),
    (q.temperature_lost, lose(SENSORS, np.s_[0, 1, 1:]), lose(SENSORS, MODULE)),
    (q.temperature_lost, all_of(lose(SENSORS, MODULE), lose(CELLS, MODULE)), lose(SENSORS, MODULE)),
    (q.temperature_lost, all_of(lose(SENSORS, MODULE), unfitted("module_fitted", MODULE)), lose(SENSORS, MODULE)),
    (q.rack_lost, lose("rack_current_a", 0), lose("rack_voltage_v", 0)),
    (q.rack_lost, lose("rack_current_a", 0), lose("rack_main_closed", 0)),
    (q.rack_current_lost, lose("rack_voltage_v", 0), lose("rack_current_a", 0)),
    (q.insulation_lost, lose("rack_voltage_v", 0), lose("rack_insulation_ohm", 0)),
    (q.precharge_overdue, modes(rack_attempts=np.array([2, 0])), modes(rack_attempts=np.array([3, 0]))),
    (q.pcs_lost, lose("pcs_dc_voltage_v"), lose("pcs_active_power_w")),
    (q.pcs_fault, put("pcs_fault", 0.49), put("pcs_fault", 0.5)),
    (q.pcs_exceeds_rating, put("pcs_active_power_w", 109.9e3), put("pcs_active_power_w", 110.1e3)),
    (q.pcs_exceeds_rating, put("pcs_active_power_w", -109.9e3), put("pcs_active_power_w", -110.1e3)),
    (
        q.pcs_exceeds_rating,
        all_of(put("pcs_active_power_w", 120e3), lose("pcs_active_power_w")),
        put("pcs_active_power_w", 120e3),
    ),
    (q.estop_pressed, put("estop_channel_1_closed", 0.5), put("estop_channel_1_closed", 0.49)),
    (q.estop_pressed, lose("estop_channel_2_closed"), put("estop_channel_2_closed", 0.0)),
    (
        q.estop_discrepancy,
        all_of(put("estop_channel_1_closed", 0.0), put("estop_channel_2_closed", 0.0)),
        put("estop_channel_1_closed", 0.49),
    ),
    (
        q.estop_discrepancy,
        all_of(put("estop_channel_1_closed", 0.0), lose("estop_channel_2_closed")),
        put("estop_channel_2_closed", 0.0),
    ),
    (
        q.estop_discrepancy,
        all_of(put("estop_channel_2_closed", 0.0), lose("estop_channel_1_closed")),
        put("estop_channel_2_closed", 0.0),
    ),
    (q.estop_lost, put("estop_channel_1_closed", 0.0), lose("estop_channel_1_closed")),
    (q.estop_lost, put("estop_channel_2_closed", 0.0), lose("estop_channel_2_closed")),
    (q.remote_emergency_stop, sound, more(emergency_stop=1)),
    (q.fire, put("fire_alarm", 0.49), put("fire_alarm", 0.5)),
    (q.fire_lost, put("fire_alarm", 1.0), lose("fire_alarm")),
    (q.fire_lost, put("smoke_detected", 1.0), lose("smoke_detected")),
    (q.smoke, put("smoke_detected", 0.0), put("smoke_detected", 1.0)),
    (q.hvac_failed, put("hvac_healthy", 1.0), put("hvac_healthy", 0.0)),
    (q.hvac_lost, lose("aux_supply_v"), lose("hvac_healthy")),
    (q.hvac_lost, sound, lose("door_closed")),
    (q.hvac_lost, sound, lose("ambient_temperature_degc")),
    (q.door_open, lose("door_closed"), put("door_closed", 0.0)),
    (q.aux_supply_lost, put("aux_supply_v", 0.0), lose("aux_supply_v")),
    (q.scada_silent, heartbeat(9_999), heartbeat(10_000)),
    (q.scada_silent, heartbeat(-1), heartbeat(10_001)),
    (q.setpoints_contested, contested(0), contested(1)),
    (q.scan_overruns, more(overruns_in_a_row=TOO_MANY - 1), more(overruns_in_a_row=TOO_MANY)),
    (q.io_lost, system(io_age_ms=2000), system(io_age_ms=2001)),
    (q.io_lost, system(io_restarted=0), system(io_restarted=1)),
    (q.opcua_lost, system(opcua_age_ms=30_000), system(opcua_age_ms=30_001)),
    (q.store_lost, system(store_age_ms=30_000), system(store_age_ms=30_001)),
    (q.store_trouble, system(store_trouble=DISK_FULL), system(store_trouble=DISK_FULL | STORE_FAULT)),
    (q.disk_full, system(store_trouble=STORE_FAULT), system(store_trouble=DISK_FULL | STORE_FAULT)),
    *(
        (q.clock_not_synchronised, system(clock_sync=sound), system(clock_sync=ClockSync.NOT_SYNCHRONISED))
        for sound in (ClockSync.NOT_ASKED, ClockSync.SYNCHRONISED, ClockSync.UNKNOWN)
    ),
    (
        q.records_lost,
        all_of(more(utc_before_ms=1, lost_before=3), system(lost_records=3)),
        all_of(more(utc_before_ms=1, lost_before=3), system(lost_records=4)),
    ),
    (
        q.records_lost,
        all_of(more(utc_before_ms=0), system(lost_records=9)),
        all_of(more(utc_before_ms=1), system(lost_records=9)),
    ),
    (q.rack_open_while_online, rack_mode(RackMode.OUT_OF_SERVICE), rack_mode(RackMode.OPEN)),
    (q.rack_open_while_online, rack_mode(RackMode.PRECHARGE), rack_mode(RackMode.TRIPPED)),
    (q.rack_open_while_online, rack_mode(RackMode.STOPPING), rack_mode(RackMode.LOCKED_OUT)),
    (
        q.rack_open_while_online,
        all_of(modes(site_mode=int(SiteMode.CONNECTING)), rack_mode(RackMode.OPEN)),
        rack_mode(RackMode.OPEN),
    ),
    (
        q.contactor_worn,
        contactors(rack_contactor_wear_ratio=np.array([0.89, 0.0])),
        contactors(rack_contactor_wear_ratio=np.array([0.9, 0.0])),
    ),
    (
        q.weld_test_failed,
        contactors(rack_weld_test=np.array([WeldTest.UNDECIDED, 0])),
        contactors(rack_weld_test=np.array([WeldTest.FAILED, 0])),
    ),
    (q.controller_interrupted, more(interrupted=False), more(interrupted=True)),
    (
        q.retained_doubtful,
        modes(retained_state=int(RetainedState.LOST)),
        modes(retained_state=int(RetainedState.DOUBTFUL)),
    ),
    (
        q.retained_lost,
        modes(retained_state=int(RetainedState.DOUBTFUL)),
        modes(retained_state=int(RetainedState.LOST)),
    ),
]


@pytest.mark.parametrize(("cause", "before", "beyond"), BOUNDARY, ids=lambda x: getattr(x, "__name__", ""))
def test_a_cause_has_its_boundary_where_it_says(cause: Any, before: Change, beyond: Change) -> None:
    for change, present in ((before, False), (beyond, True)):
        bench = Bench()
        change(bench)
        found = np.asarray(cause(bench.facts()))
        assert bool(found.any()) is present, change
        if present and found.size > 1:
            assert found.sum() == 1 and found[MODULE if found.ndim == 2 else 0], "there and nowhere else"


def test_every_plain_cause_of_the_table_has_a_boundary() -> None:
    named = {r.cause.condition for r in ROWS if isinstance(r.cause, When)}
    plain = {c for c in named if c.__module__ == q.__name__}
    assert plain - {q.bus_lost} == {cause for cause, _, _ in BOUNDARY}


class TestBusLost:
    """R01 and its modules are on GW1, R02's modules and the PCS on GW2, E-stop and smoke on IO; SPARE is not used."""

    def plant(self) -> Bench:
        bench = Bench()
        racks, modules, pcs = np.zeros((4, 2), bool), np.zeros((4, 2, 4), bool), np.zeros((4, 1), bool)
        racks[0, 0] = modules[0, 0] = modules[1, 1] = pcs[1, 0] = True
        site = ((), (), ("estop_channel_1_closed", "smoke_detected"), ())
        wires = Wires(("GW1", "GW2", "IO", "SPARE"), modules, racks, pcs, site)
        bench.topology = dataclasses.replace(bench.topology, wires=wires)
        return bench

    @pytest.mark.parametrize(
        ("silent", "buses"),
        [
            (sound, []),
            (all_of(lose("rack_voltage_v", 0), lose(CELLS, 0)), [0]),
            (all_of(lose("rack_voltage_v", 0), lose(CELLS, np.s_[0, :3])), []),
            (lose(CELLS, 0), []),
            (all_of(lose("pcs_active_power_w"), lose(CELLS, 1)), [1]),
            (lose(CELLS, 1), []),
            (lose("pcs_active_power_w"), []),
            (all_of(lose("estop_channel_1_closed"), lose("smoke_detected")), [2]),
            (lose("smoke_detected"), []),
            (all_of(lose("rack_voltage_v"), lose(CELLS), lose("pcs_active_power_w")), [0, 1]),
        ],
        ids=["all heard", "GW1", "one module of GW1", "the rack of GW1", "GW2", "the PCS of GW2", "modules of GW2",
             "IO", "one of IO", "both gateways"],
    )  # fmt: skip
    def test_a_bus_is_lost_when_nothing_of_it_is_heard(self, silent: Change, buses: list[int]) -> None:
        bench = self.plant()
        silent(bench)
        assert np.flatnonzero(q.bus_lost(bench.facts())).tolist() == buses

    def test_one_pcs_of_two_that_is_heard_is_enough(self) -> None:
        racks = Racks()
        nothing = np.zeros((1, 4, 1), bool)
        wires = Wires(("GW",), nothing, np.zeros((1, 4), bool), np.ones((1, 2), bool), ((),))
        topology = dataclasses.replace(racks.topology, wires=wires)
        for silent, lost in (([0], False), ([0, 1], True)):
            racks.lose("pcs_active_power_w", silent)
            facts = dataclasses.replace(Bench().facts(), topology=topology, measured=racks.measured)
            assert q.bus_lost(facts).tolist() == [lost]


class TestQuantities:
    """A value is pushed towards the danger by its age: 20 mV per second of a cell, 0.2 K per second of a sensor."""

    def aged(self, name: str, where: Any, seconds: float) -> Bench:
        bench = Bench()
        samples = getattr(bench.points, name)
        samples.value[...], samples.time_ms[...] = 25.0 if name == SENSORS else REST_V, bench.system.now_ms
        samples.time_ms[where] -= round(seconds * 1000)
        return bench

    def test_an_old_cell_voltage_counts_as_higher_and_as_lower_than_it_was(self) -> None:
        facts = self.aged(CELLS, np.s_[0, 1, 5], 5.0).facts()
        high, low = q.cell_voltage_high(facts), q.cell_voltage_low(facts)
        assert high.value[MODULE] == pytest.approx(REST_V + 0.1) and low.value[MODULE] == pytest.approx(REST_V - 0.1)
        assert high.element[MODULE] == low.element[MODULE] == 5
        assert high.value[1, 1] == low.value[1, 1] == pytest.approx(REST_V)

    def test_an_old_temperature_counts_as_hotter_and_as_colder_than_it_was(self) -> None:
        facts = self.aged(SENSORS, np.s_[0, 1, 2], 5.0).facts()
        high, low = q.temperature_high(facts), q.temperature_low(facts)
        assert (high.value[MODULE], low.value[MODULE]) == (pytest.approx(26.0), pytest.approx(24.0))
        assert high.element[MODULE] == low.element[MODULE] == 2

    def test_what_is_not_usable_is_left_out_and_a_module_without_any_value_is_not_known(self) -> None:
        bench = Bench()
        bench.points.cell_voltage_v.value[0, 1, :2] = (9.0, 0.1)
        bench.lose(CELLS, np.s_[0, 1, :2])
        bench.lose(CELLS, np.s_[0, 2])
        high, low = q.cell_voltage_high(bench.facts()), q.cell_voltage_low(bench.facts())
        assert 3.2 < low.value[MODULE] <= high.value[MODULE] < 3.4
        assert high.known.sum() == low.known.sum() == 7
        assert (high.value[0, 2], low.value[0, 2], high.known[0, 2], low.known[0, 2]) == (0.0, 0.0, False, False)

    def test_currents_are_magnitudes_of_their_direction(self) -> None:
        bench = Bench()
        for name in ("rack_current_a", "rack_current_redundant_a"):
            bench.put(name, (-50.0, 80.0), ...)
        assert q.charge_current(bench.facts()).value.tolist() == [50.0, -80.0]
        assert q.discharge_current(bench.facts()).value.tolist() == [-50.0, 80.0]

    @pytest.mark.parametrize(
        ("quantity", "point"),
        [(q.insulation, "rack_insulation_ohm"), (q.aux_supply, "aux_supply_v"),
         (q.ambient, "ambient_temperature_degc")],
    )  # fmt: skip
    def test_a_plain_value_is_shown_as_it_is_and_known_while_it_is_usable(self, quantity: Any, point: str) -> None:
        bench = Bench()
        bench.put(point, 12.5, ...)
        samples = getattr(bench.points, point)
        for quality, known in ((Quality.GOOD, True), (Quality.SUBSTITUTED, True), (Quality.BAD_RANGE, False)):
            samples.quality[...] = int(quality)
            reading = quantity(bench.facts())
            assert (np.ravel(reading.value)[0], np.ravel(reading.known)[0]) == (12.5, known)


class TestSuspected:
    def test_a_cell_is_found_in_its_rack(self) -> None:
        bench = Bench()
        bench.warnings.cell_warning[1, 2, 3] = bench.warnings.cell_warning[1, 3, 0] = int(Fault.INTERNAL_SHORT)
        present, element = q.suspected(bench.facts(), Fault.INTERNAL_SHORT)
        assert (present.tolist(), element.tolist()) == ([False, True], [-1, 2 * 16 + 3])

    def test_a_temperature_sensor_is_looked_for_among_sensors(self) -> None:
        bench = Bench()
        bench.warnings.temperature_warning[0, 1, 2] = int(Fault.TEMPERATURE_SENSOR)
        present, element = q.suspected(bench.facts(), Fault.TEMPERATURE_SENSOR)
        sensors = bench.topology.temperatures
        assert (present.tolist(), element.tolist()) == ([True, False], [sensors + 2, -1])
        assert not q.suspected(bench.facts(), Fault.INTERNAL_SHORT)[0].any()

    @pytest.mark.parametrize("array", ["cell_warning", "temperature_warning"])
    def test_a_stuck_sensor_may_be_of_either_kind(self, array: str) -> None:
        bench = Bench()
        getattr(bench.warnings, array)[1, 0, 1] = int(Fault.STUCK_SENSOR)
        present, _ = q.suspected(bench.facts(), Fault.STUCK_SENSOR)
        assert present.tolist() == [False, True]
