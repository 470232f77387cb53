"""The ageing ledger as a table: what a warranty or a battery passport asks for, from what the controller retained."""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np

from controller.core.estimate.ageing import COLD_DEGC, EMPTY_SOC, FULL_SOC, HOT_DEGC, full_cycles
from controller.core.outlook_memory import EVENTS, LEDGER_RATES, LEDGER_SOCS, LEDGER_TEMPERATURES
from controller.core.retained import Retained
from controller.core.topology import Topology

HEAD: Final = ("rack", "item", "temperature_degc", "soc", "c_rate", "value", "unit")
LEAST_HOURS: Final = 1e-6


def rows(retained: Retained, topology: Topology, capacity_ah: float) -> list[dict[str, Any]]:
    """One row per figure and rack, and per bin of the histogram that ever had time."""
    found: list[dict[str, Any]] = []
    for r in range(topology.racks):
        book, health = retained.ledger[r], retained.rack["health"][r]
        name = f"R{r + 1:02d}"

        def say(item: str, value: float, unit: str, *bins: str, rack: str = name) -> None:
            where = bins or ("", "", "")
            found.append(dict(zip(HEAD, (rack, item, *where, round(float(value), 6), unit), strict=True)))

        for item, unit in (("discharge_ah", "Ah"), ("charge_ah", "Ah"), ("discharge_wh", "Wh"), ("charge_wh", "Wh")):
            say(f"{item[:-3]} throughput", book[item], unit)
        say("equivalent full cycles", float(full_cycles(book, capacity_ah)), "1")
        if health["ratio"] > 0:
            say("string capacity", health["slow_ratio"] * capacity_ah, "Ah")
            say("string capacity, standard deviation", health["ratio_sigma"] * capacity_ah, "Ah")
            say("string resistance over the datasheet's", health["growth"], "ratio")
            say("its standard deviation", float(np.sqrt(health["growth_variance"])), "ratio")
        for item, what in (
            ("hot_h", f"time above {HOT_DEGC:g} degC"), ("cold_h", f"time below {COLD_DEGC:g} degC"),
            ("full_h", f"time above {100 * FULL_SOC:g} % SOC"), ("empty_h", f"time below {100 * EMPTY_SOC:g} % SOC"),
        ):  # fmt: skip
            say(what, book[item], "h")
        for event, count in zip(EVENTS, book["events"], strict=True):
            say(f"event: {event}", count, "1")
        bins = [_names(edges) for edges in (LEDGER_TEMPERATURES, LEDGER_SOCS, LEDGER_RATES)]
        for at in itertools.product(*(range(len(b)) for b in bins)):
            if book["hours"][at] > LEAST_HOURS:
                say("time", book["hours"][at], "h", *(b[k] for b, k in zip(bins, at, strict=True)))
    return found


def _names(edges: tuple[float, ...]) -> list[str]:
    inner = [f"{a:g}..{b:g}" for a, b in itertools.pairwise(edges)]
    return [f"<{edges[0]:g}", *inner, f">={edges[-1]:g}"]
