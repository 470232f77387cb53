"""`cellwarden operate`: commands to a running site, over OPC UA, as an operator would give them from afar."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import getpass
import json
import logging
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opcua_model.client import CallResult, SiteClient
    from plc_config.compile import Compiled

HELP = "give a running site a command over OPC UA"
ALARM_METHODS: Final = {
    "shelve": "ShelveAlarm",
    "unshelve": "UnshelveAlarm",
    "alarm-out-of-service": "AlarmOutOfService",
    "alarm-in-service": "AlarmInService",
}
EXAMPLE = "cellwarden operate container power '500 kW' --user operator"
EXIT_UNREACHABLE: Final = 69
ANSWER_S: Final = 20.0
"""Longer than the first log-in after a start takes on a machine that has other work: 4 s were not enough."""
START_S: Final = 60.0
ALIVE_MS: Final = 5000
LOOK_S: Final = 0.5
PASSWORD_FROM: Final = "CELLWARDEN_PASSWORD"  # noqa: S105  # the name of a variable
PLAIN: Final = {
    "connect": "Connect",
    "disconnect": "Disconnect",
    "reset": "ResetTrips",
    "maintenance": "EnterMaintenance",
    "leave-maintenance": "LeaveMaintenance",
    "release-control": "ReleaseControl",
}
WITH_REASON: Final = {"estop": "EmergencyStop", "take-control": "TakeControl"}
BY_RACK: Final = {"out-of-service": "RackOutOfService", "in-service": "RackInService"}
METHOD: Final = {
    **PLAIN,
    **BY_RACK,
    "power": "SetActivePower",
    "ack": "AcknowledgeAlarm",
    **ALARM_METHODS,
    "shutdown": "ArmShutdown",
    **WITH_REASON,
}
"""What each word calls; `shutdown` executes afterwards, by whoever armed it."""
RACK: Final = re.compile(r"^R?(\d{1,3})$")


def arguments(parser: argparse.ArgumentParser) -> None:
    """SITE, the command, and who gives it."""
    parser.add_argument("site", help="file, or name of a shipped site")
    parser.add_argument("do", choices=tuple(METHOD))
    parser.add_argument(
        "value",
        nargs="?",
        help="power: like '500 kW', negative charges; out-of-service, in-service: R01; ack: an alarm, nothing for all; "
        f"{', '.join(ALARM_METHODS)}: an alarm, like 'door_open site'",
    )
    parser.add_argument("--for", dest="time", default="1h", metavar="1h", help="shelve: how long (default 1h)")
    parser.add_argument("--reason", default="", help="why, for the audit trail; shutdown and shelve need it")
    parser.add_argument("--yes", action="store_true", help="shutdown: do not ask")
    connection(parser)
    parser.add_argument("--json", action="store_true")


def connection(parser: argparse.ArgumentParser) -> None:
    """The options of every command that is an OPC UA client."""
    parser.add_argument("--user", help=f"the password comes from ${PASSWORD_FROM} or is asked for")
    parser.add_argument("--endpoint", help="like opc.tcp://10.0.0.5:4840/cellwarden; else as SITE.yaml says")


def run(args: argparse.Namespace) -> int:
    """0 accepted, 1 refused, 2 usage, 69 unreachable, 78 configuration."""
    from plc_config.quantity import duration_ms, parse

    number = 0.0
    try:
        if args.do == "power":
            number = parse(args.value or "", "W")
        if args.do == "shelve":
            number = duration_ms(args.time) / 1000
        if args.do in ALARM_METHODS and not args.value:
            raise ValueError(f"{args.do} takes an alarm, like 'door_open site'")
    except ValueError as error:
        print(f"{error}; example: {EXAMPLE}", file=sys.stderr)
        return 2
    if args.do in BY_RACK and RACK.match(args.value or "") is None:
        print(f"{args.do} takes a rack, like R01", file=sys.stderr)
        return 2
    if args.do in ("shutdown", "shelve", "alarm-out-of-service") and not args.reason:
        print(f"{args.do} needs a --reason", file=sys.stderr)
        return 2
    try:
        if args.do == "ack" and args.value is not None:
            number = _slot(args.site, args.value)
        return asyncio.run(_operate(args, number))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def _slot(site: str, alarm: str) -> int:
    """The slot of an alarm by its name; ValueError says what is wrong with the name."""
    from controller.app.opcua_process import catalog_of
    from opcua_model.catalog import AlarmNames
    from plc_config.compile import compile_site

    found = AlarmNames(catalog_of(compile_site(site).program)).find(alarm)
    if isinstance(found, str):
        raise ValueError(found)
    return found


async def _operate(args: argparse.Namespace, number: float) -> int:
    from opcua_model.library import ua

    client = await reach(args)
    if client is None:
        return EXIT_UNREACHABLE
    try:
        result = await _command(client, args, number)
    except ua.UaStatusCodeError as error:
        result = _denied(error, args)
    finally:
        await client.close()
    if args.json:
        print(json.dumps(dataclasses.asdict(result)))
    else:
        print(f"{'accepted' if result.accepted else 'refused'}: {result.reason}")
    return 0 if result.accepted else 1


async def reach(args: argparse.Namespace) -> SiteClient | None:
    """A connected client, or None after having said why not."""
    from controller.image.folder import state_folder
    from opcua_model.client import SiteClient, WrongServer, own_thumbprint
    from opcua_model.connect import endpoint_of, explain, login_of
    from opcua_model.library import ua
    from plc_config.compile import compile_site

    quiet()
    compiled = compile_site(args.site)
    state = state_folder(compiled.config.site.id)
    endpoint = args.endpoint or endpoint_of(compiled)
    login = login_of(state, args.user, lambda: password(args.user), remote=bool(args.endpoint))
    end = time.monotonic() + START_S
    told = False
    while True:
        try:
            return await SiteClient.connect(endpoint, login, compiled.config.site.id, ANSWER_S)
        except (ua.UaError, OSError, TimeoutError, asyncio.CancelledError, WrongServer) as error:
            starting = isinstance(error, ConnectionRefusedError) and not args.endpoint and _starting(compiled)
            if not starting or time.monotonic() > end:
                mine = own_thumbprint(login.folder) if login.folder is not None else ""
                print(f"{endpoint}: {explain(error, mine, args.site)}", file=sys.stderr)
                return None
        if not told:
            told = True
            print("the controller is starting: waiting for its OPC UA server", file=sys.stderr)
        await asyncio.sleep(LOOK_S)


def _starting(compiled: Compiled) -> bool:
    """The site's supervisor runs on this machine, and its OPC UA server does not listen yet."""
    from controller.app.process import monotonic_ms
    from controller.image.files import SiteFiles
    from controller.image.folder import run_folder
    from controller.image.slots import ImageMismatch

    files = SiteFiles(run_folder(compiled.config.site.id), compiled.dims)
    try:
        supervisor, opcua = (files.reader(f"status.{name}").read_again() for name in ("supervisor", "opcua"))
    except (OSError, ValueError, ImageMismatch):
        return False
    alive = supervisor is not None and monotonic_ms() - supervisor.alive_ms < ALIVE_MS
    return alive and not (opcua is not None and opcua.listening)


