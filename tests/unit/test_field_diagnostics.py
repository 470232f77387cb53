"""What SCADA and `watch --buses` are shown of the buses: counts, codes, times, and who is silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from controller.image.files import SiteFiles
from controller.image.histogram import buckets, coarse
from opcua_model.diagnostics import diagnostic_points
from opcua_model.view import Grade, Look
from opcua_model.watching import Snapshot
from plc_config.compile import compile_site
from tests.sites import free_site
from tools.commands.watch_field import field_picture

NOW_MS = 500_000


def status(folder: Path) -> tuple[Any, list[str], list[tuple[str, str, str]]]:
    """A status image of the `bench` site's I/O process, and its names."""
    compiled = compile_site(str(free_site(folder, "bench")))
    files = SiteFiles(folder, compiled.dims)
    image = files.layouts["status.io"].blank()
    plan = compiled.plan
    names = [b.name for b in plan.buses]
    return image, names, [(plan.buses[d.bus].name, f"U{d.unit:03d}", d.name) for d in plan.devices]


def shown(image: Any, names: list[str], units: list[tuple[str, str, str]]) -> dict[str, Any]:
    look = Look(image, Grade.FRESH, 10, NOW_MS, 0)
    wanted = [p for p in diagnostic_points(names, units) if p.path.startswith("Diagnostics/Buses/")]
    return {p.path: p.spec.read(look, p.index).value for p in wanted}


def test_scada_sees_codes_times_and_ages_of_every_bus(tmp_path: Path) -> None:
    image, names, units = status(tmp_path)
    image.exception_codes[1, 2], image.exceptions[1] = 8, 8
    image.unit_exception_codes[0, 6], image.unit_latency_histogram[0, 3] = 4, 77
    image.latency_histogram[1] = buckets(np.array([0.1, 0.3, 0.9, 12.0, 12.5, 9000.0]))
    image.last_good_ms[1], image.unit_last_good_ms[0] = NOW_MS - 250, NOW_MS - 40
    found = shown(image, names, units)
    bus = f"Diagnostics/Buses/{names[1]}"
    assert found[f"{bus}/ExceptionCodes"] == [0, 0, 8, *[0] * 9]
    counts = found[f"{bus}/LatencyCounts"]
    assert sum(counts) == 6 and len(counts) == 16
    assert (counts[0], counts[1], counts[2], counts[6], counts[15]) == (1, 1, 1, 2, 1), "each twice as long as the last"
    assert found[f"{bus}/ReplyAge"] == 250
    assert found[f"Diagnostics/Buses/{names[0]}/ReplyAge"] == -1, "never"
    first = f"Diagnostics/Buses/{units[0][0]}/Units/{units[0][1]}"
    assert found[f"{first}/ExceptionCodes"] == [0] * 6 + [4] + [0] * 5
    assert found[f"{first}/LatencyCounts"] == [0, 0, 0, 77, *[0] * 12]
    assert found[f"{first}/ReplyAge"] == 40 and found[f"{first}/Device"] == units[0][2]


def test_the_coarse_counts_are_the_fine_ones_put_together() -> None:
    fine = buckets(np.geomspace(1e-3, 1e5, 500))
    assert coarse(fine).sum() == fine.sum() == 500


def test_watch_names_the_codes_and_who_is_silent(tmp_path: Path) -> None:
    image, names, units = status(tmp_path)
    image.connected[:], image.requests[:], image.ok[:] = 1, 1000, 990
    image.last_good_ms[:] = image.unit_last_good_ms[:] = NOW_MS - 20
    image.exceptions[0], image.exception_codes[0, 6], image.exception_codes[0, 11] = 10, 7, 3
    image.last_good_ms[1] = NOW_MS - 4200
    image.unit_last_good_ms[2], image.unit_timeouts[2] = NOW_MS - 4200, 31
    values = shown(image, names, units)
    devices = [f"Diagnostics/Buses/{n}" for n in names]
    devices += [f"Diagnostics/Buses/{bus}/Units/{unit}" for bus, unit, _ in units]

    class Shown:
        def __init__(self, value: Any) -> None:
            self.value, self.good = value, True

    console = Console(width=160, record=True, file=(tmp_path / "picture").open("w"))
    snapshot = Snapshot("opc.tcp://x", {p: Shown(v) for p, v in values.items()}, devices)  # type: ignore[misc]
    console.print(field_picture(snapshot, ""))
    lines = console.export_text().splitlines()
    first = next(x for x in lines if names[0] in x)
    assert "6: 7, 11: 3" in first and "0.0 s" in first
    assert "4.2 s" in next(x for x in lines if x.strip().startswith(names[1]))
    silent = next(x for x in lines if units[2][2] in x)
    assert "31" in silent and "4.2 s" in silent
    assert lines[-1].strip() == f"{len(units) - 1} units answer every request"
    console.file.close()
