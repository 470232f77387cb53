"""Sites with SunSpec devices, asked by a person: their models are read first, as the I/O process does at start."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from controller.fieldbus.link import LinkLost
from controller.image.folder import run_folder
from plc_config.compile import Compiled, compile_site
from plc_config.plan import BusPlan, DevicePlan
from plc_config.sunspec import Chain
from tools import progress
from tools.commands.discover import walk
from tools.field_line import Line


def as_found(site: Compiled, devices: Sequence[DevicePlan]) -> tuple[Compiled, dict[int, str]]:
    """The site with the addresses that these devices' own models give; index -> why for those that cannot be asked."""
    wanted = [d for d in devices if d.models]
    if not wanted:
        return site, {}
    try:
        chains, silent = asyncio.run(_read(site, wanted))
    finally:
        progress.done()
    found = compile_site(str(site.path), chains) if chains else site
    silent |= {d.index: d.misfit for d in found.plan.devices if d.misfit}
    for index, why in silent.items():
        print(f"{site.plan.devices[index].name}: its SunSpec models are not known: {why}", file=sys.stderr)
    return found, silent


async def _read(site: Compiled, wanted: Sequence[DevicePlan]) -> tuple[dict[tuple[str, int], Chain], dict[int, str]]:
    chains: dict[tuple[str, int], Chain] = {}
    silent: dict[int, str] = {}
    buses = {d.bus: site.plan.buses[d.bus] for d in wanted}
    await asyncio.gather(
        *(_bus(site, bus, [d for d in wanted if d.bus == i], chains, silent) for i, bus in buses.items())
    )
    return chains, silent


async def _bus(
    site: Compiled,
    bus: BusPlan,
    devices: list[DevicePlan],
    chains: dict[tuple[str, int], Chain],
    silent: dict[int, str],
) -> None:
    try:
        async with Line(bus, run_folder(site.config.site.id)) as line:
            for device in devices:
                chain, why = await walk(line, device.unit)
                if chain is None or why:
                    silent[device.index] = why or "no SunSpec map at 40000, 50000 or 0"
                else:
                    chains[bus.name, device.unit] = chain
    except LinkLost as error:
        silent.update({d.index: str(error) for d in devices})
