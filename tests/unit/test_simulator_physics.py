"""The simulated plant obeys the balances it is meant to judge the controller by."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from plc_config.compile import Compiled, compile_site
from tests.sites import free_site
from tools.simulator.events import EventLog
from tools.simulator.options import STEP_MS, Options
from tools.simulator.plant import Plant

BEAT_EVERY_STEPS = 5


class Driver:
    """A controller's hands: commands, and heartbeats while time passes."""

    def __init__(self, compiled: Compiled, options: Options | None = None) -> None:
        self.events = EventLog()
        self.plant = Plant(compiled, options or Options(noise=0.0), self.events)
        self.beat = 0
        self.beating = True

    def run(self, seconds: float) -> None:
        for step in range(round(seconds * 1000 / STEP_MS)):
            if self.beating and step % BEAT_EVERY_STEPS == 0:
                self.beat += 1
                for rack in range(len(self.plant.current_a)):
                    self.plant.command("rack", "heartbeat", (rack,), [self.beat])
                for pcs in range(len(self.plant.pcs.power_w)):
                    self.plant.command("pcs", "heartbeat", (pcs,), [self.beat])
            self.plant.step()

    def precharge(self, rack: int, on: bool = True) -> None:
        self.plant.command("rack", "rack_precharge_close", (rack,), [float(on)])

    def main(self, rack: int, on: bool = True) -> None:
        self.plant.command("rack", "rack_main_close", (rack,), [float(on)])

    def connect(self) -> None:
        """Precharge and close every rack in turn."""
        for rack in range(len(self.plant.current_a)):
            self.precharge(rack)
            self.run(2.5)
            self.main(rack)
            self.run(0.2)
            self.precharge(rack, False)
            self.run(0.2)

    def power(self, watt: float, pcs: int = 0) -> None:
        self.plant.command("pcs", "pcs_run", (pcs,), [1.0])
        self.plant.command("pcs", "pcs_active_power_setpoint_w", (pcs,), [watt])

    def names(self) -> list[str]:
        return [e["event"] for e in self.events.ring]


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    return compile_site(str(free_site(tmp_path)))


@pytest.fixture
def driver(compiled: Compiled) -> Driver:
    return Driver(compiled)


def test_starts_at_rest(driver: Driver) -> None:
    driver.run(1.0)
    plant = driver.plant
    assert not plant.racks.main.closed.any() and not plant.pcs.running.any()
    assert (plant.current_a == 0).all()
    assert plant.cells.soc.mean() == pytest.approx(0.6, abs=0.01)
    assert plant.temperature_degc().mean() == pytest.approx(25.0, abs=0.2)


def test_open_circuit_voltage_is_the_cell_types_table(driver: Driver, compiled: Compiled) -> None:
    soc = np.linspace(0, 1, 501)
    expected = np.interp(soc, compiled.cell.ocv.soc, compiled.cell.ocv.volts)
    assert np.abs(driver.plant.cells.ocv(soc) - expected).max() < 0.003


def test_precharge_follows_the_exponential(driver: Driver) -> None:
    plant, links = driver.plant, driver.plant.links
    driver.precharge(0)
    driver.run(0.04)
    start_v, emf_v = float(links.voltage_v[0]), float(plant.rack_emf_v[0])
    ohm = links.precharge_ohm + float(plant.rack_ohm[0])
    final_v = emf_v * links.bleed_ohm / (links.bleed_ohm + ohm)
    tau_s = links.capacitance_f / (1 / ohm + 1 / links.bleed_ohm)
    for elapsed in np.arange(0.1, 1.6, 0.1):
        driver.run(0.1)
        expected = final_v + (start_v - final_v) * math.exp(-elapsed / tau_s)
        assert links.voltage_v[0] == pytest.approx(expected, rel=2e-3)


