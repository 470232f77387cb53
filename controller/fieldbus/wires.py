"""Which framing a bus speaks."""

from __future__ import annotations

from controller.fieldbus.request import MS_PER_S, Owner
from controller.fieldbus.serial_wire import SerialWire
from controller.fieldbus.wire import TcpWire, UdpWire
from plc_config.plan import BusPlan


def wire_for(plan: BusPlan, owner: Owner) -> TcpWire | SerialWire:
    """The wire of a bus, without a link yet."""
    if plan.serial:
        return SerialWire(plan.silence_ms / MS_PER_S, owner, plan.echo)
    if plan.kind == "udp":
        return UdpWire(plan.window, owner)
    return TcpWire(plan.window, owner)
