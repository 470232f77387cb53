"""Changes that change nothing a test could see, each with the reason; a mutant that is listed here is not tried."""

from __future__ import annotations

from typing import Final

A_FEW_BYTES: Final = "at most 32 bytes of the 256 KiB after which a look ends"
A_FACTOR: Final = "both sides of the comparison are multiplied by it"
NO_MORE_THAN_ALL: Final = "the smallest part counts, and one of them is 1"
NOBODY_LOOKS: Final = "a bank of which something is not known is not known, and nobody looks at its sum"
NOTHING_THERE: Final = "nobody looks at the age of what is not fitted"
NOT_KNOWN: Final = "a current that is not known is told as not known, and nobody looks at it"
NO_SUCH_RACK: Final = "no rack has a voltage of 1 to 2 V"
ANY_MODULE: Final = "the SOC of a rack is known or not as a whole, and every module of a site is read"
ONE_WATT: Final = "one watt of what stands still, beside a tenth of a rating"
WHAT_IS_LEFT: Final = "NumPy takes any length below 0 as what is left"
EQUIVALENT: Final[dict[str, str]] = {
    "authority _left_ms: 0 -> 1 in `max(settings.silence_ms - memory.silent_ms, 0)`":
        "a holder with no time left has lost control before anybody asks how much it is",
    "balance _choose: 1 -> 2 in `np.where(fitted, estimates.cell_soc_ratio, 1.0)`": "no cell is fuller than full",
    "dispatch _share: 0 -> 1 in `np.where(bank_limit > 0, 1.0, 0.0)`":
        "a bank that may give nothing is told nothing, whatever its weight",
    "dispatch _accept: 0 -> 1 in `memory.heartbeat_age_ms < 0`":
        "a heartbeat that comes twice in a scan is as young either way",
    "extremes doubted: BitOr -> BitAnd in `Samples | None`": "no more than a note for the type checker",
    "extremes total: 0 -> 1 in `s.time_ms.min(initial=0)`": NOTHING_THERE,
    "extremes total: min -> max in `s.time_ms.min(initial=0)`": NOTHING_THERE,
    "extremes _summed_quality: 0 -> 1 in `np.where(fitted, quality, 0)`": "what is lost is worse than either",
    "protect.engine Matrix.__init__: 1 -> 2 in `zlib.crc32(repr(limit).encode()) or 1`":
        "stands for a checksum that happens to be 0",
    "protect.engine Matrix._lay_out: 1 -> 2 in `1.0 if cause.over else -1.0`": A_FACTOR,
    "protect.engine Matrix._lay_out: 1 -> 2 in `1.0 if cause.over else -1.0` (2)": A_FACTOR,
    "protect.engine Matrix._lay_out: True -> False in `zip(self.rows, self.start, self.stop, strict=True)`":
        "rows, starts and stops are made together",
    "protect.engine _first_out: 1 -> 2 in `np.where(among, excess, -1.0)`":
        "less than any excess, which is no negative",
    "protect.facts suspected: 1 -> 2 in `(codes == fault).reshape(racks, -1)`": WHAT_IS_LEFT,
    "protect.live open_rack_live: 0 -> 1 in `p.rack_current_a.value * p.rack_current_redundant_a.value > 0`":
        "both are beyond 5 A",
    "protect.live open_rack_live: 0 -> 1 in `np.where(second, p.rack_current_redundant_a.value, 0.0)`":
        "a rack that shows no current is not suspected",
    "protect.live _unaccounted: 0 -> 1 in `np.where(shut & known, watts, 0.0)`":
        "one watt of a rack that is not known, or open, beside what sound sensors may leave unaccounted",
    "protect.plausible no_current_though_commanded: 0 -> 1 in "
    "`np.where(o.pcs_run, o.pcs_active_power_setpoint_w, 0.0)`": ONE_WATT,
    "protect.plausible sense_wire_open: 1 -> 2 in `np.maximum(shown.sum(axis=2, keepdims=True), 1)`":
        "a pair of cells takes two that are shown",
    "protect.plausible _filled: 1 -> 2 in `np.where(gap > 0, gap, 1.0)`":
        "a link that is as high as the rack or higher is not judged",
    "protect.plausible _sum_bounds: 0 -> 1 in `np.where(t.module_fitted, v, 0.0)`":
        "stands for an infinity where the other branch is taken: what is not fitted reports no extremes",
    "protect.flow pcs_power: 0 -> 1 in `np.where(known, watts, 0.0)`": NOBODY_LOOKS,
    "protect.flow _rack_power: 0 -> 1 in `np.where(heard, amps * v.value, 0.0)`": ONE_WATT,
    "protect.flow worst_current: 0 -> 1 in `np.where(known, -low, 0.0)`": NOT_KNOWN,
    "protect.flow worst_current: 0 -> 1 in `np.where(known, high, 0.0)`": NOT_KNOWN,
    "protect.flow expected_current: 1 -> 2 in `v.value > 1.0`": NO_SUCH_RACK,
    "protect.flow expected_current: 1 -> 2 in `np.maximum(v.value, 1.0)`": NO_SUCH_RACK,
    "protect.limits limit_power: 1 -> 2 in `np.where(trips.rack_effect & DERATE, DERATE_FACTOR, 1.0)`":
        NO_MORE_THAN_ALL,
    "protect.limits _reported: 1 -> 2 in `np.where(s.quality == NOT_FITTED, 1.0, fraction)`": NO_MORE_THAN_ALL,
    "protect.limits _rack_limit: 0 -> 1 in `parts[0]`": "all parts have the same shape",
    "protect.limits _site_limit: 0 -> 1 in `np.where(p.rack_voltage_v.quality <= USABLE, p.rack_voltage_v.value, 0.0)`":
        "a rack without a known voltage may carry 0 A, and 0 A at any voltage are 0 W",
    "protect.plausible sense_wire_open: Lt -> GtE in `v.value < WIRE_LOW * "
    "f.measured.extremes.module_cell_voltage_mean_v.value[..., None]`":
        "the look before only saves work: some cell is always near its mean",
    "protect.plausible soc_unknown: 0 -> 1 in `(:, 0)`": ANY_MODULE,
    "protect.plausible soc_unknown: 0 -> 1 in `(:, 0)` (2)": ANY_MODULE,
    "protect.plausible sum_of_cells_differs: 1 -> 2 in `np.maximum(least, 1.0)`": NO_SUCH_RACK,
    "protect.trend _heat: 1 -> 2 in `max(band.endure_ms, 1)`": "only for a current that is endured for 1 ms",
    "protect.trend _heat: 1e-06 -> 1 in `max(band.trip ** 2 - band.warn ** 2, 1e-06)`":
        "only where a current trips at less than 1 A above its warning",
    "protect.relations _touches: 1 -> 2 in `(size, 1)`": "two columns for the site say the same as one",
    "protect.relations _touches: 1 -> 2 in `modules.reshape(size, -1)`": WHAT_IS_LEFT,
    "protect.told tell: 1 -> 2 in `max(f.limit.pcs_follow_ms, 1)`": "only for a PCS that follows within 1 ms",
    "protect.witness _missing: 1 -> 2 in `getattr(points, names[0]).quality.reshape(len(element), -1)`": WHAT_IS_LEFT,
    "protect.witness _missing: 1 -> 2 in `np.asarray(_silent(facts, names) & ~f.module_lost(facts)).reshape(-1)`":
        WHAT_IS_LEFT,
    "sequence.engine Sequence.__init__: True -> False in `Machine(model=None, states=[m.name for m in modes], "
    "initial=modes(0).name, [...]`":
        "every mode has a way out, so a step is never an invalid trigger",
    "sequence.engine Sequence.__init__: 0 -> 1 in `modes(0)`": "where a machine stands is told before every step",
    "sequence.engine Sequence.attach: 0 -> 1 in `self.modes(0)`": "where a machine stands is told before every step",
    "sequence.requests _token: 8 -> 9 in `:8`": "any part of the digest will do",
    "sequence.requests _token: 1 -> 2 in "
    "`int.from_bytes(hashlib.sha256(seed).digest()[:8], 'big') % (1 << TOKEN_BITS) or 1`":
        "stands for a digest that happens to be 0",
    "validate Sensors.__init__: And -> Or in `t.low is not None and t.high is not None`":
        "every point has both bounds or none",
    "validate validate: True -> False in `zip(sensors.parts, raw, strict=True)`": "both are made from the same tags",
    "unchanged Unchanged.__init__: 0 -> 1 in `0`": "the first round begins one part later",
    "unchanged Unchanged.look: 0 -> 1 in `0`": A_FEW_BYTES,
    "unchanged Unchanged.look: Add -> Sub in `self._next + 1`": "backwards every part has its turn as well",
    "unchanged _bytes_of: 0 -> 1 in `int(part.nbytes) if isinstance(part, np.ndarray) else 0`": A_FEW_BYTES,
    "unchanged _reader: 1 -> 2 in `len(names) > 1`": "the other branch reads the same, only more slowly",
}  # fmt: skip