def test_precharge_ends_within_five_volts_in_the_default_timeout(compiled: Compiled, tmp_path: Path) -> None:
    for site in (compiled, compile_site(str(free_site(tmp_path, "container")))):
        driver = Driver(site)
        driver.precharge(0)
        driver.run(site.config.limits.precharge.timeout / 1000 - 0.5)
        difference_v = driver.plant.rack_emf_v[0] - driver.plant.links.voltage_v[0]
        assert 0 < difference_v < site.config.limits.precharge.voltage_difference
        assert abs(driver.plant.current_a[0]) < site.config.limits.precharge.current


def test_contactors_take_their_time(driver: Driver) -> None:
    driver.precharge(0)
    driver.run(0.02)
    assert not driver.plant.racks.precharge.closed[0]
    driver.run(0.02)
    assert driver.plant.racks.precharge.closed[0]


def test_rack_charge_equals_load_link_and_bleed(driver: Driver) -> None:
    driver.connect()
    plant, links = driver.plant, driver.plant.links
    driver.power(60e3)
    start_v, racks_as, load_as, bleed_as = float(links.voltage_v[0]), 0.0, 0.0, 0.0
    for _ in range(250):
        driver.run(STEP_MS / 1000)
        racks_as += float(plant.current_a.sum()) * STEP_MS / 1000
        load_as += float(plant.load_a[0]) * STEP_MS / 1000
        bleed_as += float(links.voltage_v[0]) / links.bleed_ohm * STEP_MS / 1000
    stored_as = links.capacitance_f * (float(links.voltage_v[0]) - start_v)
    assert racks_as == pytest.approx(load_as + stored_as + bleed_as, rel=1e-4)


def test_soc_counts_the_rack_current_and_the_leak(driver: Driver) -> None:
    driver.connect()
    plant, cells = driver.plant, driver.plant.cells
    driver.power(60e3)
    driver.run(0.1 - plant.time_ms % 100 / 1000)
    before, charge_as = cells.soc.copy(), np.zeros(2)
    for _ in range(500):
        driver.run(STEP_MS / 1000)
        charge_as += plant.current_a * STEP_MS / 1000
    drawn = (before - cells.soc) * cells.capacity_as - cells.leak_a * 10.0
    assert np.allclose(drawn, charge_as[:, None, None], rtol=1e-9, atol=1e-3)


def test_charging_loses_the_coulombic_inefficiency(driver: Driver) -> None:
    driver.connect()
    plant, cells = driver.plant, driver.plant.cells
    driver.power(-60e3)
    driver.run(1.0)
    before, charge_as = cells.soc.copy(), np.zeros(2)
    for _ in range(250):
        driver.run(STEP_MS / 1000)
        charge_as += plant.current_a * STEP_MS / 1000
    stored = (cells.soc - before) * cells.capacity_as + cells.leak_a * 5.0
    assert np.allclose(stored, -charge_as[:, None, None] * cells.efficiency, rtol=1e-6)


def test_sharing_sums_to_the_converter_and_follows_resistance(driver: Driver) -> None:
    driver.connect()
    plant = driver.plant
    driver.power(80e3)
    driver.run(3.0)
    link_v = float(plant.links.voltage_v[0])
    assert plant.current_a.sum() == pytest.approx(
        plant.pcs.dc_power_w()[0] / link_v + link_v / plant.links.bleed_ohm, 1e-3
    )
    assert np.allclose(plant.current_a, (plant.rack_emf_v - link_v) / plant.rack_ohm, rtol=0.02)
    assert plant.pcs.power_w[0] == pytest.approx(80e3)
    assert plant.pcs.dc_power_w()[0] == pytest.approx(80e3 / plant.constants.pcs_efficiency)


def test_energy_from_the_cells_is_the_energy_at_the_link_plus_heat(driver: Driver) -> None:
    driver.connect()
    plant = driver.plant
    driver.power(80e3)
    driver.run(5.0)
    source_w = float((plant.rack_emf_v * plant.current_a).sum())
    heat_w = float((plant.rack_ohm * plant.current_a**2).sum())
    link_v = float(plant.links.voltage_v[0])
    assert source_w - heat_w == pytest.approx(
        float(plant.pcs.dc_power_w()[0]) + link_v**2 / plant.links.bleed_ohm, 2e-3
    )


