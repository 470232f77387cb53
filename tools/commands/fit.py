"""`cellwarden fit CSV... --cell OUT.yaml`: a cell type from a slow charge or discharge and a pulse test."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from plc_config.problem import ConfigError
from tools.commands.check import tell

HELP = (
    "Fits capacity, OCV table, hysteresis and circuit of one cell to measurements and writes them as a cell type.\n"
    "CSV (or .csv.gz): columns time_s, current_a, voltage_v, and temperature_c where known; one file with all, or\n"
    "several. Needed are a charge or discharge from end to end at C/10 or slower (both: hysteresis too), and a test\n"
    "with current steps and rests. Currents of discharge are positive; --charge-positive turns them round."
)
EXAMPLE = "cellwarden fit slow.csv pulse.csv --cell cells/my-cell.yaml"
EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED = 1, 2, 130


def arguments(parser: argparse.ArgumentParser) -> None:
    """Files in, file out."""
    parser.add_argument("csv", nargs="+", type=Path, metavar="CSV", help="measurements of one cell")
    parser.add_argument("--cell", required=True, type=Path, metavar="OUT.yaml", help="cell type file to write")
    parser.add_argument("--like", metavar="TYPE", help="cell type to take limits from; default: by chemistry")
    parser.add_argument("--start-soc", type=float, metavar="0..1", help="SOC at the start of the pulse test")
    parser.add_argument("--charge-positive", action="store_true", help="the files count charging as positive")
    parser.add_argument("--page", type=Path, help="HTML page to write; default beside the cell type")
    parser.add_argument("--json", action="store_true", help="print the parameters as JSON")


def run(args: argparse.Namespace) -> int:
    """0 written, 1 the data do not hold what is needed, 2 usage, 78 a file cannot be understood, 130 interrupted."""
    from tools.fit import circuit, curve, page, sheet
    from tools.fit.table import read

    if args.start_soc is not None and not 0 <= args.start_soc <= 1:
        print(f"--start-soc {args.start_soc:g}: a share between 0 and 1", file=sys.stderr)
        return EXIT_USAGE
    problems = []
    recordings = []
    for path in args.csv:
        try:
            recordings.append(read(path, args.charge_positive))
        except ConfigError as error:
            problems += error.problems
    if problems:
        return tell(ConfigError(problems), args.json)
    try:
        first = curve.curve(recordings, 0.0)
        rough = circuit.fit(recordings, first, args.start_soc)
        found = curve.curve(recordings, rough.fast_ohm)
        fitted = circuit.fit(recordings, found, args.start_soc)
        base = sheet.like(args.like, found)
        sheet.write(args.cell, found, fitted, base, [p.name for p in args.csv])
    except KeyboardInterrupt:
        # A fit has no first half that anybody could use.
        print(f"interrupted: {args.cell} and its page were not written", file=sys.stderr)
        return EXIT_STOPPED
    except (curve.NoBranch, circuit.NoSteps) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    shown = args.page or args.cell.with_suffix(".html")
    notes = [*found.notes, f"limits and derating are those of {base.name}: compare them with the datasheet"]
    shown.write_text(page.render(args.cell.stem, found, fitted, curve.branches(recordings), notes), encoding="utf-8")
    values: dict[str, object] = {
        "capacity_ah": found.capacity_ah, "efficiency": found.efficiency, "r0_ohm": fitted.r0, "r1_ohm": fitted.r1,
        "tau1_s": fitted.tau1_s, "r2_ohm": fitted.r2, "tau2_s": fitted.tau2_s, "hysteresis_scale": fitted.scale,
        "hysteresis_gamma": fitted.gamma, "model_error_v": fitted.rms_v, "temperature_degc": fitted.degc,
    }  # fmt: skip
    if fitted.rise is not None:
        values |= {"rise_soc": fitted.rise.soc.tolist(), "rise_factor": fitted.rise.factor.tolist()}
        notes.append(f"resistance rises to {fitted.rise.seen_factor.max():.2g} times, measured down to "
                     f"{100 * fitted.rise.measured_from:.0f} % SOC; below it a careful default goes on to "
                     f"{fitted.rise.factor.max():.2g} times")  # fmt: skip
    else:
        notes.append("no current steps at several SOCs: a careful default of the resistance over the SOC stands in")
    if args.json:
        print(json.dumps({**values, "cell": str(args.cell), "page": str(shown), "notes": notes}, indent=2))
        return 0
    print(f"capacity {found.capacity_ah:.4g} Ah, R0 {1000 * fitted.r0:.4g} mohm at 25 degC, "
          f"R1 {1000 * fitted.r1:.4g} mohm over {fitted.tau1_s:.0f} s, R2 {1000 * fitted.r2:.4g} mohm over "
          f"{fitted.tau2_s:.0f} s; model error {1000 * fitted.rms_v:.1f} mV rms")  # fmt: skip
    for note in notes:
        print(f"  {note}")
    print(f"cell type: {args.cell}\npage: {shown}")
    return 0
