"""Where power is reduced before protection blocks it: the cell type's curves, moved with a stricter site's limits."""

from __future__ import annotations

import numpy as np

from controller.core.settings import Band, Polyline
from plc_config.limits import cell_band
from plc_config.schema.cell import CellType
from plc_config.schema.cell import Derating as Curve


def taper(cell: CellType, bands: dict[str, Band]) -> tuple[Polyline, Polyline, Polyline, Polyline]:
    """Curves over the cell voltage (charge, discharge) and the temperature (charge, discharge), in V and degC.

    A band whose `warn` is stricter than the cell type's moves its side of the curve by as much: the current falls ahead
    of the stricter limit as it would ahead of the type's. Without stricter bands the curves are the type's own.
    """

    def moved(name: str) -> float:
        return bands[name].warn - cell_band(cell, name).warn

    return (
        _moved(cell.derate_charge_voltage, 0.0, moved("cell_overvoltage")),
        _moved(cell.derate_discharge_voltage, moved("cell_undervoltage"), 0.0),
        _moved(cell.derate_charge_temperature, moved("charge_undertemperature"), moved("charge_overtemperature")),
        _moved(
            cell.derate_discharge_temperature, moved("discharge_undertemperature"), moved("discharge_overtemperature")
        ),
    )


def _moved(curve: Curve, low: float, high: float) -> Polyline:
    """The rising side moved by `low`, the falling one by `high`; where they meet the lower one counts."""
    at, fraction = np.array(curve.at, float), np.array(curve.fraction, float)
    if low == 0.0 and high == 0.0:
        return Polyline(at, fraction)
    rises, falls = np.maximum.accumulate(fraction), np.maximum.accumulate(fraction[::-1])[::-1]
    points = np.unique(np.concatenate([at + low, at + high]))
    return Polyline(points, np.minimum(np.interp(points, at + low, rises), np.interp(points, at + high, falls)))
