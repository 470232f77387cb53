"""What the battery can still do: energy, the answer to a power for a time, capacity, temperature, ageing, windows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from controller.core.estimate import capacity
from controller.core.estimate.cell_model import CellModel
from controller.core.estimate.circuit import Circuit
from controller.core.estimate.deliver import Offer, deliver
from controller.core.estimate.energy import RATE_C, Energies
from controller.core.estimate.planner import Planner
from controller.core.layout import Layout
from controller.core.memory import EstimationMemory
from controller.core.outlook import CAUSES, NEVER_H, WINDOWS
from controller.core.outlook_memory import EVENTS, LEDGER_DTYPE
from controller.core.retained import restore, retain
from controller.core.settings import Polyline
from controller.core.signal import Quality
from plc_config.compile import compile_site
from tests.estimate_rig import sheet
from tests.outlook_rig import String, circuit, derating, record
from tests.story import Story, connected, fork
from tools.score.bench import sheet_of

# -- energy ------------------------------------------------------------------------------------------------------


def energy_of(string: String) -> np.ndarray:  # type: ignore[type-arg]
    soe = record()
    Energies(circuit(), derating()).rack(string.seen(), soe["energy"])
    return soe["energy"]


@pytest.mark.parametrize("soc", [0.3, 0.6, 0.9])
def test_the_energy_told_is_what_a_quarter_of_one_c_takes_out(soc: float) -> None:
    string = String.drawn(5, soc, 25.0)
    told = energy_of(copy_of(string))
    m, limit = circuit().model, Energies(circuit(), derating()).low_v
    i, wh, dt = RATE_C * m.capacity_ah, 0.0, 10.0
    while True:
        rise = string.rise()
        volts = string.emf() - i * string.r0 * rise
        if volts.min() < limit:
            break
        wh += volts.sum() * i * dt / 3600
        string.soc = string.soc - i * dt / 3600 / string.capacity_ah
        rc = rise * string.r0 / m.r0
        string.v1 += (m.r1 * rc * i - string.v1) * (1 - np.exp(-dt / m.tau1_s))
        string.v2 += (m.r2 * rc * i - string.v2) * (1 - np.exp(-dt / m.tau2_s))
    # The slow branch follows the rise late: towards empty somewhat less is told.
    assert 0.93 * wh < told["wh"][0, 0] < 1.02 * wh


@pytest.mark.parametrize("soc", [0.6, 0.9])
@pytest.mark.parametrize("share", [0.4, 1.0, 1.5])
def test_where_a_plateau_ends_the_discharge_the_sigma_knows_that_a_few_mv_decide(soc: float, share: float) -> None:
    """A site that must end at 3.15 V on LFP: the drop decides, and the datasheet does not know it well."""
    edge = Polyline(np.array([3.15, 3.152]), np.array([0.0, 1.0]))
    strict, string = dataclasses.replace(derating(), discharge_voltage=edge), String.drawn(5, soc, 25.0)
    soe = record()
    Energies(circuit(), strict).rack(string.seen(sigma=0.005), soe["energy"])
    told, sigma = soe["energy"]["wh"][0, 0], soe["energy"]["wh_sigma"][0, 0]
    m = circuit().model
    i, truth = RATE_C * m.capacity_ah, string.soc.copy()
    drop, wh = share * (m.r0 + m.r1 + m.r2) * i, 0.0
    while (m.ocv(truth) - drop).min() > 3.15:
        wh += float((m.ocv(truth) - drop).sum() * i * 20.0 / 3600)
        truth = truth - i * 20.0 / 3600 / string.capacity_ah
    assert abs(told - wh) < 2 * sigma
    usual = energy_of(string)
    assert usual["wh_sigma"][0, 0] < 0.3 * sigma, "the type's own limits lie on the steep end"


def copy_of(string: String) -> String:
    return String(*(np.copy(getattr(string, f.name)) for f in dataclasses.fields(string)))


def test_the_emptiest_cell_ends_the_discharge_and_the_fullest_the_charge() -> None:
    string = String.drawn(1, 0.5, 25.0)
    string.soc[4], string.soc[7] = 0.42, 0.58
    told = energy_of(string)
    assert told["limits_cell"][0].tolist() == [4, 7]
    assert told["balanced_wh"][0] > 1.1 * told["usable_wh"][0]


def test_balanced_cells_have_nothing_to_gain() -> None:
    string = String.drawn(1, 0.5, 25.0)
    string.soc[...], string.capacity_ah[...] = 0.5, 280.0
    string.r0[...] = string.r0.mean()
    told = energy_of(string)
    assert told["balanced_wh"][0] == pytest.approx(told["usable_wh"][0], rel=1e-3)


# -- a power for a time ------------------------------------------------------------------------------------------


def offer(**more: object) -> Offer:
    values = {
        "charge": False, "power_w": (4e6, 4e6, 3.9e6, 3e6), "power_sigma_w": (0.0, 0.0, 1e4, 1e5),
        "limited_by": ("rated current", "rated current", "cell voltage", "cell voltage"),
        "places": ("", "", "R01/M01/C02", "R01/M01/C02"), "energy_wh": 4e6, "energy_sigma_wh": 1e5,
        "energy_place": "R02/M03/C04", "reference_w": 1e6, "loss_ratio": 0.02, "permitted_w": 4e6, "known": True,
    }  # fmt: skip
    return Offer(**{**values, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("power", "hours", "more", "yes", "by"),
    [
        (2e6, 1.0, {}, True, "cell voltage"),
        (1e6, 3.0, {}, True, "cell empty"),
        (2e6, 1.9, {}, False, "cell empty"),
        (2e6, 2.5, {}, False, "cell empty"),
        (3.2e6, 0.25, {}, False, "cell voltage"),
        (3.9e6, 30 / 3600, {}, True, "cell voltage"),
        (4.2e6, 2 / 3600, {}, False, "rated current"),
        (2e6, 0.2, {"limited_by": ("PCS rating",) * 4, "power_w": (1.9e6,) * 4}, False, "PCS rating"),
        (1e3, 0.1, {"known": False}, False, "not known"),
        (1e6, 3.0, {"charge": True}, True, "cell full"),
    ],
)
def test_the_answer(power: float, hours: float, more: dict[str, object], yes: bool, by: str) -> None:
    answer = deliver(offer(**more), power, hours)
    assert (answer.yes, answer.limited_by) == (yes, by)
    assert answer.yes == (answer.probability >= 0.95)


def test_what_it_says_is_the_most_is_a_yes_and_a_little_more_a_no() -> None:
    for hours in (0.01, 0.25, 1.0, 3.0):
        most = deliver(offer(), 1e6, hours).most_power_w
        assert deliver(offer(), 0.999 * most, hours).yes
        assert not deliver(offer(energy_sigma_wh=1e4, power_sigma_w=(1e3,) * 4), 1.1 * most, hours).yes
    assert deliver(offer(), 2e6, deliver(offer(), 2e6, 1.0).most_hours).yes


def test_energy_at_more_power_is_less() -> None:
    assert deliver(offer(), 3e6, 1.0).energy_wh < deliver(offer(), 1e6, 1.0).energy_wh == 4e6


# -- capacity and resistance -------------------------------------------------------------------------------------


def test_total_least_squares_has_no_bias_where_ordinary_ones_have() -> None:
    random = np.random.default_rng(2)
    found, told = [], []
    for _ in range(200):
        sums = capacity.prior() * 1e-3
        for _ in range(60):
            swing = random.uniform(0.35, 0.6) * random.choice([-1, 1])
            new = capacity.sums_of(
                np.array(swing + random.normal(0, 0.06)), np.array(0.9 * swing + random.normal(0, 0.005)),
                np.array(0.06), np.array(0.005),
            )  # fmt: skip
            sums = sums + new
        ratio, sigma = capacity.solve(sums, np.array(1.0))
        found.append(float(ratio))
        told.append(float(sigma))
    assert np.mean(found) == pytest.approx(0.9, abs=0.004)
    assert np.std(found) == pytest.approx(np.mean(told), rel=0.3)


def test_the_datasheet_stands_until_there_is_evidence() -> None:
    ratio, sigma = capacity.solve(capacity.prior(), np.array(1.0))
    assert float(ratio) == pytest.approx(1.0) and float(sigma) == pytest.approx(capacity.PRIOR_SIGMA, rel=0.1)


def test_a_string_that_is_cycled_shows_its_capacity_and_its_resistance() -> None:
    """Five full cycles of cells that have lost a tenth of their capacity and grown a quarter in resistance."""
    m = circuit().model
    caps, health = capacity.Capacities(circuit()), record()["health"]
    capacity.first(health)
    string = String.drawn(3, 0.5, 25.0)
    string.capacity_ah[...] = 0.9 * m.capacity_ah
    string.r0[...] = 1.25 * m.r0
    i, dt = 0.0, 2.0
    plan = [0.0] * 5 + [70.0]
    for k in range(9 * 1800):
        volts = string.emf() - i * string.r0
        if volts.max() > 3.55 and i < 0:
            plan = [0.0] * 450 + [70.0]
        if volts.min() < 2.8 and i > 0:
            plan = [0.0] * 450 + [-70.0]
        i = plan.pop(0) if len(plan) > 1 else plan[0] * (1 + 0.3 * (k // 30 % 2))
        seen = dataclasses.replace(string.seen(), current_a=np.array([i]))
        seen.emf_v[...] += (seen.r0 * 0.8 - seen.r0) * i  # what the outlook still believes of the resistance
        seen = dataclasses.replace(seen, r0=seen.r0 * 0.8)
        caps.rack(seen, health, np.array([2000.0]), np.array([i * dt / 3600]), np.array([i]))
        string.soc = np.clip(string.soc - i * dt / 3600 / string.capacity_ah, 0, 1)
        string.v1 += (m.r1 * i - string.v1) * (1 - np.exp(-dt / m.tau1_s))
        string.v2 += (m.r2 * i - string.v2) * (1 - np.exp(-dt / m.tau2_s))
    assert health["pairs"][0] >= 2
    assert health["ratio"][0] == pytest.approx(0.9, abs=0.02)
    assert abs(health["ratio"][0] - 0.9) < 3 * health["ratio_sigma"][0] < 0.12
    assert health["growth"][0] == pytest.approx(1.25, abs=0.05)
    assert abs(health["slow_ratio"][0] - 1.0) <= capacity.SLEW_PER_DAY


# -- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soc", "sigma", "kind"),
    [
        (0.55, 0.08, "full charge"),
        (0.55, 0.005, "none"),
        (0.12, 0.08, "empty"),
        (0.9, 0.06, "full charge"),
    ],
)
def test_a_window_is_asked_for_where_it_pays(soc: float, sigma: float, kind: str) -> None:
    string, rack = String.drawn(1, soc, 25.0), record()
    rack["energy"]["balanced_wh"] = 10_000.0
    Planner(circuit()).rack(string.seen(sigma=sigma), rack["plan"], rack["energy"])
    assert WINDOWS[int(rack["plan"]["kind"][0])] == kind
    assert (rack["plan"]["gain_wh"][0] > 0) == (kind != "none")
    assert rack["plan"]["after"][0] <= rack["plan"]["sigma"][0]


def test_on_a_sloping_curve_a_rest_is_enough() -> None:
    rack = record()
    rack["energy"]["balanced_wh"] = 10_000.0
    sloping = Planner(Circuit(CellModel(sheet_of(sheet("nmc-94")))))
    sloping.rack(String.drawn(1, 0.6, 25.0).seen(sigma=0.03), rack["plan"], rack["energy"])
    assert WINDOWS[int(rack["plan"]["kind"][0])] == "rest"


# -- in the scan -------------------------------------------------------------------------------------------------


def test_an_outlook_follows_within_seconds_and_names_a_cell() -> None:
    story = fork(connected())
    story.points.cell_voltage_v.value[1, 2, 5] = 2.86
    o = story.seconds(4.5).estimates.outlook
    assert o.rack_power.rack_discharge_power_10s_place.tolist() == [-1, 64 + 2 * 16 + 5]
    assert CAUSES[o.rack_power.rack_discharge_power_10s_limited_by[1]] == "cell voltage"
    assert o.rack_power.rack_discharge_power_10s_w[1] < 0.5 * o.rack_power.rack_discharge_power_10s_w[0]
    assert 0 < o.site_power.discharge_power_10s_w < 2.1 * o.rack_power.rack_discharge_power_10s_w[1] + 1e3


def test_without_a_soc_nothing_is_promised() -> None:
    story = Story("bench")
    story.lose("rack_current_a", quality=Quality.BAD_SENSOR)
    e = story.seconds(3).estimates
    assert not e.outlook.rack_power.rack_discharge_power_2s_w.any()
    assert CAUSES[e.outlook.site_power.discharge_power_15min_limited_by] in ("not known", "no rack connected")
    assert e.discharge_energy_wh == 0.0


def test_time_to_empty_at_the_present_power() -> None:
    story = fork(connected())
    story.points.rack_current_a.value[...] = 28.0
    e = story.seconds(100).estimates
    slow = e.outlook.rack_energy.rack_discharge_charge_ah[0] / 28.0
    assert slow < e.outlook.rack_energy.rack_time_to_empty_h[0] < 1.1 * slow, "a tenth of 1C leaves less behind"
    power = 2 * 28.0 * float(story.points.rack_voltage_v.value[0])
    assert e.outlook.site_energy.time_to_empty_h == pytest.approx(e.discharge_energy_wh / power, rel=0.06)
    assert e.outlook.site_energy.time_to_full_h == NEVER_H
    assert e.outlook.site_energy.time_to_target_h < e.outlook.site_energy.time_to_empty_h


def test_the_core_is_warmer_than_the_surface_under_load() -> None:
    story = fork(connected())
    story.points.rack_current_a.value[...] = 140.0
    story.points.cell_temperature_degc.value[0, 0, 0] = 31.0
    o = story.seconds(60).estimates.outlook
    surface, core = o.warmth.cell_surface_temperature_degc, o.warmth.cell_core_temperature_degc
    assert (core > surface + 0.1)[1].all()
    assert surface[0, 0, 0] == pytest.approx(31.0, abs=0.4) and surface[0, 0, -1] < 30.0
    assert o.warmth.rack_heat_w[0] == pytest.approx(64 * 140**2 * circuit().full_ohm, rel=0.05)


def test_a_lost_temperature_sensor_is_bridged_by_its_neighbours() -> None:
    story = fork(connected())
    story.lose("cell_temperature_degc", (0, 1, 0), Quality.BAD_SENSOR)
    story.points.cell_temperature_degc.value[0, 1, 0] = -99.0
    surface = story.seconds(5).estimates.outlook.warmth.cell_surface_temperature_degc
    np.testing.assert_allclose(surface, 25.0, atol=0.1)


def test_the_ledger_books_throughput_time_and_events() -> None:
    story = fork(connected())
    story.points.rack_current_a.value[...] = -56.0
    story.seconds(60)
    story.points.cell_temperature_degc.value[...] = -3.0
    story.seconds(10)
    book = story.memory.estimation.outlook.ledger
    assert book["charge_ah"][0] == pytest.approx(56 * 70 / 3600, rel=0.02)
    assert book["charge_wh"][0] == pytest.approx(book["charge_ah"][0] * 3.29 * 64, rel=0.02)
    assert book["hours"].sum(axis=(1, 2, 3))[0] == pytest.approx(story.number * 0.1 / 3600, rel=0.1)
    assert book["events"][0, EVENTS.index("charged too cold")] == 1
    assert book["cold_h"][0] == pytest.approx(10 / 3600, rel=0.2)


def test_ledger_and_health_survive_a_restart() -> None:
    story = fork(connected())
    story.points.rack_current_a.value[...] = 28.0
    story.seconds(20)
    kept = retain(story.memory, 1, 1, 1)
    again = restore(story.program.blank_memory(), kept).estimation.outlook
    before = story.memory.estimation.outlook
    assert again.ledger.tobytes() == before.ledger.tobytes()
    np.testing.assert_array_equal(again.rack["health"]["sums"], before.rack["health"]["sums"])
    np.testing.assert_array_equal(again.cell_lack_variance, before.cell_lack_variance)
    assert (again.rack["warm"] == 0).all() and (again.rack["health"]["base"] == 0).all()


def test_a_given_memory_is_never_changed() -> None:
    story = fork(connected())
    layout = Layout(EstimationMemory, story.program.dims)
    given, before = story.memory.estimation, layout.to_bytes(story.memory.estimation)
    story.points.rack_current_a.value[...] = 28.0
    story.seconds(3)
    assert layout.to_bytes(given) == before


def test_entropic_heat_counts_with_its_sign() -> None:
    site = compile_site("bench")
    program, cell = site.program, derating().cell
    entropy = np.full(len(cell.soc_grid), 2e-4)
    model = CellModel(dataclasses.replace(cell, entropy_v_per_k=entropy))
    complete = program.estimator
    complete.temperatures.circuit = Circuit(model)
    memory = Layout(EstimationMemory, program.dims).blank()
    racks = np.array([0])
    core = np.full((1, 4, 16), 25.0)
    warm = complete.temperatures.heat(memory, racks, core, np.zeros(1), np.array([100.0]))
    assert warm[0, 0, 0] == pytest.approx(-100.0 * 298.15 * 2e-4)
    complete.temperatures.circuit = circuit()
    assert LEDGER_DTYPE.itemsize < 5000 and sheet_of(sheet()).entropy_v_per_k is None
