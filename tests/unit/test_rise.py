"""Resistance that rises towards empty: what a cell type may say of it, and what promises make of it."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from controller.core.estimate.cell_model import RISE_FACTOR, RISE_SOC, CellModel
from controller.core.estimate.circuit import Circuit
from controller.core.estimate.energy import Energies, energy_at
from controller.core.estimate.power import PowerLimits, rack_power
from plc_config.compile import compile_site
from plc_config.library import DATA, find
from plc_config.schema.cell import CellType
from tests.outlook_rig import String, circuit, derating, record

CURVE = {"source": "a test", "soc": [0.0, 0.1, 0.4, 1.0], "factor": [6.0, 2.0, 1.0, 1.1]}


def cell_type(**rise: object) -> CellType:
    text = yaml.safe_load((DATA / "cells" / "nmc-94.yaml").read_text("utf-8"))
    return CellType.model_validate({**text, "resistance_over_soc": {**CURVE, **rise}})


@pytest.mark.parametrize(
    ("rise", "told"),
    [
        ({"factor": [6.0, 2.0, 1.0]}, "4 SOC points but 3 factors"),
        ({"soc": [0.0, 0.4, 0.1, 1.0]}, "soc must rise, between 0 and 1"),
        ({"soc": [0.0, 10.0, 40.0, 100.0]}, "soc must rise, between 0 and 1"),
        ({"factor": [6.0, 2.0, 0.0, 1.0]}, "a factor is above 0 and at most 100"),
        ({"factor": [6.0, 2.0, 1.5, 1.2]}, "the factors must pass 1, where the sheet's resistance holds"),
        ({"faktor": [1.0]}, "Extra inputs are not permitted"),
    ],
)
def test_a_curve_that_cannot_be_is_refused_with_what_is_wrong(rise: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as error:
        cell_type(**rise)
    assert told in str(error.value)


def test_a_curve_is_followed_and_without_one_a_careful_default_stands_in() -> None:
    assert cell_type().resistance_over_soc is not None and find("cells", "nmc-94") is not None
    plain = derating().cell
    assert plain.resistance_factor is None
    default = Circuit(CellModel(plain)).rise_at(np.array([0.025, 0.1, 0.3, 0.9]))
    np.testing.assert_allclose(default, np.interp([0.025, 0.1, 0.3, 0.9], RISE_SOC, RISE_FACTOR), atol=0.15)
    given = dataclasses.replace(
        plain, resistance_soc=np.array(CURVE["soc"]), resistance_factor=np.array(CURVE["factor"])
    )
    model = CellModel(given)
    assert model.rise_known
    np.testing.assert_allclose(np.interp([0.05, 0.25, 1.0], model.grid, model.rise), [4.0, 1.5, 1.1], atol=0.02)


def test_every_shipped_site_of_cells_without_a_curve_gets_the_default() -> None:
    for site in ("bench", "container"):
        sheet = compile_site(site).program.derating.settings.cell
        assert sheet.resistance_factor is None and not CellModel(sheet).rise_known


def known(string: String) -> tuple[Circuit, object]:
    """The circuit of a sheet that gives the curve of the string, and what is seen of the string under load."""
    m = circuit().model
    sheet = dataclasses.replace(derating().cell, resistance_soc=m.grid, resistance_factor=m.rise)
    return Circuit(CellModel(sheet)), string.seen()


@pytest.mark.parametrize("soc", [0.06, 0.1, 0.15])
def test_near_empty_the_promise_is_the_power_that_the_risen_resistance_leaves(soc: float) -> None:
    """A sheet without the rise promises what breaks the limit; with it the promise holds and is not much too small."""
    string = String.drawn(4, soc, 25.0)
    m = circuit().model
    flat = dataclasses.replace(derating().cell, resistance_soc=m.grid, resistance_factor=np.ones_like(m.grid))
    watts = {}
    for name, c in (("flat", Circuit(CellModel(flat))), ("default", circuit()), ("given", known(string)[0])):
        sop = record()
        seen = dataclasses.replace(string.seen(), rise=c.rise_at(string.soc)[None, :])
        PowerLimits(c, derating()).rack(seen, sop["power"], 0)
        watts[name] = float(rack_power(sop["power"]).rack_discharge_power_30s_w[0])
    assert copy.deepcopy(string).drive(watts["flat"], 30.0) > 1.0
    assert 0.0 < watts["default"] <= watts["given"] * 1.0001 < watts["flat"]
    assert copy.deepcopy(string).drive(watts["given"], 30.0) <= 1.0001
    assert copy.deepcopy(string).drive(1.3 * watts["given"], 30.0) > 1.0


def test_a_margin_gives_nothing_back_that_may_not_be_there() -> None:
    """Under load the voltage without it is told with the least resistance that may be, in charge with the most."""
    rise = np.array([[2.0, 3.0], [2.0, 3.0]])
    amps = np.array([[50.0], [-50.0]])
    np.testing.assert_array_equal(circuit().given_back(rise, amps), [[1.0, 1.0], [2.0, 3.0]])
    assert (circuit().given_back(rise, np.abs(amps)) == 1.0).all()
    np.testing.assert_array_equal(known(String.drawn(1, 0.2, 25.0))[0].given_back(rise, amps), rise)


def test_faster_discharges_leave_more_behind() -> None:
    soe = record()["energy"]
    string = String.drawn(5, 0.6, 25.0)
    Energies(circuit(), derating()).rack(string.seen(), soe)
    wh = (float(soe["wh"][0, 0]), *soe["fast_wh"][0].tolist())
    assert all(b < a for a, b in itertools.pairwise(wh)) and wh[-1] >= 0
    assert soe["now_ah"][0] >= soe["ah"][0, 0]
    told = [energy_at(p, 100.0, wh) for p in (0.0, 100.0, 150.0, 200.0, 400.0, 1e6)]
    assert told[:2] == [wh[0], wh[0]] and told[2] == pytest.approx((wh[0] + wh[1]) / 2)
    assert told[3:5] == pytest.approx([wh[1], wh[3]]) and told[5] == 0.0
    assert energy_at(50.0, 0.0, wh) == wh[0]
