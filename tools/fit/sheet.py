"""A fitted cell as a cell type file, in the schema of `plc_config`; limits come from a type of the same chemistry."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import yaml

from controller.core.signal import Floats
from plc_config import library
from plc_config.problem import ConfigError, Problem
from plc_config.schema.cell import CellType
from tools.fit.circuit import Fitted
from tools.fit.curve import SOC, Curve

LFP_MOST_V: Final = 3.45
"""Open-circuit voltage at 90 % SOC below which a cell is taken for LFP."""
CURRENT_BANDS: Final = ("charge_overcurrent", "discharge_overcurrent")


@dataclasses.dataclass(frozen=True, slots=True)
class Like:
    """The cell type that limits and derating are taken from."""

    name: str
    cell: CellType
    raw: dict[str, object]


def like(name: str | None, curve: Curve) -> Like:
    """The named cell type (file or shipped name), or the shipped one of the chemistry that the curve shows."""
    if name is None:
        name = "lfp-280" if float(curve.volts[SOC.searchsorted(0.9)]) < LFP_MOST_V else "nmc-94"
    path = Path(name) if name.endswith((".yaml", ".yml")) else library.find("cells", name)
    if path is None or not path.is_file():
        known = ", ".join(library.shipped("cells"))
        raise ConfigError([Problem(name, 1, 1, "no such cell type", f"a file, or one of: {known}")])
    cell = library.cell_type_at(path)[0]
    return Like(path.stem, cell, yaml.safe_load(path.read_text("utf-8")))


def write(path: Path, curve: Curve, f: Fitted, base: Like, files: list[str]) -> None:
    """Writes the file and reads it back through the checker, so that what is written can be used."""
    path.write_text(render(path.stem, curve, f, base, files), encoding="utf-8")
    library.cell_type_at.cache_clear()
    library.cell_type_at(path)


def render(name: str, curve: Curve, f: Fitted, base: Like, files: list[str]) -> str:
    """The text of the file."""
    c, ratio = base.cell, curve.capacity_ah / base.cell.capacity
    told = ", ".join(files)
    lines = [
        f"# Fitted to {told}: model and measurement differ by {1000 * f.rms_v:.1f} mV rms.",
        f"# Limits and derating are those of {base.name}, currents by capacity: compare them with your datasheet.",
        f"cell_type: {_name(name)}",
        f"describes: cell fitted from measurements, {curve.capacity_ah:.4g} Ah",
        f"chemistry: {c.chemistry}",
        f"source: cellwarden fit of {told}",
        f"capacity: {curve.capacity_ah:.5g} Ah",
        f"resistance: {1000 * f.r0:.5g} mohm",
        f"charge_current: {c.charge_current * ratio:.4g} A",
        f"discharge_current: {c.discharge_current * ratio:.4g} A",
        f"coulombic_efficiency: {100 * curve.efficiency:.4g} %",
        "ocv:",
        f"  source: slow branches of {told}",
        f"  soc:   {_row(SOC, 4)}",
        f"  volts: {_row(curve.volts, 4)}",
    ]
    if curve.half_gap is not None:
        lines += ["hysteresis:", "  source: half the gap between the branches, less their losses",
                  f"  half_gap_volts: {_row(curve.half_gap, 4)}", f"  scale: {f.scale:.3g}",
                  f"  gamma: {max(f.gamma, 1e-3):g}"]  # fmt: skip
    lines += [
        f"circuit: {{r1: {1000 * f.r1:.5g} mohm, tau1: {f.tau1_s:.0f} s, "
        f"r2: {1000 * f.r2:.5g} mohm, tau2: {f.tau2_s:.0f} s}}"
    ]
    if f.rise is not None:
        below = (
            f", below {100 * f.rise.measured_from:.0f} % a careful default"
            if f.rise.soc[0] < f.rise.measured_from
            else ""
        )
        lines += ["resistance_over_soc:", f"  source: current steps of {told}{below}",
                  f"  soc:    {_row(f.rise.soc, 3)}", f"  factor: {_row(f.rise.factor, 3)}"]  # fmt: skip
    for part in ("derate_charge_voltage", "derate_discharge_voltage", "derate_charge_temperature",
                 "derate_discharge_temperature"):  # fmt: skip
        lines.append(f"{part}: {_flow(base.raw[part])}")
    lines.append("limits:")
    limits = base.raw["limits"]
    for band, values in (limits if isinstance(limits, dict) else {}).items():
        shown = values
        if band in CURRENT_BANDS:
            model = getattr(c.limits, band)
            shown = {k: f"{getattr(model, k) * ratio:.4g} A" for k in ("warn", "trip", "clear")}
            shown["delay"] = values.get("delay", "0 ms")
        lines.append(f"  {band}: {_flow(shown)}")
    return "\n".join(lines) + "\n"


def _name(stem: str) -> str:
    kept = "".join(ch if ch.isascii() and ch.isalnum() else "-" for ch in stem.lower()).strip("-")
    return kept or "fitted"


def _row(values: Floats, digits: int) -> str:
    return "[" + ", ".join(f"{v:.{digits}f}".rstrip("0").rstrip(".") if digits else str(v) for v in values) + "]"


def _flow(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip()
