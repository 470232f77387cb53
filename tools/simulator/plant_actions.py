"""What the verbs do to the plant itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tools.simulator.actions import ON, Answer, tell
from tools.simulator.places import PlaceError, parse
from tools.simulator.racks import Contactors
from tools.simulator.verbs import Arg, Arguments, verb

if TYPE_CHECKING:
    from tools.simulator.simulator import Simulator

RACK: Final = Arg("place", "place", required=True)
WHICH: Final = Arg("which", "text", "main")
"""`main` or `precharge`."""

CHANNELS: Final = {"": (1, 2), "both": (1, 2), "1": (1,), "2": (2,)}


def _rows(simulator: Simulator, place: str, dims: tuple[str, ...]) -> Any:
    names, index = parse(place, simulator.sensors.dims)
    if names != dims[: len(names)]:
        raise PlaceError(f"a place in {'/'.join(dims)} is wanted, not {place!r}")
    return index if index else ...


def _contactors(simulator: Simulator, which: str) -> Contactors:
    racks = simulator.plant.racks
    found = {"main": racks.main, "precharge": racks.precharge}.get(which)
    if found is None:
        raise PlaceError(f"main or precharge, not {which!r}")
    return found


@verb("a closed contactor of the rack stays closed", RACK, WHICH, ON)
def weld(simulator: Simulator, a: Arguments) -> Answer:
    """Weld a contactor."""
    _contactors(simulator, a["which"]).welded[_rows(simulator, a["place"], ("rack",))] = a["on"]
    return tell(simulator, "weld", a["place"], which=a["which"], on=a["on"])


@verb("a closed main contactor of the rack stays closed, and its feedback shows what was commanded", RACK, ON)
def weld_unseen(simulator: Simulator, a: Arguments) -> Answer:
    """Weld a contactor whose auxiliary contact has come off."""
    main, rows = simulator.plant.racks.main, _rows(simulator, a["place"], ("rack",))
    main.welded[rows] = main.lying[rows] = a["on"]
    return tell(simulator, "weld_unseen", a["place"], on=a["on"])


@verb("an open contactor of the rack does not close", RACK, WHICH, ON)
def fail_to_close(simulator: Simulator, a: Arguments) -> Answer:
    """Break a contactor's coil."""
    _contactors(simulator, a["which"]).fails_to_close[_rows(simulator, a["place"], ("rack",))] = a["on"]
    return tell(simulator, "fail_to_close", a["place"], which=a["which"], on=a["on"])


@verb("the precharge resistor of the rack is bridged", RACK, ON)
def no_resistor(simulator: Simulator, a: Arguments) -> Answer:
    """Bridge a precharge resistor."""
    simulator.plant.links.shorted[_rows(simulator, a["place"], ("rack",))] = a["on"]
    return tell(simulator, "no_resistor", a["place"], on=a["on"])


@verb("voltage of a bank's DC link, e.g. 0 after its discharge", Arg("place", "place", required=True),
      Arg("volt", "number", required=True))  # fmt: skip
def link(simulator: Simulator, a: Arguments) -> Answer:
    """Charge or discharge a link."""
    simulator.plant.links.voltage_v[_rows(simulator, a["place"], ("bank",))] = a["volt"]
    return tell(simulator, "link", a["place"], volt=a["volt"])


@verb("a second controller writes its heartbeat to the rack, too", RACK, ON)
def second_master(simulator: Simulator, a: Arguments) -> Answer:
    """Let somebody else command a rack."""
    simulator.plant.racks.foreign[_rows(simulator, a["place"], ("rack",))] = a["on"]
    return tell(simulator, "second_master", a["place"], on=a["on"])


@verb("the bleed switch of a cell stays on", RACK, ON)
def bleed_stuck(simulator: Simulator, a: Arguments) -> Answer:
    """Weld a bleed switch."""
    cells = simulator.plant.cells
    cells.bleed_stuck[_rows(simulator, a["place"], ("rack", "module", "cell"))] = a["on"]
    cells.bleed_on |= cells.bleed_stuck
    cells.any_bleed = bool(cells.bleed_on.any())
    return tell(simulator, "bleed_stuck", a["place"], on=a["on"])


CELL: Final = ("rack", "module", "cell")


@verb("a resistance across a cell, inside it; 0 ends it", RACK, Arg("ohm", "number", required=True))
def leak(simulator: Simulator, a: Arguments) -> Answer:
    """Short a cell inside."""
    if a["ohm"] < 0:
        raise PlaceError(f"a resistance is wanted, not {a['ohm']}")
    cells = simulator.plant.cells
    cells.short_siemens[_rows(simulator, a["place"], CELL)] = 1 / a["ohm"] if a["ohm"] else 0.0
    cells.any_short = bool(cells.short_siemens.any())
    return tell(simulator, "leak", a["place"], ohm=a["ohm"])


@verb("resistance of a cell as a multiple of what it was made with", RACK, Arg("ratio", "number", required=True))
def resistance(simulator: Simulator, a: Arguments) -> Answer:
    """Age a cell, or loosen its joint."""
    simulator.plant.cells.wear(resistance=_parts(simulator, a))
    simulator.plant.refresh_states()
    return tell(simulator, "resistance", a["place"], ratio=a["ratio"])