def test_the_heat_warms_the_cells(driver: Driver) -> None:
    driver.connect()
    plant, cells = driver.plant, driver.plant.cells
    before = cells.temperature_degc.copy()
    driver.power(100e3)
    driver.run(20.0)
    current_a = plant.current_a[:, None, None]
    ohm = cells.r0_ohm + cells.r1_ohm + cells.r2_ohm
    expected = (current_a**2 * ohm - cells.cooling_w_k * (before - 25.0)) * 20 / cells.heat_capacity_j_k
    assert np.allclose(cells.temperature_degc - before, expected, rtol=0.2, atol=2e-3)


def test_power_ramps_and_stop_is_immediate(driver: Driver) -> None:
    driver.connect()
    driver.power(100e3)
    driver.run(0.2)
    first = driver.plant.power_w()
    assert 0 < first < 100e3
    driver.run(1.0)
    assert driver.plant.power_w() == pytest.approx(100e3)
    driver.plant.command("pcs", "pcs_run", (0,), [0.0])
    driver.run(0.02)
    assert driver.plant.power_w() == 0


def test_converter_does_not_run_on_a_dead_link(driver: Driver) -> None:
    driver.power(50e3)
    driver.run(2.0)
    assert not driver.plant.pcs.running.any() and driver.plant.power_w() == 0


def test_converter_stops_when_its_heartbeat_stops(driver: Driver) -> None:
    driver.connect()
    driver.power(50e3)
    driver.run(1.0)
    driver.beating = False
    driver.run(0.9)
    assert driver.plant.pcs.running[0]
    driver.run(0.3)
    assert not driver.plant.pcs.running[0] and driver.plant.power_w() == 0 and driver.plant.pcs.setpoint_w[0] == 0
    assert "pcs_watchdog_trip" in driver.names()
    driver.beating = True
    driver.run(1.0)
    assert not driver.plant.pcs.running[0]


def test_rack_opens_by_itself_and_waits_for_a_new_command(driver: Driver) -> None:
    driver.connect()
    driver.beating = False
    driver.run(1.8)
    assert driver.plant.racks.main.closed.all()
    driver.run(0.4)
    assert not driver.plant.racks.main.closed.any()
    assert driver.names().count("rack_watchdog_trip") == 2
    driver.beating = True
    driver.run(1.0)
    driver.main(0)
    driver.run(0.5)
    assert not driver.plant.racks.main.closed[0], "a repeated close command is no new command"
    driver.main(0, False)
    driver.run(0.1)
    driver.main(0)
    driver.run(0.1)
    assert driver.plant.racks.main.closed[0]


def test_estop_opens_by_hardware_and_release_does_not_close(driver: Driver) -> None:
    driver.connect()
    driver.power(50e3)
    driver.run(1.0)
    driver.plant.enclosure.estop_channel_1 = False
    driver.run(0.06)
    assert not driver.plant.racks.main.closed.any() and driver.plant.power_w() == 0
    driver.plant.enclosure.estop_channel_1 = True
    driver.run(1.0)
    assert not driver.plant.racks.main.closed.any()


def test_supply_dropout_opens(driver: Driver) -> None:
    driver.connect()
    driver.plant.enclosure.aux_supply_v = 12.0
    driver.run(0.1)
    assert not driver.plant.racks.main.closed.any()


def test_closing_onto_a_dead_link_is_an_inrush(driver: Driver) -> None:
    driver.run(0.1)
    driver.main(0)
    driver.run(0.2)
    inrush = next(e for e in driver.events.ring if e["event"] == "inrush")
    plant = driver.plant
    assert inrush["place"] == "R01"
    assert inrush["inrush_a"] == pytest.approx(float(plant.rack_emf_v[0] / plant.rack_ohm[0]), rel=0.01)


