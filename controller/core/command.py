"""Requests from outside: inputs like any sensor, judged in the scan, each answered once.

OWNER names the one stage that answers each kind; `scan` itself answers expired, replayed and unowned ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.layout import RECORDS

TEXT_BYTES: Final = 120
USER_BYTES: Final = 32
STATION_BYTES: Final = 40
MASTER_DTYPE: Final = f"S{USER_BYTES + 4 + STATION_BYTES}"
"""`Command.master` as a field of an image."""


class Kind(IntEnum):
    """What is asked for."""

    NONE = 0
    CONNECT = 1
    DISCONNECT = 2
    SET_ACTIVE_POWER = 3
    SET_REACTIVE_POWER = 4
    HEARTBEAT = 5
    ARM_SHUTDOWN = 6
    EXECUTE_SHUTDOWN = 7
    EMERGENCY_STOP = 8
    RESET_TRIPS = 9
    ACKNOWLEDGE = 10
    ENTER_MAINTENANCE = 11
    LEAVE_MAINTENANCE = 12
    STOP = 13
    RACK_OUT_OF_SERVICE = 14
    RACK_IN_SERVICE = 15
    TAKE_CONTROL = 16
    RELEASE_CONTROL = 17
    SHELVE = 30
    UNSHELVE = 31
    ALARM_OUT_OF_SERVICE = 32
    ALARM_IN_SERVICE = 33


class Role(IntEnum):
    """The roles of the requesting user, ordered by what they may do (OPC UA well-known roles)."""

    NONE = 0
    OBSERVER = 1
    OPERATOR = 2
    ENGINEER = 3
    SYSTEM = 4


class Origin(IntEnum):
    """The producer of a command: one ring each."""

    OPCUA = 1
    SUPERVISOR = 2


OWNER: Final = {
    Kind.CONNECT: "sequence",
    Kind.DISCONNECT: "sequence",
    Kind.ARM_SHUTDOWN: "sequence",
    Kind.EXECUTE_SHUTDOWN: "sequence",
    Kind.ENTER_MAINTENANCE: "sequence",
    Kind.LEAVE_MAINTENANCE: "sequence",
    Kind.STOP: "sequence",
    Kind.RACK_OUT_OF_SERVICE: "sequence",
    Kind.RACK_IN_SERVICE: "sequence",
    Kind.SET_ACTIVE_POWER: "dispatch",
    Kind.SET_REACTIVE_POWER: "dispatch",
    Kind.HEARTBEAT: "dispatch",
    Kind.TAKE_CONTROL: "authority",
    Kind.RELEASE_CONTROL: "authority",
    Kind.EMERGENCY_STOP: "protect",
    Kind.RESET_TRIPS: "protect",
    Kind.ACKNOWLEDGE: "annunciate",
    Kind.SHELVE: "annunciate",
    Kind.UNSHELVE: "annunciate",
    Kind.ALARM_OUT_OF_SERVICE: "annunciate",
    Kind.ALARM_IN_SERVICE: "annunciate",
}

LEAST_ROLE: Final = {
    Kind.ENTER_MAINTENANCE: Role.ENGINEER,
    Kind.LEAVE_MAINTENANCE: Role.ENGINEER,
    Kind.RACK_OUT_OF_SERVICE: Role.ENGINEER,
    Kind.RACK_IN_SERVICE: Role.ENGINEER,
    Kind.ALARM_OUT_OF_SERVICE: Role.ENGINEER,
    Kind.ALARM_IN_SERVICE: Role.ENGINEER,
    Kind.STOP: Role.SYSTEM,
}
"""The least role a command needs; OPERATOR where nothing is said."""

COMMAND_DTYPE: Final = np.dtype(
    [
        ("id", "u8"),
        ("kind", "i4"),
        ("origin", "i4"),
        ("role", "i4"),
        ("target", "i4"),
        ("value", "f8"),
        ("token", "u8"),
        ("issued_ms", "i8"),
        ("expires_ms", "i8"),
        ("client", "u8"),
        ("user", f"S{USER_BYTES}"),
        ("station", f"S{STATION_BYTES}"),
        ("text", f"S{TEXT_BYTES}"),
    ]
)
RECORDS["command"] = COMMAND_DTYPE


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One request.

    id: unique and rising per origin; target: rack index, alarm slot or -1 for all; value: W, var, s or heartbeat count;
    token: of ArmShutdown, for ExecuteShutdown; issued_ms, expires_ms: CLOCK_MONOTONIC; text: the reason given;
    client: digest of the client's certificate, 0 for our own processes; station: its address, for people.
    """

    id: int
    kind: Kind
    origin: Origin
    role: Role
    issued_ms: int
    expires_ms: int
    target: int = -1
    value: float = 0.0
    token: int = 0
    user: str = ""
    text: str = ""
    client: int = 0
    station: str = ""

    @property
    def master(self) -> str:
        """Who asks, for people: the user, and where."""
        return f"{self.user} at {self.station}" if self.station else self.user

    @property
    def master_digest(self) -> int:
        """Who asks, to be compared: the user and the client's certificate, wherever that is plugged in. Never 0."""
        return digest(f"{int(self.origin)}/{self.client}/{self.user}")

    @property
    def user_digest(self) -> int:
        """The user alone, to be compared. Never 0."""
        return digest(f"{int(self.origin)}/{self.user}")

    def record(self) -> NDArray[Any]:
        """As one fixed record of COMMAND_DTYPE."""
        record = np.zeros((), COMMAND_DTYPE)
        for name in ("id", "kind", "origin", "role", "target", "value", "token", "issued_ms", "expires_ms", "client"):
            record[name] = getattr(self, name)
        record["user"] = cut(self.user, USER_BYTES)
        record["text"] = cut(self.text, TEXT_BYTES)
        record["station"] = cut(self.station, STATION_BYTES)
        return record

    @staticmethod
    def of(record: Any) -> Command:
        """From a record; unknown kind, origin or role become NONE, SUPERVISOR, NONE, which the scan refuses."""
        kind, origin, role = int(record["kind"]), int(record["origin"]), int(record["role"])
        return Command(
            id=int(record["id"]),
            kind=Kind(kind) if kind in Kind._value2member_map_ else Kind.NONE,
            origin=Origin(origin) if origin in Origin._value2member_map_ else Origin.SUPERVISOR,
            role=Role(role) if role in Role._value2member_map_ else Role.NONE,
            issued_ms=int(record["issued_ms"]),
            expires_ms=int(record["expires_ms"]),
            target=int(record["target"]),
            value=float(record["value"]),
            token=int(record["token"]),
            user=words(record["user"]),
            text=words(record["text"]),
            client=int(record["client"]),
            station=words(record["station"]),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the owning stage says to a command: accepted or not, why, and a value (the token of ArmShutdown)."""

    command: Command
    accepted: bool
    reason: str
    value: float = 0.0


def least_role(kind: Kind) -> Role:
    """The least role that may give a command of this kind."""
    return LEAST_ROLE.get(kind, Role.OPERATOR)


def missing_role(command: Command) -> str:
    """Why somebody with that role may not give the command; empty when they may."""
    least = least_role(command.kind)
    return "" if command.role >= least else needs(least)


def needs(role: Role) -> str:
    """A refusal for want of this role, in the same words wherever it is refused."""
    return f"needs the {role.name.title()} role"


def digest(text: str) -> int:
    """A 64-bit digest of a name, never 0."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") or 1


def cut(text: str, size: int) -> bytes:
    """UTF-8 bytes of `text`, shortened at a character boundary to fit a fixed record."""
    return text.encode()[:size].decode("utf-8", "ignore").encode()


def words(field: Any) -> str:
    """The text of a fixed record's field, as `cut` wrote it."""
    return bytes(field).rstrip(b"\0").decode("utf-8", "replace")
