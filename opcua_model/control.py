"""The way in: a write or a call becomes a Command, the scan judges it, the client gets the scan's answer.

Nothing is decided here but form: type, number, role. A value that the scan refused is never seen by a subscriber,
because the variable shows what is in the process image, never what a client wrote.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

from controller.core.command import TEXT_BYTES, Command, Kind, Origin, Role, needs
from controller.core.event import What, text_of
from controller.image.files import SiteFiles
from opcua_model.caller import Caller
from opcua_model.catalog import AlarmNames
from opcua_model.commands import METHODS, SETPOINTS, Method, Setpoint
from opcua_model.library import ua
from opcua_model.naming import ROOT
from opcua_model.points import Index, Point, Reading, Spec
from opcua_model.values import status_code
from opcua_model.view import LATE_CYCLES, Clock, Look

WRITE_WAIT_CYCLES: Final = LATE_CYCLES
METHOD_WAIT_MS: Final = 1000
ANSWER_POLL_S: Final = 0.005
ANSWERS_PER_POLL: Final = 256
MOST_WAITING: Final = 64
ID_BITS: Final = 16
MOST_TEXT: Final = TEXT_BYTES
TOKEN_LIMIT: Final = 2**53

Code = ua.StatusCodes
NUMBERS: Final = frozenset(
    getattr(ua.VariantType, n) for n in ("Double", "Float", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The scan's answer; `accepted` is None when none came in time."""

    accepted: bool | None
    reason: str
    value: float = 0.0
    chain: str = ""


class Control:
    """Puts commands into the `opcua` ring and waits for the scan's answers."""

    def __init__(
        self,
        files: SiteFiles,
        clock: Clock,
        cycle_ms: int,
        site_index: int,
        names: AlarmNames,
        explain: Callable[[str], Verdict],
    ) -> None:
        self.clock, self.site_index = clock, site_index
        self.names, self.explain = names, explain
        self.write_wait_ms = WRITE_WAIT_CYCLES * cycle_ms
        self.method_wait_ms = max(self.write_wait_ms, METHOD_WAIT_MS)
        self.last_answer = ""
        self._ring = files.command_writer("opcua")
        self._answers = files.event_reader("scan")
        # Rising over restarts: the scan refuses an id it has seen.
        self._id = clock.monotonic_ms() << ID_BITS
        self._waiting: dict[int, asyncio.Future[Verdict]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._setpoints = {f"{ROOT}/Control/{s.name}": s for s in SETPOINTS}
        self._methods = {f"{ROOT}/Control/{m.name}": m for m in METHODS}

    def points(self) -> tuple[Point, ...]:
        """What only this object knows: the last answer."""

        def read(_look: Look, _index: Index) -> Reading:
            return Reading(self.last_answer)

        doc = "The controller's answer to the last command"
        return (Point("Control/LastAnswer", Spec("LastAnswer", "String", doc, read, source="", graded=False)),)

    async def stop(self) -> None:
        """Ends the wait for answers."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def write(self, wanted: Any, caller: Caller) -> Any:
        """A client writes: only the Value of a setpoint, by an operator, with a number, and only if the scan agrees."""
        setpoint = self._setpoint(wanted)
        if setpoint is None or caller.role < Role.OPERATOR:
            return status_code(Code.BadUserAccessDenied)
        value, refused = _number(setpoint, wanted)
        if refused:
            return status_code(refused)
        verdict = await self.ask(setpoint.kind, caller, self.write_wait_ms, value=value)
        if verdict.accepted is None:
            return status_code(Code.BadTimeout)
        return status_code(Code.Good if verdict.accepted else refusal(verdict.reason))

    def lacking(self, node: Any, caller: Caller) -> str:
        """Why a client may not write or call this node, for the audit trail; in our words only, never in a client's."""
        method, setpoint = self._methods.get(node.Identifier), self._setpoints.get(node.Identifier)
        least = method.least_role if method is not None else Role.OPERATOR
        entry = method or setpoint
        if entry is None or caller.role >= least:
            return "write or call without the right to it"
        return f"{entry.name} {needs(least)}"

    def _setpoint(self, wanted: Any) -> Setpoint | None:
        if wanted.NodeId.NamespaceIndex != self.site_index or wanted.AttributeId != ua.AttributeIds.Value:
            return None
        return self._setpoints.get(wanted.NodeId.Identifier)

    async def call(self, wanted: Any, caller: Caller) -> Any:
        """A client calls a method of Control; everything else cannot be called."""
        result = ua.CallMethodResult()
        mine = wanted.MethodId.NamespaceIndex == wanted.ObjectId.NamespaceIndex == self.site_index
        method = self._methods.get(wanted.MethodId.Identifier) if mine else None
        if method is None or wanted.ObjectId.Identifier != f"{ROOT}/Control":
            result.StatusCode = status_code(Code.BadMethodInvalid)
            return result
        if caller.role < method.least_role:
            result.StatusCode = status_code(Code.BadUserAccessDenied)
            return result
        fields, refused = _fields(method, wanted.InputArguments or [])
        result.InputArgumentResults = [status_code(c) for c in refused]
        if len(refused) != len(method.inputs) or any(refused):
            few = len(refused) < len(method.inputs)
            code = (
                Code.BadInvalidArgument
                if any(refused)
                else Code.BadArgumentsMissing
                if few
                else Code.BadTooManyArguments
            )
            result.StatusCode = status_code(code)
            return result
        verdict = await self._judge(method, caller, fields)
        if verdict.accepted is None:
            result.StatusCode = status_code(Code.BadTimeout)
            return result
        result.OutputArguments = [ua.Variant(_output(a.field, verdict)) for a in method.outputs]
        return result

    async def _judge(self, method: Method, caller: Caller, fields: dict[str, Any]) -> Verdict:
        """The scan's verdict on a call; questions and misnamed alarms never reach it."""
        if method.kind is Kind.NONE:
            return self.explain(fields["question"])
        if "alarm" in fields:
            found = self.names.find(fields.pop("alarm"))
            if isinstance(found, str):
                return self._note(method.kind, caller, Verdict(False, found))
            fields["target"] = found
        return await self.ask(method.kind, caller, self.method_wait_ms, **fields)

    async def ask(self, kind: Kind, caller: Caller, wait_ms: int, **fields: Any) -> Verdict:
        """Puts one command into the ring; the scan's verdict, or none when it did not come in time.

        The command expires when the wait ends, so what was answered with a timeout is not obeyed later.
        """
        if len(self._waiting) >= MOST_WAITING:
            return self._note(kind, caller, Verdict(False, "too many commands are waiting"))
        now = self.clock.monotonic_ms()
        self._id += 1
        command = Command(
            self._id, kind, Origin.OPCUA, caller.role, now, now + wait_ms, user=caller.name,
            client=caller.client, station=caller.host, **fields,
        )  # fmt: skip
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._answers.cursor = self._answers.written
        self._waiting[command.id] = future
        self._ring.put(command.record())
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._take_answers())
        try:
            verdict = await asyncio.wait_for(future, wait_ms / 1000)
        except TimeoutError:
            verdict = Verdict(None, "the controller did not answer in time")
        finally:
            self._waiting.pop(command.id, None)
        return self._note(kind, caller, verdict)

    def _note(self, kind: Kind, caller: Caller, verdict: Verdict) -> Verdict:
        word = "no answer" if verdict.accepted is None else "accepted" if verdict.accepted else "refused"
        self.last_answer = f"{kind.name} by {caller.name}: {word}" + (f", {verdict.reason}" if verdict.reason else "")
        return verdict

    async def _take_answers(self) -> None:
        while self._waiting:
            for record in self._answers.take(ANSWERS_PER_POLL):
                if int(record["what"]) != What.ANSWER or int(record["origin"]) != Origin.OPCUA:
                    continue
                future = self._waiting.get(int(record["command"]))
                if future is not None and not future.done():
                    accepted = bool(record["accepted"])
                    future.set_result(Verdict(accepted, text_of(record, "text"), float(record["new"])))
            await asyncio.sleep(ANSWER_POLL_S)