def test_closing_after_precharge_is_not(driver: Driver) -> None:
    driver.connect()
    assert "inrush" not in driver.names()
    joined = [e for e in driver.events.ring if e["event"] == "main_joined_link"]
    assert [e["place"] for e in joined] == ["R01", "R02"]
    assert abs(joined[0]["difference_v"]) < 5


def test_joining_unequal_racks_equalises_through_their_resistance(compiled: Compiled) -> None:
    driver = Driver(compiled)
    driver.plant.cells.soc[0] = 0.9
    driver.plant.cells.soc[1] = 0.1
    driver.plant.refresh_states()
    driver.precharge(0)
    driver.run(2.5)
    driver.main(0)
    driver.run(0.2)
    driver.main(1)
    driver.run(0.2)
    plant = driver.plant
    difference_v = float(plant.rack_emf_v[0] - plant.rack_emf_v[1])
    assert plant.current_a[0] == pytest.approx(difference_v / float(plant.rack_ohm.sum()), rel=0.05)
    assert plant.current_a[0] == pytest.approx(-plant.current_a[1], rel=0.01)
    assert "inrush" in driver.names()


def test_welded_contactor_stays_and_broken_coil_does_not_close(driver: Driver) -> None:
    driver.connect()
    driver.plant.racks.main.welded[0] = True
    driver.main(0, False)
    driver.main(1, False)
    driver.run(0.5)
    assert driver.plant.racks.main.closed.tolist() == [True, False]
    driver.plant.racks.main.fails_to_close[1] = True
    driver.main(1)
    driver.run(0.5)
    assert not driver.plant.racks.main.closed[1]


def test_bleed_draws_its_current_and_forgets_after_silence(driver: Driver, compiled: Compiled) -> None:
    cells = driver.plant.cells
    driver.run(0.1)
    before = cells.soc.copy()
    on = [0.0] * 16
    on[3] = 1.0
    driver.plant.command("module", "cell_bleed_on", (1, 2), on)
    driver.run(20.0)
    used_a = ((before - cells.soc) * cells.capacity_as / 20.0 - cells.leak_a)[1, 2]
    assert used_a[3] == pytest.approx(compiled.config.balancing.bleed_current, rel=0.03)
    assert np.abs(np.delete(used_a, 3)).max() < 1e-6
    driver.run(15.0)
    assert not cells.bleed_on.any()


def test_opening_under_load_stops_the_converter(driver: Driver) -> None:
    driver.connect()
    driver.power(50e3)
    driver.run(1.0)
    driver.main(0, False)
    driver.main(1, False)
    driver.run(0.1)
    assert driver.plant.power_w() == 0 and (driver.plant.current_a == 0).all()
    assert 0 < driver.plant.links.voltage_v[0] < driver.plant.rack_emf_v[0] + 5


def test_abuse_is_noticed_once_per_rack(driver: Driver) -> None:
    driver.plant.cells.soc[1, 2, 5] = 1.02
    driver.plant.refresh_states()
    driver.run(1.0)
    outside = [e for e in driver.events.ring if e["event"] == "cell_outside_region"]
    assert [(e["place"], e["kind"]) for e in outside] == [("R02/M03/C06", "cell_overvoltage")]


def test_same_seed_same_plant(compiled: Compiled) -> None:
    runs = []
    for _ in range(2):
        driver = Driver(compiled)
        driver.connect()
        driver.power(40e3)
        driver.run(2.0)
        runs.append((driver.plant.cells.soc.tobytes(), driver.plant.cell_v.tobytes()))
    assert runs[0] == runs[1]


def test_banks_are_separate(tmp_path: Path) -> None:
    driver = Driver(compile_site(str(free_site(tmp_path, "plant"))))
    driver.precharge(13)
    driver.run(1.0)
    volts = driver.plant.links.voltage_v
    assert volts[1] > 1000 and volts[[0, 2, 3]].max() == 0
