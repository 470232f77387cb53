"""What early warning remembers: per look, per bin of ten minutes, and what was told. See `estimate/watch.py`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.core.layout import RECORDS
from controller.core.signal import Floats, tag

WATCH_SCATTERS = 8
BLOCKS = 18
"""Means of ten seconds that are remembered."""
PAIRS = 4
"""Charges with the discharges after them that are remembered."""
RACK_PAIRS_DTYPE = np.dtype(
    [
        ("last_a", "f8"),  # the half before: mean current, 0 none, mean slope of the OCV, of that times SOC less half
        ("last_slope", "f8"),
        ("last_lever", "f8"),
        ("pair_h", "f8"),  # time since two halves made a pair, and from pair to pair, newest first
        ("gaps_h", "f8", (PAIRS - 1,)),
        (
            "per_charge",
            "f8",
            (PAIRS,),
        ),  # resistance (of nominal) that charge over the sisters' (SOC) looks like in each
        ("per_lack", "f8", (PAIRS,)),  # pair, as its halves lie elsewhere on the curve, and lacking capacity
    ]
)
"""Charges with the discharges after them in one rack; survives a restart."""
RECORDS["rack_pairs"] = RACK_PAIRS_DTYPE
WATCH_DTYPE = np.dtype(
    [
        ("wait_ms", "i8"),  # time since the last look, and since the bin began
        ("bin_ms", "i8"),
        ("looks", "f8"),  # looks in this bin
        ("bins", "i8"),  # bins closed since the watch began
        ("based", "i8"),  # bins from which the healthy resistance was learnt; survives a restart
        ("seen_a", "f8"),  # current and median voltage at the last look; 0 V none
        ("median_v", "f8"),
        ("went_v", "f8"),  # how far the medians of voltage and temperature went, whoever of the sisters was heard
        ("went_k", "f8"),
        ("slow_a", "f8"),  # current and slope of the OCV, slowly filtered
        ("slow_slope", "f8"),
        ("clear_s", "f8"),  # time on straight curve without a break
        ("moved_fast", "f8"),  # sums of squared current movements, with three memories
        ("moved_mid", "f8"),
        ("moved_long", "f8"),
        ("slope", "f8"),  # slope of the OCV at the last look, and what the median moved since the look before
        ("step_v", "f8"),
        ("straight", "f8"),  # looks of this bin on straight curve, the sum of their currents
        ("sum_a", "f8"),
        ("sum_slope", "f8"),  # sums over the same looks of the slope of the OCV, and of that times the SOC over half
        ("sum_lever", "f8"),
        ("levels", "f8"),  # such bins so far
        ("level_a", "f8"),  # mean size of the currents at which levels were seen, and what levels do by themselves
        ("level_scatter", "f8"),
        ("moved_bin", "f8"),  # the same in this bin
        ("aged_fast", "f8"),  # the same, each times its age in h
        ("aged_mid", "f8"),
        ("aged_long", "f8"),
        ("half_way", "f8"),  # the charge (-1) or discharge (1) that runs, on straight curve: sums of current and looks,
        ("half_a", "f8"),  # bins, and what of the capacity it moved
        ("half_looks", "f8"),
        ("half_bins", "f8"),
        ("half_moved", "f8"),
        ("half_slope", "f8"),  # sum of the slope of the OCV over its looks, and of that times the SOC over half
        ("half_lever", "f8"),
        ("pairs", RACK_PAIRS_DTYPE),  # what is kept of those that ended
        ("exposed", "f8"),  # charge put too fast for its temperature into the most exposed cell, of capacity
        ("load", "f8"),  # squared C-rate, filtered like a cell's temperature; its mean and variance
        ("load_mean", "f8"),
        ("load_square", "f8"),
        ("mean_ms", "i8"),  # the mean of ten seconds that runs: its time, looks and sum of currents
        ("mean_looks", "f8"),
        ("mean_a", "f8"),
        ("block_a", "f8", (BLOCKS,)),  # of the means before: current, time (s), slope of the OCV at the end
        ("block_s", "f8", (BLOCKS,)),
        ("block_slope", "f8", (BLOCKS,)),
        ("scatter", "f8", (WATCH_SCATTERS,)),  # slow scatter of each statistic over the sister cells
    ]
)
"""What early warning remembers of one rack (see `estimate/watch.py`)."""
RECORDS["watch"] = WATCH_DTYPE
HELD: tuple[str, ...] = ("leak_fast", "leak_slow", "growth", "step", "lack", "still", "plating", "halves")
HELD_DTYPE = np.dtype([(name, "u1") for name in HELD])
RECORDS["held"] = HELD_DTYPE
PLATING_DTYPE = np.dtype(
    [
        ("recent", "f4"),  # charge put in too fast for the temperature, over the capacity: fading, and ever
        ("total", "f4"),
        ("bins", "u2"),  # since it began; 0 none
        ("lack", "f2"),  # capacity lacking to the median when it began, and its standard deviation
        ("doubt", "f2"),
        ("alone", "u1"),  # 1: told for the exposure alone
    ]
)
RECORDS["plating"] = PLATING_DTYPE
COLDER_DTYPE = np.dtype(
    [
        ("fast", "f4"),  # K over the median at which the three memories of the resistance were learnt
        ("mid", "f4"),
        ("long", "f4"),
        ("base", "f4"),  # K over the median to which the healthy resistance belongs
        ("known", "u1"),  # 1: that is settled
        ("against", "u1"),  # bins in a row in which the resistance spoke against the sensor
    ]
)
RECORDS["colder"] = COLDER_DTYPE
HALF_DTYPE = np.dtype([("sum_v", "f4"), ("count", "f4"), ("sum_k", "f4")])
"""The charge or discharge that runs, of one cell: V over the median, looks, and K over the median in every bin."""
RECORDS["half"] = HALF_DTYPE
PAIRS_DTYPE = np.dtype(
    [
        ("last_v", "f2"),  # mean of the half before, V and K over the median; 1: it was heard in most of it
        ("last_k", "f2"),
        ("whole", "u1"),
        ("ohm", "f2", (PAIRS,)),  # resistance over the median's (of nominal) by pairs of halves, newest first
        ("late_k", "f2"),  # K over the median at the last pair
        ("base", "f2"),  # the healthy one, K over the median it belongs to, what charge and lacking capacity look like
        ("base_k", "f2"),  # in it, and of how many pairs it is
        ("base_charge", "f2"),
        ("base_lack", "f2"),
        ("based", "u1"),
        ("in_row", "u1"),  # pairs without a gap
    ]
)
"""Charges with the discharges after them, of one cell; survives a restart."""
RECORDS["pairs"] = PAIRS_DTYPE
BLOCKS_DTYPE = np.dtype([("x", "f2", (BLOCKS,))])
RECORDS["blocks"] = BLOCKS_DTYPE


@dataclasses.dataclass(frozen=True, slots=True)
class WatchSamples:
    """Early warning, changed at every look: steps and standstill per cell and per temperature sensor."""

    seen_v: Floats = tag("V", "rack", "module", "cell", doc="Voltage at the last look; 0 none", dtype="f4")
    still_low_v: Floats = tag("V", "rack", "module", "cell", doc="Lowest median since it moved", dtype="f4")
    still_high_v: Floats = tag("V", "rack", "module", "cell", doc="Highest median since it moved", dtype="f4")
    slow_v: Floats = tag("V", "rack", "module", "cell", doc="Voltage over the median, slowly filtered", dtype="f4")
    drop_fast: Floats = tag("1", "rack", "module", "cell", doc="Voltage times current movement, A V", dtype="f4")
    drop_mid: Floats = tag("1", "rack", "module", "cell", doc="The same, with a longer memory", dtype="f4")
    drop_long: Floats = tag("1", "rack", "module", "cell", doc="The same, with a long memory", dtype="f4")
    sharp_v: Floats = tag("V", "rack", "module", "cell", doc="Largest lone step in this bin", dtype="f4")
    sharp_a: Floats = tag("A", "rack", "module", "cell", doc="Current at it", dtype="f4")
    span_a: Floats = tag("A", "rack", "module", "cell", doc="Largest current before or at it", dtype="f4")
    away_v: Floats = tag("V", "rack", "module", "cell", doc="Lone step of the last look", dtype="f4")
    sum_v: Floats = tag("V", "rack", "module", "cell", doc="Sum over the bin, V over the median", dtype="f4")
    count_v: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Looks in that sum", dtype="i4")
    seen_degc: Floats = tag("degC", "rack", "module", "temperature", doc="Last temperature", dtype="f4")
    known_degc: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="It has one: 1 yes", dtype="u1")
    heating_ms: NDArray[Any] = tag("ms", "rack", "module", "temperature", doc="Time of fast heating", dtype="i4")
    lead_k: Floats = tag("1", "rack", "module", "temperature", doc="K ahead of 1 K/s meanwhile", dtype="f4")
    from_degc: Floats = tag("degC", "rack", "module", "temperature", doc="Before that heating", dtype="f4")
    scan_degc: Floats = tag("degC", "rack", "module", "temperature", doc="A scan ago, while it heats", dtype="f4")
    sum_k: Floats = tag("1", "rack", "module", "temperature", doc="Sum over the bin, K over the median", dtype="f4")
    count_k: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="Looks in that sum", dtype="i4")
    sharp_k: Floats = tag("1", "rack", "module", "temperature", doc="Largest lone step in this bin, K", dtype="f4")
    still_low_degc: Floats = tag("degC", "rack", "module", "temperature", doc="As for voltages", dtype="f4")
    still_high_degc: Floats = tag("degC", "rack", "module", "temperature", doc="As for voltages", dtype="f4")


@dataclasses.dataclass(frozen=True, slots=True)
class WatchMeans:
    """Early warning, changed at every look: the mean of ten seconds that runs."""

    sum_v: Floats = tag("V", "rack", "module", "cell", doc="Sum of V over the median", dtype="f4")
    whole_v: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Means without a gap", dtype="u1")
    sum_k: Floats = tag("1", "rack", "module", "temperature", doc="Sum of K over the median", dtype="f4")
    whole_k: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="Means without a gap", dtype="u1")


@dataclasses.dataclass(frozen=True, slots=True)
class WatchBlocks:
    """Early warning, changed every ten seconds: the means of the last three minutes, oldest first."""

    mean_v: NDArray[Any] = tag("V", "rack", "module", "cell", doc="V over the median", dtype="blocks")
    warmth: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="K over the median", dtype="blocks")


@dataclasses.dataclass(frozen=True, slots=True)
class WatchBins:
    """Early warning, changed once in a bin of ten minutes: drifts against the sisters, and what was told."""

    charge: Floats = tag("1", "rack", "module", "cell", doc="SOC less the median's at half charge", dtype="f4")
    loss_fast: Floats = tag("1", "rack", "module", "cell", doc="Cusum of lost charge, fast leaks", dtype="f4")
    loss_slow: Floats = tag("1", "rack", "module", "cell", doc="Cusum of lost charge, slow leaks", dtype="f4")
    sigma_fast: Floats = tag("1", "rack", "module", "cell", doc="Doubt of the charge when it began", dtype="f4")
    sigma_slow: Floats = tag("1", "rack", "module", "cell", doc="Doubt of the charge when it began", dtype="f4")
    since_fast: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Bins since it was zero", dtype="u2")
    since_slow: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Bins since it was zero", dtype="u2")
    resistance_base: Floats = tag("1", "rack", "module", "cell", doc="Resistance when healthy", dtype="f4")
    resistance_step: Floats = tag("1", "rack", "module", "cell", doc="Its sharpest rise of late", dtype="f4")
    half: NDArray[Any] = tag("1", "rack", "module", "cell", doc="The half of a cycle that runs", dtype="half")
    pairs: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Resistance by halves of cycles", dtype="pairs")
    level_v: Floats = tag("V", "rack", "module", "cell", doc="V over the median on straight curve", dtype="f4")
    apart: Floats = tag("1", "rack", "module", "cell", doc="Resistance that its temperature may add", dtype="f4")
    level_charge: Floats = tag("1", "rack", "module", "cell", doc="The same, before a doubt", dtype="f4")
    jump_v: Floats = tag("V", "rack", "module", "cell", doc="Jump on probation; 0 none", dtype="f4")
    jump_from_v: Floats = tag("V", "rack", "module", "cell", doc="Level before it", dtype="f4")
    jump_by_v: Floats = tag("V", "rack", "module", "cell", doc="Mean over the level since it", dtype="f4")
    jump_a: Floats = tag("A", "rack", "module", "cell", doc="Current at it", dtype="f4")
    jump_span_a: Floats = tag("A", "rack", "module", "cell", doc="What it may hang on; 0 nothing", dtype="f4")
    jump_bins: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Bins in which it stood", dtype="u1")
    jump_age: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Bins since it", dtype="u1")
    calm_bins: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Bins since the voltage was doubted", dtype="u1")
    held: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Bins that each statistic held", dtype="held")
    plating: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Charging while too cold", dtype="plating")
    told: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Faults told, one bit each", dtype="u2")
    quiet: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Bins without evidence", dtype="u1")
    value: Floats = tag("1", "rack", "module", "cell", doc="Evidence of the worst fault told", dtype="f4")
    sigmas: Floats = tag("1", "rack", "module", "cell", doc="The same over its scatter", dtype="f4")
    age_bins: NDArray[Any] = tag("1", "rack", "module", "cell", doc="Bins since the worst was told", dtype="u2")
    value_k: Floats = tag("1", "rack", "module", "temperature", doc="Evidence of the worst told", dtype="f4")
    sigmas_k: Floats = tag("1", "rack", "module", "temperature", doc="The same over its scatter", dtype="f4")
    age_bins_k: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="Bins since it was told", dtype="u2")
    warmth_k: Floats = tag("1", "rack", "module", "temperature", doc="Mean over the median, K", dtype="f4")
    warmth_load: Floats = tag("1", "rack", "module", "temperature", doc="Covariance with load", dtype="f4")
    warmth_square: Floats = tag("1", "rack", "module", "temperature", doc="Variance of what is left", dtype="f4")
    colder: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="K of the resistances", dtype="colder")
    excess_k: Floats = tag("1", "rack", "module", "temperature", doc="Warmth that nothing explains, K", dtype="f4")
    last_k: Floats = tag("1", "rack", "module", "temperature", doc="K over the median one bin ago", dtype="f4")
    before_k: Floats = tag("1", "rack", "module", "temperature", doc="K over the median two bins ago", dtype="f4")
    sharp_before_k: Floats = tag("1", "rack", "module", "temperature", doc="As for voltages", dtype="f4")
    jump_k: Floats = tag("1", "rack", "module", "temperature", doc="Jump on probation, K; 0 none", dtype="f4")
    jump_from_k: Floats = tag("1", "rack", "module", "temperature", doc="K before it", dtype="f4")
    jump_bins_k: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="Bins of probation", dtype="u1")
    held_k: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="Bins that warmth held", dtype="u1")
    still_bins_k: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="Bins of standstill", dtype="u1")
    told_k: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="Faults told, one bit each", dtype="u2")
    quiet_k: NDArray[Any] = tag("1", "rack", "module", "temperature", doc="Bins without evidence", dtype="u1")


@dataclasses.dataclass(frozen=True, slots=True)
class WatchMemory:
    """Early warning: everything it remembers."""

    samples: WatchSamples
    means: WatchMeans
    blocks: WatchBlocks
    bins: WatchBins
    rack: NDArray[Any] = tag("1", "rack", doc="Clocks and scatters of the rack", dtype="watch")
    healthy_cell_days: float = tag("1", doc="Cell-days watched without a warning")
    told_count: int = tag("1", doc="Warnings told since commissioning", dtype="i8")
    withdrawn_count: int = tag("1", doc="Warnings whose evidence went away by itself", dtype="i8")
