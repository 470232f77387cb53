"""`cellwarden watch`: a site at a glance, live in the terminal, over OPC UA."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from tools.commands.operate import EXIT_UNREACHABLE, connection, password, quiet

if TYPE_CHECKING:
    from opcua_model.client import SiteClient

HELP = "show a running site live: mode, power, SOC, cells, limits, alarms, the controller itself"
EXAMPLE = "cellwarden watch container"
REFRESH_S: Final = 0.5
RECONNECT_S: Final = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """SITE and how to look at it."""
    parser.add_argument("site", help="file, or name of a shipped site")
    connection(parser)
    parser.add_argument("--once", action="store_true", help="print one picture as plain text")
    parser.add_argument("--buses", action="store_true", help="show the field: buses, and units that do not answer well")
    parser.add_argument("--json", action="store_true", help="print one snapshot as JSON")


def run(args: argparse.Namespace) -> int:
    """0 seen, 69 unreachable (only with --once or --json; live, it keeps trying)."""
    return asyncio.run(_once(args) if args.once or args.json else _live(args))


async def _once(args: argparse.Namespace) -> int:
    from rich.console import Console

    from opcua_model.watching import read_snapshot
    from tools.commands.operate import reach
    from tools.commands.watch_field import field_picture
    from tools.commands.watch_view import picture

    client = await reach(args)
    if client is None:
        return EXIT_UNREACHABLE
    try:
        snapshot = await read_snapshot(client, args.buses)
    finally:
        await client.close()
    if args.json:
        print(json.dumps(dataclasses.asdict(snapshot), default=str))
    else:
        shown = field_picture(snapshot, "") if args.buses else picture(snapshot, "", 32)
        Console(file=sys.stdout, width=100, color_system=None).print(shown)
    return 0


async def _live(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from controller.image.folder import state_folder
    from opcua_model.connect import endpoint_of, login_of
    from opcua_model.watching import Snapshot
    from plc_config.compile import compile_site
    from tools.commands.watch_field import field_picture
    from tools.commands.watch_view import picture

    quiet()
    compiled = compile_site(args.site)
    endpoint = args.endpoint or endpoint_of(compiled)
    login = login_of(
        state_folder(compiled.config.site.id), args.user, lambda: password(args.user), remote=bool(args.endpoint)
    )
    watcher = Watcher(endpoint, login, compiled.config.site.id, args.buses)
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                snapshot, trouble = await watcher.look()
                shown = snapshot or Snapshot(endpoint, {}, [])
                drawn = field_picture(shown, trouble) if args.buses else picture(shown, trouble, console.height)
                live.update(drawn, refresh=True)
                await asyncio.sleep(REFRESH_S)
        except (KeyboardInterrupt, asyncio.CancelledError):
            return 0
        finally:
            await watcher.close()


class Watcher:
    """Looks again and again; when the server is gone it keeps the last picture, says so, and reconnects by itself."""

    def __init__(self, endpoint: str, login: Any, site_id: str, units: bool = False) -> None:
        self.endpoint, self.login, self.site_id, self.units = endpoint, login, site_id, units
        self.last: Any = None
        self._client: SiteClient | None = None
        self._seen_s = 0.0
        self._try_s = 0.0

    async def look(self) -> tuple[Any, str]:
        """The newest snapshot and, when it is not live, why; empty when it is."""
        from opcua_model.client import SiteClient, WrongServer
        from opcua_model.connect import explain
        from opcua_model.library import ua
        from opcua_model.watching import read_snapshot

        try:
            if self._client is None:
                if time.monotonic() < self._try_s:
                    return self.last, self._silence("reconnecting")
                self._client = await SiteClient.connect(self.endpoint, self.login, self.site_id)
            self.last = await read_snapshot(self._client, self.units)
            self._seen_s = time.monotonic()
        except (ua.UaError, OSError, TimeoutError, asyncio.CancelledError, WrongServer) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            await self.close()
            self._try_s = time.monotonic() + RECONNECT_S
            return self.last, self._silence(explain(error))
        return self.last, ""

    def _silence(self, why: str) -> str:
        for_s = f" for {time.monotonic() - self._seen_s:.0f} s" if self._seen_s else ""
        return f"NO CONTACT{for_s}: {why}"

    async def close(self) -> None:
        """Forgets the connection."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()
