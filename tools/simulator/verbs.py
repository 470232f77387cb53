"""The verbs of the simulator: one row each, for the control socket, for `--fault` texts, and for `--help`.

On the control socket a request is one JSON object per line, e.g.
`{"do": "override", "point": "cell_voltage_v", "place": "R01/M03/C17", "value": 3.8}`; the answer is one JSON object
with `ok` and, when it is false, `error`. Any request may carry `after_ms`: it is then done that much later in plant
time. Values are SI as the register face shows them, discharge positive. A place is `site` (or `all`), `R01`, `R01/M03`,
`R01/M03/C17` (cell), `R01/M03/T02` (temperature sensor), `P01`; a shorter place stands for all that it contains.
A target is a bus (`GW03`), a unit on it (`GW03/5`), or the place of a device (`R03/M05`).

As a text: `[at TIME] VERB ARGUMENT...`, arguments in the order of the row, e.g. `at 10s drop GW03 5s`,
`stick R01/M03/C17`, `offset R01/M03/C17 50mV`, `insulation R02 80kohm`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from plc_config.quantity import unit_of
from tools.simulator.places import TAGS

if TYPE_CHECKING:
    from tools.simulator.simulator import Simulator

Arguments = dict[str, Any]
Act = Callable[["Simulator", Arguments], dict[str, Any]]

QUANTITY: Final = re.compile(r"^([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(\S*)$")
LARGEST: Final = 1e30
FLAGS: Final = {"on": True, "press": True, "fail": True, "open": True, "true": True, "yes": True}
FLAGS_OFF: Final = {"off": False, "release": False, "heal": False, "close": False, "false": False, "no": False}


class RequestError(ValueError):
    """A request that is wrong; the text says what would be right."""


@dataclasses.dataclass(frozen=True, slots=True)
class Arg:
    """One argument: `kind` is place, point, target, number, ms, flag or text; without default it must be given."""

    name: str
    kind: str
    default: Any = None
    required: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Verb:
    """One verb: its arguments in the order of the text form, what it does, and the function that does it."""

    name: str
    args: tuple[Arg, ...]
    doc: str
    act: Act

    @property
    def usage(self) -> str:
        """`drop TARGET [DURATION_MS]`."""
        parts = [a.name.upper() if a.required else f"[{a.name.upper()}]" for a in self.args]
        return " ".join([self.name, *parts])


VERBS: Final[dict[str, Verb]] = {}


def verb(doc: str, *args: Arg, name: str = "") -> Callable[[Act], Act]:
    """Register a function as the verb of its name."""

    def register(act: Act) -> Act:
        key = name or act.__name__
        if key in VERBS:
            raise ValueError(f"there is a verb {key!r} already: {VERBS[key].doc}")
        VERBS[key] = Verb(key, args, doc, act)
        return act

    return register


def check(request: dict[str, Any]) -> Arguments:
    """The arguments of a request, complete and of the right types; RequestError otherwise."""
    known = VERBS.get(str(request.get("do")))
    if known is None:
        raise RequestError(f"unknown verb {request.get('do')!r}; known: {', '.join(VERBS)}")
    given = {k: v for k, v in request.items() if k != "do"}
    if "bus" in given and any(a.kind == "target" for a in known.args):
        unit = given.pop("unit", None)
        given["target"] = given.pop("bus") if unit is None else f"{given.pop('bus')}/{unit}"
    arguments: Arguments = {}
    for arg in known.args:
        if arg.name in given:
            arguments[arg.name] = _typed(arg, given.pop(arg.name))
        elif arg.required:
            raise RequestError(f"{known.name}: {arg.name!r} is missing; usage: {known.usage}")
        else:
            arguments[arg.name] = arg.default
    if given:
        raise RequestError(f"{known.name}: unknown key {next(iter(given))!r}; usage: {known.usage}")
    return arguments


def _typed(arg: Arg, value: Any) -> Any:
    if arg.kind in ("number", "ms"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RequestError(f"{arg.name}: a number is wanted, found {value!r}")
        if not abs(value) <= LARGEST:
            raise RequestError(f"{arg.name}: {value!r} is too large; for NaN use the verb `nan`, for patterns `raw`")
        return float(value)
    if arg.kind == "flag":
        if isinstance(value, str) and value.lower() in {**FLAGS, **FLAGS_OFF}:
            return {**FLAGS, **FLAGS_OFF}[value.lower()]
        if not isinstance(value, bool | int):
            raise RequestError(f"{arg.name}: true or false is wanted, found {value!r}")
        return bool(value)
    return str(value)


def parse_text(text: str) -> dict[str, Any]:
    """The request that a `--fault` text stands for."""
    tokens = text.split()
    request: dict[str, Any] = {}
    if len(tokens) > 2 and tokens[0] in ("at", "after"):
        request["after_ms"] = _number(tokens[1], "ms")
        tokens = tokens[2:]
    known = VERBS.get(tokens[0]) if tokens else None
    if known is None:
        raise RequestError(f"{text!r}: unknown verb; known: {', '.join(VERBS)}")
    request["do"] = known.name
    rest = tokens[1:]
    for arg in known.args:
        if not rest:
            break
        if arg.kind == "point" and rest[0] not in TAGS:
            continue
        if arg.kind == "flag" and not arg.required and rest[0].lower() not in {**FLAGS, **FLAGS_OFF}:
            continue
        token = rest.pop(0)
        request[arg.name] = _number(token, "ms" if arg.kind == "ms" else "") if arg.kind in ("number", "ms") else token
    if rest:
        raise RequestError(f"{text!r}: {rest[0]!r} is left over; usage: {known.usage}")
    check({k: v for k, v in request.items() if k != "after_ms"})
    return request


def _number(token: str, default_unit: str) -> float:
    found = QUANTITY.match(token)
    if found is None:
        raise RequestError(f"{token!r} is not a number")
    value, symbol = float(found[1]), found[2]
    if not symbol:
        return value
    unit = unit_of(symbol)
    if unit is None or (default_unit and unit[0] != default_unit):
        raise RequestError(f"{token!r}: unit {symbol!r} does not fit here")
    return value * unit[1]


def describe() -> str:
    """Every verb with its usage, for `--help`."""
    width = max(len(v.usage) for v in VERBS.values())
    return "\n".join(f"  {v.usage:<{width}}  {v.doc}" for v in VERBS.values())
