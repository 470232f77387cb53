"""`cellwarden bench trip`: from a cell crossing its limit on the wire to the open command on the wire.

Both times are the plant's own: when the simulated sensor's register changed, and when the coil write that opens
the rack's main contactor arrived. Phase against the scan is random.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tools.progress import done, step

if TYPE_CHECKING:
    from opcua_model.client import SiteClient
    from tools.pair import Pair
    from tools.simulator.client import SimulatorClient

HELP = "Trips racks by injected cell over-voltages at random phase and prints the distribution of reaction times."
VOLTS: Final = 3.9
REACTION_MS: Final = 3000
SETTLE_S: Final = 0.5
CLEAR_S: Final = 20.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `bench trip`."""
    parser.add_argument("--site", default="container", help="default: container")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0 when every trial was within two cycles and the configured delay, else 1."""
    from plc_config.compile import compile_site

    site = compile_site(args.site)
    times = asyncio.run(_trials(args.site, args.trials))
    cycle, delay = site.config.cycle, site.program.limit.cell_overvoltage.delay_ms
    bound = 2 * cycle + delay
    figures = {
        "site": args.site,
        "trials": len(times),
        "bound_ms": bound,
        "within": int(sum(t <= bound for t in times)),
        **{k: round(float(np.quantile(times, q)), 1) for k, q in (("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0))},
    }
    if args.json:
        print(json.dumps(figures, indent=2))
    else:
        print(f"cell over-voltage on the wire -> open command on the wire, {args.site}, {len(times)} trials")
        print(f"p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms, max {figures['max_ms']} ms")
        print(f"bound: 2 x {cycle} ms + {delay} ms delay = {bound} ms; within: {figures['within']} of {len(times)}")
    return 0 if figures["within"] == len(times) else 1


async def _trials(site: str, trials: int) -> list[float]:
    from tools.pair import running, wait_state

    times: list[float] = []
    async with running(site) as (pair, client, plant):
        await wait_state(client, "STANDBY")
        while len(times) < trials:
            step(f"trial {len(times) + 1} of {trials}: connecting")
            await client.call("Connect")
            await wait_state(client, "ONLINE", 180)
            # The last rack stays, so that the site stays online.
            for rack in range(1, pair.site.topology.racks):
                if len(times) < trials:
                    await asyncio.sleep(SETTLE_S + random.random())
                    step(f"trial {len(times) + 1} of {trials}")
                    times.append(await _one(pair, plant, rack))
            await _recover(client, plant)
    done()
    return times


async def _one(pair: Pair, plant: SimulatorClient, rack: int) -> float:
    t = pair.site.topology
    place = f"R{rack:02d}/M{random.randint(1, t.modules):02d}/C{random.randint(1, t.cells):02d}"
    since = plant.last_event()
    plant.override(place, VOLTS, "cell_voltage_v")
    begin: float | None = None
    end = asyncio.get_running_loop().time() + REACTION_MS / 1000
    while asyncio.get_running_loop().time() < end:
        for event in plant.events(since):
            if event["event"] == "injected" and begin is None:
                begin = float(event["time_ms"])
            if _opens(event, rack) and begin is not None:
                return float(event["time_ms"]) - begin
        await asyncio.sleep(0.02)
    return float("inf")


def _opens(event: dict[str, Any], rack: int) -> bool:
    return (
        event["event"] == "write"
        and event.get("output") == "rack_main_close"
        and event.get("place") == f"R{rack:02d}"
        and not event.get("value")
    )


async def _recover(client: SiteClient, plant: SimulatorClient) -> None:
    plant.do("clear")
    end = asyncio.get_running_loop().time() + CLEAR_S
    while asyncio.get_running_loop().time() < end:
        answer = await client.call("ResetTrips")
        if answer.accepted and "held" not in answer.reason:
            return
        await asyncio.sleep(0.2)
    raise TimeoutError("the trips could not be reset")
