"""What befalls the plant of a random day: the faults of the acceptance test, cut wires, weather, and the mending."""

from __future__ import annotations

from random import Random
from typing import Final

import numpy as np

from controller.core.signal import Floats, some
from tools.fat.cases import CASES
from tools.fat.plan import values
from tools.simulator.verbs import parse_text
from tools.swarm.day import Day

NOT_OF_THE_PLANT: Final = ("at", "signal", "hold", "link", "soc")
"""Texts that are timed, act on a process, or set what no plant does by itself."""
ON_THE_WIRE: Final = ("drop", "exception", "garbage", "reboot", "freeze")
"""There are no wires here: `CUT` and a device that stands still take their place."""


def _texts() -> tuple[tuple[str, ...], ...]:
    found: dict[tuple[str, ...], None] = {}
    for case in CASES:
        texts = tuple(t for t in case.inject if t.split()[0] not in NOT_OF_THE_PLANT)
        if texts and not any(t.split()[0] in ON_THE_WIRE for t in texts):
            found[texts] = None
    return tuple(found)


INJECTED: Final = (
    *_texts(),
    ("override {cell} cell_voltage_v 6",),
    ("override {cell} cell_voltage_v 0",),
    ("override {sensor} cell_temperature_degc 90",),
    ("override {sensor} cell_temperature_degc -30",),
    ("override {rack} rack_current_a 0",),
    ("stick {rack} rack_current_a", "stick {rack} rack_current_redundant_a"),
    ("stick {module} cell_voltage_v", "stick {module} cell_temperature_degc", "stick {module} module_sample_counter"),
    ("weld {rack} main on",),
    ("weld {rack} precharge on",),
    ("weld_unseen {rack} on",),
    ("aux_supply 15",),
    ("leak {cell} 1",),
    ("resistance {cell} 3",),
    ("capacity {cell} 0.5",),
)
"""Texts of the simulator's verbs, put in together; names in braces are random places of one rack."""
CUTS: Final = 0.25
"""Share of faults that are cut wires."""
CUT_MS: Final = (200.0, 100_000.0)
"""A device or a bus is silent for as long, evenly by its logarithm."""
AMBIENT_DEGC: Final = (-15.0, 45.0)
HEALED: Final = ("clear", "estop off", "fire off", "smoke off", "door off", "hvac off")
UNEQUAL: Final = 0.02
"""SOC by which a rack may differ from its bank before somebody comes to charge it."""


class Faults:
    """Draws from `INJECTED` and cuts wires, by the day's own generator."""

    def __init__(self, day: Day) -> None:
        self.day = day

    def inject(self) -> str:
        """One random fault; returns what was done."""
        day, rng = self.day, self.day.rng
        if rng.random() < CUTS:
            return self._cut()
        texts = INJECTED[int(rng.integers(len(INJECTED)))]
        rack = int(rng.integers(day.program.topology.racks))
        names = values(day.site, rack, Random(int(rng.integers(2**31))))
        return "; ".join(self._do(text.format(**names)) for text in texts)

    def _do(self, text: str) -> str:
        answer = self.day.simulator.control.perform(parse_text(text))
        return f"{text} -> {'done' if answer.get('ok') else answer.get('error')}"

    def _cut(self) -> str:
        day, rng, devices = self.day, self.day.rng, self.day.site.plan.devices
        lasts = round(float(np.exp(rng.uniform(*np.log(CUT_MS)))))
        one = devices[int(rng.integers(len(devices)))]
        cut = [one.index] if rng.random() < 0.5 else [d.index for d in devices if d.bus == one.bus]
        day.wires.cut(cut, day.now_ms + lasts)
        what = one.name if len(cut) == 1 else day.site.plan.buses[one.bus].name
        return f"{what} silent for {lasts} ms"

    def weather(self) -> None:
        """Another season."""
        self.day.plant.enclosure.ambient_degc = float(self.day.rng.uniform(*AMBIENT_DEGC))

    def heal(self) -> None:
        """Everything is mended: instruments, wires, contactors, buttons and detectors."""
        day = self.day
        for text in HEALED:
            self._do(text)
        day.wires.mend(day.now_ms)

    def _behind_ratio(self) -> Floats:
        """What each rack lacks to the mean of its bank, in SOC."""
        soc, bank = self.day.plant.cells.soc.mean(axis=(1, 2)), self.day.program.topology.rack_bank
        return np.asarray((np.bincount(bank, soc) / np.bincount(bank))[bank] - soc)

    def unequal(self) -> bool:
        """A rack stood open while its bank worked, and can no longer join it."""
        return some(np.abs(self._behind_ratio()) > UNEQUAL)

    def equalise(self) -> None:
        """Every rack is charged or discharged to the mean of its bank: while the controller is away, for no plant jumps
        under its eyes."""
        plant = self.day.plant
        plant.cells.soc += self._behind_ratio()[:, None, None]
        plant.cells.soc.clip(0.0, 1.0, out=plant.cells.soc)
        plant.refresh_states()
