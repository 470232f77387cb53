"""The ageing ledger of every rack: what it has been through since commissioning. Only added to; retained.

Throughput is booked every scan; time, temperature and harmful events every few seconds. An event counts once when it
begins and again only after its quantity has come back.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.core.image import Measured
from controller.core.outlook_memory import EVENTS, LEDGER_RATES, LEDGER_SOCS, LEDGER_TEMPERATURES
from controller.core.settings import DeratingSettings
from controller.core.signal import USABLE, Floats, Ints

MS_PER_HOUR: Final = 3_600_000.0
HOT_DEGC, COLD_DEGC, FULL_SOC, EMPTY_SOC = 40.0, 5.0, 0.95, 0.05
OVERCURRENT: Final = 1.02
"""Of the rated current."""


class Ledger:
    """Books what happened to some racks since their last look."""

    def __init__(self, derating: DeratingSettings) -> None:
        d, sheet = derating, derating.cell
        self.capacity_ah = sheet.capacity_ah
        self.high_v, self.low_v = float(d.charge_voltage.at[-1]), float(d.discharge_voltage.at[0])
        self.hot_degc = float(d.discharge_temperature.at[-1])
        self.plating_degc = float(d.charge_temperature.at[0])
        self.most_a = (OVERCURRENT * sheet.discharge_current_a, OVERCURRENT * sheet.charge_current_a)

    def rack(self, book: Any, measured: Measured, racks: Ints, elapsed_ms: Floats, mean_a: Floats, soc: Floats) -> None:
        """`book`: the racks' records, changed in place; mean_a over `elapsed_ms`, `soc` of the middle cell."""
        e = measured.extremes
        hours = elapsed_ms / MS_PER_HOUR
        hot, cold = e.rack_temperature_max_degc, e.rack_temperature_min_degc
        high, low = e.rack_cell_voltage_max_v, e.rack_cell_voltage_min_v
        warm = (hot.quality[racks] <= USABLE) & (cold.quality[racks] <= USABLE)
        volts = (high.quality[racks] <= USABLE) & (low.quality[racks] <= USABLE)
        middle = 0.5 * (hot.value[racks] + cold.value[racks])
        t = np.searchsorted(LEDGER_TEMPERATURES, middle, side="right")
        z = np.searchsorted(LEDGER_SOCS, soc, side="right")
        c = np.searchsorted(LEDGER_RATES, mean_a / self.capacity_ah, side="right")
        row = np.arange(len(racks))
        book["hours"][row, t, z, c] += np.where(warm, hours, 0.0)
        book["hot_h"] += np.where(warm & (hot.value[racks] > HOT_DEGC), hours, 0.0)
        book["cold_h"] += np.where(warm & (cold.value[racks] < COLD_DEGC), hours, 0.0)
        book["full_h"] += np.where(soc > FULL_SOC, hours, 0.0)
        book["empty_h"] += np.where(soc < EMPTY_SOC, hours, 0.0)
        charging = mean_a < -0.01 * self.capacity_ah
        now = np.stack(
            [
                volts & (high.value[racks] > self.high_v),
                volts & (low.value[racks] < self.low_v),
                warm & (hot.value[racks] > self.hot_degc),
                warm & charging & (cold.value[racks] < self.plating_degc),
                mean_a > self.most_a[0],
                -mean_a > self.most_a[1],
            ],
            axis=1,
        )
        assert_events(now.shape[1])
        book["events"] += now & (book["acting"] == 0)
        book["acting"] = now


def assert_events(count: int) -> None:
    """ValueError unless every kind of event is judged: a programmer's slip."""
    if count != len(EVENTS):
        raise ValueError(f"{count} events judged, {len(EVENTS)} named")


def full_cycles(book: Any, capacity_ah: float) -> Floats:
    """Equivalent full cycles: charge moved in both directions over twice the rated capacity."""
    return np.asarray((book["discharge_ah"] + book["charge_ah"]) / (2.0 * capacity_ah))