def quiet() -> None:
    """The library logs what we tell in our own words."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


def password(user: str) -> str:
    """From the environment, else asked for; where there is nobody to ask the command ends and says so."""
    given = os.environ.get(PASSWORD_FROM)
    if not given and not sys.stdin.isatty():
        print(f"no password for {user}: set {PASSWORD_FROM}, or give it in a terminal", file=sys.stderr)
        sys.exit(2)
    return given or getpass.getpass(f"password of {user}: ")


async def _command(client: SiteClient, args: argparse.Namespace, number: float) -> CallResult:
    from opcua_model.library import ua

    if args.do == "shutdown":
        return await _shutdown(client, args)
    given: list[Any] = []
    if args.do in BY_RACK:
        rack = RACK.match(args.value)
        given = [ua.Variant(int(rack[1]) if rack else 0, ua.VariantType.Int32)]
    elif args.do == "power":
        given = [number]
    elif args.do == "ack":
        given = [ua.Variant(int(number) if args.value is not None else -1, ua.VariantType.Int32)]
    elif args.do == "shelve":
        given = [args.value, number, args.reason]
    elif args.do in ALARM_METHODS:
        given = [args.value, args.reason]
    elif args.do in WITH_REASON:
        given = [args.reason]
    return await client.call(METHOD[args.do], *given)


async def _shutdown(client: SiteClient, args: argparse.Namespace) -> CallResult:
    """Two steps, as the standard for remote trips wants it: arm, look again, execute."""
    from opcua_model.client import CallResult

    armed = await client.call(METHOD[args.do], args.reason)
    if not armed.accepted:
        return armed
    if not args.yes:
        print(f"armed: {armed.reason}")
        answer = await asyncio.to_thread(input, f"shut {args.site} down? type yes: ")
        if answer.strip().lower() != "yes":
            return CallResult(False, "not confirmed; the arming lapses by itself")
    return await client.call("ExecuteShutdown", armed.token)


def _denied(error: Any, args: argparse.Namespace) -> CallResult:
    from controller.core.command import needs
    from opcua_model.client import CallResult
    from opcua_model.commands import METHODS
    from opcua_model.library import ua

    if error.code == ua.StatusCodes.BadUserAccessDenied:
        needed = next(needs(method.least_role) for method in METHODS if method.name == METHOD[args.do])
        return CallResult(False, needed if args.user else f"{needed}: give --user")
    if error.code == ua.StatusCodes.BadTimeout:
        return CallResult(False, "the controller did not answer in time")
    return CallResult(False, str(error))
