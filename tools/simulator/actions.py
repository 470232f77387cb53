"""What the verbs do to instruments, wires and the plant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tools.simulator.bus import EVERY_UNIT, WireFault
from tools.simulator.events import now_ms
from tools.simulator.places import LEVEL_DIMS, PlaceError, element, parse
from tools.simulator.verbs import Arg, Arguments, verb

if TYPE_CHECKING:
    from tools.simulator.simulator import Simulator

PLACE: Final = Arg("place", "place", required=True)
POINT: Final = Arg("point", "point", "")
TARGET: Final = Arg("target", "target", required=True)
DURATION: Final = Arg("duration_ms", "ms", float("inf"))
ON: Final = Arg("on", "flag", True)
REBOOT_MS: Final = 2000.0

Answer = dict[str, Any]


def tell(simulator: Simulator, what: str, place: str, **values: Any) -> Answer:
    """Every injection is an event, and is on the wire before it is answered."""
    simulator.encode_all()
    simulator.events.add("injected", place, what=what, **values)
    return {"event": simulator.events.last}


# -- instruments -----------------------------------------------------------------------------------------------


def _sensor(simulator: Simulator, a: Arguments, kind: str, amount: float) -> Answer:
    tag, index = element(a["point"], a["place"], simulator.sensors.dims)
    simulator.sensors.add(tag.name, index, kind, amount)
    return tell(simulator, kind, a["place"], point=tag.name, amount=amount)


@verb("the register shows this value", PLACE, POINT, Arg("value", "number", required=True))
def override(simulator: Simulator, a: Arguments) -> Answer:
    """Replace what the instrument shows."""
    return _sensor(simulator, a, "value", a["value"])


@verb("the register shows the truth plus this", PLACE, POINT, Arg("value", "number", required=True))
def offset(simulator: Simulator, a: Arguments) -> Answer:
    """Shift what the instrument shows."""
    return _sensor(simulator, a, "offset", a["value"])


@verb("the register shows the truth with the other sign", PLACE, POINT)
def invert(simulator: Simulator, a: Arguments) -> Answer:
    """Mount a sensor the wrong way round."""
    return _sensor(simulator, a, "invert", 0.0)


@verb("the register drifts by this much per second", PLACE, POINT, Arg("value", "number", required=True))
def ramp(simulator: Simulator, a: Arguments) -> Answer:
    """Let what the instrument shows run away."""
    return _sensor(simulator, a, "ramp", a["value"])


@verb("noise of this standard deviation is added", PLACE, POINT, Arg("value", "number", required=True))
def noise(simulator: Simulator, a: Arguments) -> Answer:
    """Make the instrument noisy."""
    return _sensor(simulator, a, "noise", a["value"])


@verb("the register keeps the value it shows now", PLACE, POINT)
def stick(simulator: Simulator, a: Arguments) -> Answer:
    """Freeze one instrument; its neighbours move on."""
    return _sensor(simulator, a, "stick", 0.0)


@verb("the register holds exactly this pattern, e.g. 65535", PLACE, POINT, Arg("value", "number", required=True))
def raw(simulator: Simulator, a: Arguments) -> Answer:
    """Put an exact pattern into the register."""
    return _sensor(simulator, a, "raw", a["value"])


@verb("the register holds the device's own `no value`: sentinel, NaN or end of range", PLACE, POINT)
def nan(simulator: Simulator, a: Arguments) -> Answer:
    """Show no value."""
    return _sensor(simulator, a, "nan", 0.0)


@verb(
    "remove the instrument faults at a place; without a place heal everything, plant and wires too",
    Arg("place", "place", ""),
    POINT,
)
def clear(simulator: Simulator, a: Arguments) -> Answer:
    """Remove faults."""
    sensors = simulator.sensors
    if a["point"] or a["place"] not in ("", "site", "all"):
        if a["point"]:
            tag, index = element(a["point"], a["place"], sensors.dims)
            removed = sensors.clear(tag.name, index)
        else:
            removed = _clear_place(simulator, a["place"])
        return {"removed": removed, **tell(simulator, "clear", a["place"])}
    removed = sensors.clear() + sum(bus.clear_faults() for bus in simulator.buses.values())
    for group in simulator.groups:
        removed += len(group.frozen)
        group.frozen.clear()
    _heal(simulator)
    return {"removed": removed, **tell(simulator, "clear", "site")}


def _clear_place(simulator: Simulator, place: str) -> int:
    names, index = parse(place, simulator.sensors.dims)
    sensors = simulator.sensors
    points = {f.point for f in sensors.faults if element(f.point, "", sensors.dims)[0].dims[: len(names)] == names}
    return sum(sensors.clear(point, index) for point in points)


def _heal(simulator: Simulator) -> None:
    plant = simulator.plant
    for contactors in (plant.racks.main, plant.racks.precharge):
        contactors.welded[:] = contactors.fails_to_close[:] = contactors.lying[:] = False
    plant.racks.insulation_ohm[:] = plant.constants.insulation_ohm
    plant.links.shorted[:] = plant.racks.foreign[:] = False
    plant.cells.bleed_stuck[:] = False
    plant.cells.mend()
    plant.pcs.fault[:] = plant.pcs.ignores[:] = False
    e = plant.enclosure
    e.estop_channel_1 = e.estop_channel_2 = e.hvac = e.door_closed = True
    e.fire = e.smoke = False
    e.aux_supply_v = plant.constants.aux_supply_v


# -- wires -----------------------------------------------------------------------------------------------------


def target_of(simulator: Simulator, target: str) -> tuple[str, int]:
    """(bus, unit) of a target; the unit is EVERY_UNIT for a whole bus."""
    bus, _, unit = target.partition("/")
    if bus in simulator.buses:
        if not unit:
            return bus, EVERY_UNIT
        if unit.isdigit() and int(unit) in simulator.buses[bus].devices:
            return bus, int(unit)
        known = ", ".join(str(u) for u in simulator.buses[bus].devices)
        raise PlaceError(f"no unit {unit!r} on {bus}; units: {known}")
    names, index = parse(target, simulator.sensors.dims)
    for device in simulator.compiled.plan.devices:
        if LEVEL_DIMS[device.level] == names and device.place == index:
            return simulator.compiled.plan.buses[device.bus].name, device.unit
    raise PlaceError(f"no bus or device {target!r}; buses: {', '.join(simulator.buses)}")


def _wire(simulator: Simulator, a: Arguments, kind: str, amount: float = 0.0, left: float = float("inf")) -> Answer:
    name, unit = target_of(simulator, a["target"])
    bus = simulator.buses[name]
    duration_ms = a.get("duration_ms", float("inf"))
    bus.add_fault(WireFault(kind, unit, amount, now_ms() + duration_ms, left))
    told = None if duration_ms == float("inf") else duration_ms
    return tell(simulator, kind, bus.target(unit), amount=amount, duration_ms=told)


def _simple(name: str, doc: str) -> None:
    def act(simulator: Simulator, a: Arguments) -> Answer:
        return _wire(simulator, a, name)

    verb(doc, TARGET, DURATION, name=name)(act)


for _name, _doc in (
    ("drop", "no replies, and nothing arrives"),
    ("wrong_unit", "replies carry the next unit id"),
    ("wrong_function", "replies carry another function code"),
    ("wrong_transaction", "replies carry the next transaction id (TCP)"),
    ("short", "replies are one register short"),
    ("garbage", "replies are garbage"),
    ("duplicate", "every reply comes twice"),
    ("corrupt_crc", "the CRC of replies is wrong (RTU)"),
    ("refuse", "the gateway closes and refuses connections (RTU: silence)"),
):
    _simple(_name, _doc)


@verb("replies come this much later", TARGET, Arg("delay_ms", "ms", required=True), DURATION)
def delay(simulator: Simulator, a: Arguments) -> Answer:
    """Slow a bus or unit down."""
    return _wire(simulator, a, "delay", a["delay_ms"])


@verb("requests are refused with this exception code", TARGET, Arg("code", "number", 4.0), DURATION)
def exception(simulator: Simulator, a: Arguments) -> Answer:
    """Let a bus or unit refuse."""
    return _wire(simulator, a, "exception", a["code"])


@verb("the connection is closed instead of the next COUNT replies", TARGET, Arg("count", "number", 1.0))
def close(simulator: Simulator, a: Arguments) -> Answer:
    """Hang up on the next request."""
    return _wire(simulator, a, "close", left=a["count"])


@verb("the gateway closes all connections and is back after this time", TARGET, Arg("duration_ms", "ms", REBOOT_MS))
def reboot(simulator: Simulator, a: Arguments) -> Answer:
    """Restart a gateway."""
    return _wire(simulator, a, "reboot")


@verb("remove the wire faults of a target", TARGET)
def restore(simulator: Simulator, a: Arguments) -> Answer:
    """Mend a wire."""
    name, unit = target_of(simulator, a["target"])
    removed = simulator.buses[name].clear_faults(unit)
    return {"removed": removed, **tell(simulator, "restore", a["target"])}


@verb("registers of a device (or of all on a bus) stand still, the sample counter too", TARGET, ON)
def freeze(simulator: Simulator, a: Arguments) -> Answer:
    """A device that answers for ever with what it last knew."""
    name, unit = target_of(simulator, a["target"])
    for number, device in simulator.buses[name].devices.items():
        if unit in (EVERY_UNIT, number):
            device.group.freeze(device.row, a["on"])
    return tell(simulator, "freeze", a["target"], on=a["on"])
