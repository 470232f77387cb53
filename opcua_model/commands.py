"""What a client may ask for, as tables: the writable setpoints and the methods. The scan judges them."""

from __future__ import annotations

import dataclasses
from typing import Final

from controller.core.command import Kind, Role, least_role


@dataclasses.dataclass(frozen=True, slots=True)
class Setpoint:
    """A writable variable: the command it becomes, and the tag that shows what the scan made of it."""

    name: str
    kind: Kind
    tag: str
    unit: str
    low: float | None
    high: float | None
    doc: str
    any_number: bool = False


SETPOINTS: Final = (
    Setpoint(
        "ActivePowerSetpoint",
        Kind.SET_ACTIVE_POWER,
        "power.active_power_setpoint_w",
        "W",
        -2e7,
        2e7,
        "Active power asked for, export positive",
    ),
    Setpoint(
        "ReactivePowerSetpoint",
        Kind.SET_REACTIVE_POWER,
        "power.reactive_power_setpoint_var",
        "var",
        -2e7,
        2e7,
        "Reactive power asked for",
    ),
    Setpoint(
        "ScadaHeartbeat",
        Kind.HEARTBEAT,
        "power.scada_heartbeat",
        "1",
        None,
        None,
        "Count of SCADA; the first write arms its supervision",
        any_number=True,
    ),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a method; `field` is the part of the command it fills, or of the answer it shows."""

    name: str
    kind: str
    doc: str
    field: str


ACCEPTED: Final = Argument("Accepted", "Boolean", "The controller took the command", "accepted")
REASON: Final = Argument("Reason", "String", "Why, or why not", "reason")
ANSWER: Final = (ACCEPTED, REASON)
TOKEN_OUT: Final = Argument("Token", "String", "For ExecuteShutdown; empty when refused", "token")


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """A method of Control and the command it becomes; with Kind.NONE a question that the server answers."""

    name: str
    kind: Kind
    doc: str
    inputs: tuple[Argument, ...] = ()
    outputs: tuple[Argument, ...] = ANSWER

    @property
    def least_role(self) -> Role:
        """The role below which the call is refused before it reaches the scan; a question is anybody's who may read."""
        return Role.OBSERVER if self.kind is Kind.NONE else least_role(self.kind)


WHY: Final = Argument("Reason", "String", "Why, for the audit trail", "text")
ALARM: Final = Argument("Alarm", "String", "Row and place, like 'door_open site'; the place where it has one", "alarm")
QUESTION: Final = Argument(
    "Question", "String", "limited, connect, trip, recalibrate, or a sentence with one", "question"
)
CHAIN: Final = Argument("Chain", "String", "JSON: rule, place, value, limit, root, what lifts it, what to do", "token")
RACK: Final = Argument("Rack", "Int32", "Number of the rack, from 1", "rack")

METHODS: Final = (
    Method("Connect", Kind.CONNECT, "Connect the racks to the DC link"),
    Method("Disconnect", Kind.DISCONNECT, "Ramp down and open the contactors"),
    Method("ArmShutdown", Kind.ARM_SHUTDOWN, "First step of a remote shutdown", (WHY,), (*ANSWER, TOKEN_OUT)),
    Method(
        "ExecuteShutdown",
        Kind.EXECUTE_SHUTDOWN,
        "Second step of a remote shutdown",
        (Argument("Token", "String", "As given by ArmShutdown", "token"),),
    ),
    Method("EmergencyStop", Kind.EMERGENCY_STOP, "Open at once", (WHY,)),
    Method("ResetTrips", Kind.RESET_TRIPS, "Reset latched trips whose cause is gone"),
    Method("TakeControl", Kind.TAKE_CONTROL, "Take the right to set power and connect; others are refused", (WHY,)),
    Method("ReleaseControl", Kind.RELEASE_CONTROL, "Give control back"),
    Method(
        "AcknowledgeAlarm",
        Kind.ACKNOWLEDGE,
        "Acknowledge an alarm",
        (Argument("Slot", "Int32", "Slot of the alarm; -1 for all", "target"),),
    ),
    Method(
        "ShelveAlarm",
        Kind.SHELVE,
        "Take an alarm off the list for a time; never a trip",
        (ALARM, Argument("Seconds", "Double", "It comes back by itself after this time", "value"), WHY),
    ),
    Method("UnshelveAlarm", Kind.UNSHELVE, "Put a shelved alarm back on the list", (ALARM, WHY)),
    Method(
        "AlarmOutOfService",
        Kind.ALARM_OUT_OF_SERVICE,
        "Take an alarm out of service; engineers only, protection stays",
        (ALARM, WHY),
    ),
    Method("AlarmInService", Kind.ALARM_IN_SERVICE, "Put an alarm back into service; engineers only", (ALARM, WHY)),
    Method(
        "Why",
        Kind.NONE,
        "Why power is limited, why it does not connect, why it tripped, would recalibration pay",
        (QUESTION,),
        (*ANSWER, CHAIN),
    ),
    Method(
        "SetActivePower",
        Kind.SET_ACTIVE_POWER,
        "Set the active power, as a write of ActivePowerSetpoint",
        (Argument("Power", "Double", "W, export positive", "value"),),
    ),
    Method("EnterMaintenance", Kind.ENTER_MAINTENANCE, "Enter maintenance; engineers only"),
    Method("LeaveMaintenance", Kind.LEAVE_MAINTENANCE, "Leave maintenance; engineers only"),
    Method("RackOutOfService", Kind.RACK_OUT_OF_SERVICE, "Take a rack out of service; engineers only", (RACK,)),
    Method("RackInService", Kind.RACK_IN_SERVICE, "Put a rack back into service; engineers only", (RACK,)),
)