def refusal(reason: str) -> int:
    """The status of a refused write, by the scan's words; BadInvalidState where they name no range, right or holder."""
    text = reason.lower()
    if "has control" in text:
        return int(Code.BadRequiresLock if text.startswith("nobody") else Code.BadLocked)
    if any(word in text for word in ("range", "rated", "exceed", "too large", "limit", "finite")):
        return int(Code.BadOutOfRange)
    if any(word in text for word in ("role", "not allowed", "may not", "permission")):
        return int(Code.BadUserAccessDenied)
    return int(Code.BadInvalidState)


def _number(setpoint: Setpoint, wanted: Any) -> tuple[float, int]:
    """The number a client wrote, or the status with which it is refused before it reaches the ring."""
    if wanted.IndexRange:
        return 0.0, int(Code.BadIndexRangeInvalid)
    variant = wanted.Value.Value if wanted.Value is not None else None
    if variant is None or variant.is_array or isinstance(variant.Value, list):
        return 0.0, int(Code.BadTypeMismatch)
    allowed = NUMBERS if setpoint.any_number else {ua.VariantType.Double}
    if variant.VariantType not in allowed:
        return 0.0, int(Code.BadTypeMismatch)
    if wanted.Value.StatusCode is not None and not wanted.Value.StatusCode.is_good():
        return 0.0, int(Code.BadWriteNotSupported)
    value = float(variant.Value)
    return (value, 0) if math.isfinite(value) else (0.0, int(Code.BadOutOfRange))


def _fields(method: Method, given: list[Any]) -> tuple[dict[str, Any], list[int]]:
    """The command's fields from a call's arguments, and the status of every argument; 0 is good."""
    fields: dict[str, Any] = {}
    codes: list[int] = []
    for i, variant in enumerate(given):
        if i >= len(method.inputs):
            return fields, [0] * len(given)
        argument = method.inputs[i]
        if variant.VariantType != getattr(ua.VariantType, argument.kind) or variant.is_array:
            codes.append(int(Code.BadTypeMismatch))
            continue
        name, value, ok = _field(argument.field, variant.Value)
        codes.append(0 if ok else int(Code.BadOutOfRange))
        if ok:
            fields[name] = value
    return fields, codes


def _field(field: str, value: Any) -> tuple[str, Any, bool]:
    if field == "text":
        text = value or ""
        return "text", text, len(text.encode()) <= MOST_TEXT
    if field in ("alarm", "question"):
        text = value or ""
        return field, text, len(text.encode()) <= MOST_TEXT
    if field == "token":
        text = value or ""
        ok = text.isascii() and text.isdigit() and len(text) <= len(str(TOKEN_LIMIT)) and int(text) < TOKEN_LIMIT
        return "token", int(text) if ok else 0, ok
    if field == "rack":
        return "target", value - 1, value >= 1
    if field == "target":
        return "target", value, value >= -1
    return "value", value, math.isfinite(value)


def _output(field: str, verdict: Verdict) -> Any:
    if field == "accepted":
        return bool(verdict.accepted)
    if field == "token":
        return verdict.chain or (str(int(verdict.value)) if verdict.accepted else "")
    return verdict.reason