@verb("capacity of a cell as a part of what it was made with", RACK, Arg("ratio", "number", required=True))
def capacity(simulator: Simulator, a: Arguments) -> Answer:
    """Take capacity from a cell."""
    simulator.plant.cells.wear(capacity=_parts(simulator, a))
    return tell(simulator, "capacity", a["place"], ratio=a["ratio"])


def _parts(simulator: Simulator, a: Arguments) -> Any:
    if not 0.1 <= a["ratio"] <= 10.0:
        raise PlaceError(f"a ratio between 0.1 and 10 is wanted, not {a['ratio']}")
    parts = np.ones(simulator.plant.cells.shape)
    parts[_rows(simulator, a["place"], CELL)] = a["ratio"]
    return parts


@verb("press or release the E-stop; one channel alone is a wire break", ON, Arg("channel", "text", ""))
def estop(simulator: Simulator, a: Arguments) -> Answer:
    """E-stop."""
    if a["channel"] not in CHANNELS:
        raise PlaceError(f"channel 1, 2 or both, not {a['channel']!r}")
    for channel in CHANNELS[a["channel"]]:
        setattr(simulator.plant.enclosure, f"estop_channel_{channel}", not a["on"])
    return tell(simulator, "estop", "site", pressed=a["on"], channel=a["channel"] or "both")


def _enclosure_flag(name: str, doc: str, attribute: str, when_on: bool) -> None:
    def act(simulator: Simulator, a: Arguments) -> Answer:
        setattr(simulator.plant.enclosure, attribute, when_on if a["on"] else not when_on)
        return tell(simulator, name, "site", on=a["on"])

    verb(doc, ON, name=name)(act)


_enclosure_flag("fire", "the fire panel alarms", "fire", True)
_enclosure_flag("smoke", "smoke or off-gas is detected", "smoke", True)
_enclosure_flag("door", "the door is open", "door_closed", False)
_enclosure_flag("hvac", "the cooling plant fails", "hvac", False)


@verb("insulation resistance of a rack", RACK, Arg("ohm", "number", required=True))
def insulation(simulator: Simulator, a: Arguments) -> Answer:
    """Set the insulation resistance."""
    simulator.plant.racks.insulation_ohm[_rows(simulator, a["place"], ("rack",))] = a["ohm"]
    return tell(simulator, "insulation", a["place"], ohm=a["ohm"])


@verb("control supply voltage; contactors drop out below 16 V", Arg("volt", "number", required=True))
def aux_supply(simulator: Simulator, a: Arguments) -> Answer:
    """Set the control supply."""
    simulator.plant.enclosure.aux_supply_v = a["volt"]
    return tell(simulator, "aux_supply", "site", volt=a["volt"])


@verb("ambient temperature", Arg("degc", "number", required=True))
def ambient(simulator: Simulator, a: Arguments) -> Answer:
    """Set the ambient temperature."""
    simulator.plant.enclosure.ambient_degc = a["degc"]
    return tell(simulator, "ambient", "site", degc=a["degc"])


@verb("the PCS faults and stops", Arg("place", "place", required=True), ON)
def pcs_fault(simulator: Simulator, a: Arguments) -> Answer:
    """Fault a PCS."""
    simulator.plant.pcs.fault[_rows(simulator, a["place"], ("pcs",))] = a["on"]
    return tell(simulator, "pcs_fault", a["place"], on=a["on"])


@verb("the PCS keeps its power whatever setpoint it gets", Arg("place", "place", required=True), ON)
def pcs_ignore(simulator: Simulator, a: Arguments) -> Answer:
    """Make a PCS deaf."""
    simulator.plant.pcs.ignores[_rows(simulator, a["place"], ("pcs",))] = a["on"]
    return tell(simulator, "pcs_ignore", a["place"], on=a["on"])


@verb("true state of charge of a cell, module, rack or all", RACK, Arg("ratio", "number", required=True))
def soc(simulator: Simulator, a: Arguments) -> Answer:
    """Set the true SOC."""
    if not -0.05 <= a["ratio"] <= 1.05:
        raise PlaceError(f"a ratio between 0 and 1 is wanted, not {a['ratio']}")
    cells = simulator.plant.cells
    cells.soc[_rows(simulator, a["place"], ("rack", "module", "cell"))] = a["ratio"]
    simulator.plant.refresh_states()
    return tell(simulator, "soc", a["place"], ratio=a["ratio"])


@verb("true temperature of a cell, module, rack or all", RACK, Arg("degc", "number", required=True))
def temperature(simulator: Simulator, a: Arguments) -> Answer:
    """Set the true temperature."""
    if not np.isfinite(a["degc"]):
        raise PlaceError("a finite temperature is wanted")
    simulator.plant.cells.temperature_degc[_rows(simulator, a["place"], ("rack", "module", "cell"))] = a["degc"]
    return tell(simulator, "temperature", a["place"], degc=a["degc"])
