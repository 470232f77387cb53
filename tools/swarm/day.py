"""One seeded run: the scan's outputs go to the plant, the plant's instruments to the scan, and time is only counted."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.command import Command, Kind, Origin, Role
from controller.core.effect import LOCKOUT
from controller.core.field_image import Points
from controller.core.frozen import replace
from controller.core.image import InputImage, OutputImage, ProcessImage, SiteMode
from controller.core.layout import Layout, tags_of
from controller.core.scan import scan
from controller.core.signal import Quality, Samples
from controller.core.topology import MAX_COMMANDS_PER_SCAN
from plc_config.compile import Compiled
from plc_config.coverage import points_read
from tools.simulator.options import Options
from tools.simulator.simulator import Simulator

SAMPLE_AGE_MS: Final = 15
INPUT_COPIES: Final = 4
"""Input copies that take turns, so that nothing the program remembers of a scan changes under it."""
COMMAND_LIFE_MS: Final = 1000
TOLD: Final = 200
"""Last events kept for the story of a violation."""

UTC_MS: Final = 1_700_000_000_000
POINTS: Final = tags_of(Points)
HEALED: Final[tuple[dict[str, Any], ...]] = (
    {"do": "clear"},
    {"do": "estop", "on": False},
    {"do": "fire", "on": False},
    {"do": "smoke", "on": False},
)
COMMANDS: Final = (
    *(Kind.SET_ACTIVE_POWER,) * 12,
    *(Kind.LEAVE_MAINTENANCE, Kind.CONNECT, Kind.RESET_TRIPS) * 4,
    *(Kind.ACKNOWLEDGE, Kind.HEARTBEAT) * 2,
    Kind.DISCONNECT,
    Kind.EMERGENCY_STOP,
    Kind.ENTER_MAINTENANCE,
)


class Day:
    """A site in one process. `silent` holds racks that neither hear nor are heard until the given plant time."""

    def __init__(self, site: Compiled, seed: int) -> None:
        self.site, self.program, self.seed = site, site.program, seed
        self.rng = np.random.default_rng(seed)
        self.folder = tempfile.TemporaryDirectory(prefix="cellwarden-swarm-")
        self.simulator = Simulator(site, Options(seed=seed % 2**31), Path(self.folder.name))
        self.plant = self.simulator.plant
        self.layout = Layout(InputImage, self.program.dims)
        self.buffers = [np.zeros(self.layout.size, np.uint8) for _ in range(INPUT_COPIES + 1)]
        self.views = [self.layout.view(b) for b in self.buffers]
        self.memory = self.program.blank_memory()
        self.outputs: OutputImage = self.program.safe_outputs()
        self.input = self._first_input()
        self.instruments = [(t.name, t.dims[:1] == ("rack",), getattr(self.input.points, t.name)) for t in POINTS]
        """Name of every point, whether it falls silent with its rack, and where its samples go."""
        self.number = self.command_id = self.online = 0
        self.now_ms = 10_000_000
        self.silent: dict[int, int] = {}
        self.blinded: list[tuple[Samples, tuple[int, ...], NDArray[Any]]] = []
        self.image: ProcessImage | None = None
        self.told: deque[str] = deque(maxlen=TOLD)

    def _first_input(self) -> InputImage:
        inputs = self.views[-1]
        self.layout.write(self.layout.blank(), self.buffers[-1])
        read = points_read(self.site.plan)
        for t in POINTS:
            quality = Quality.GOOD if t.name in read else Quality.NOT_FITTED
            getattr(inputs.points, t.name).quality[...] = int(quality)
        fitted = self.program.topology
        inputs.points.cell_voltage_v.quality[~fitted.cell_fitted] = int(Quality.NOT_FITTED)
        inputs.points.cell_temperature_degc.quality[~fitted.temperature_fitted] = int(Quality.NOT_FITTED)
        return inputs

    # -- one cycle -------------------------------------------------------------------------------------------

    def cycle(self, commands: list[Command]) -> ProcessImage:
        """Plant time of one cycle, then one scan on what the instruments show, then its outputs to the devices."""
        self.plant.pass_time(self.program.cycle_ms)
        self.now_ms += self.program.cycle_ms
        self.number += 1
        self.simulator.sensors.refresh_modules()
        self.simulator.sensors.refresh_rest()
        self._read()
        fresh = self._copy(commands[:MAX_COMMANDS_PER_SCAN])
        self.memory, self.image, events = scan(self.program, self.memory, fresh)
        self.told.extend(f"{self.number} {e.place}: {e.text}" for e in events)
        self.outputs = self.image.outputs
        self.online += self.image.modes.site_mode == SiteMode.ONLINE
        self._write()
        return self.image

    def _copy(self, commands: list[Command]) -> InputImage:
        """The instruments as they stand, copied, with this scan's clocks and requests."""
        turn = self.number % INPUT_COPIES
        np.copyto(self.buffers[turn], self.buffers[-1])
        copy = self.views[turn]
        for i, command in enumerate(commands):
            copy.command_records[i] = command.record()
        system = replace(
            copy.system,
            scan=self.number,
            now_ms=self.now_ms,
            utc_ms=UTC_MS + self.now_ms,
            elapsed_ms=self.program.cycle_ms,
        )
        return replace(copy, system=system, command_count=len(commands))

    def _read(self) -> None:
        faces, sampled = self.simulator.sensors.faces, self.now_ms - SAMPLE_AGE_MS
        deaf = [r for r, until in self.silent.items() if until > self.now_ms]
        heard = np.ones(self.program.topology.racks, bool)
        heard[deaf] = False
        for name, of_rack, samples in self.instruments:
            if of_rack and deaf:
                samples.value[heard] = faces[name][heard]
                samples.time_ms[heard] = sampled
            else:
                samples.value[...] = faces[name]
                samples.time_ms[...] = sampled
        self._blind()

    def _blind(self) -> None:
        """What a device shows as no number: there are no registers here that could."""
        while self.blinded:
            samples, index, before = self.blinded.pop()
            samples.quality[index] = before
        for fault in self.simulator.sensors.faults:
            if fault.kind == "nan":
                samples = getattr(self.input.points, fault.point)
                self.blinded.append((samples, fault.index, samples.quality[fault.index].copy()))
                samples.quality[fault.index] = int(Quality.BAD_SENSOR)

    def _write(self) -> None:
        o, plant, t = self.outputs, self.plant, self.program.topology
        for r in range(t.racks):
            if self.silent.get(r, 0) > self.now_ms:
                continue
            plant.command("rack", "heartbeat", (r,), [float(o.heartbeat % 65536)])
            plant.command("rack", "rack_main_close", (r,), [float(o.rack_main_close[r])])
            plant.command("rack", "rack_precharge_close", (r,), [float(o.rack_precharge_close[r])])
            plant.bleed((r,), o.cell_bleed_on[r])
        for p in range(t.pcs):
            plant.command("pcs", "heartbeat", (p,), [float(o.heartbeat % 65536)])
            plant.command("pcs", "pcs_run", (p,), [float(o.pcs_run[p])])
            plant.command("pcs", "pcs_active_power_setpoint_w", (p,), [float(o.pcs_active_power_setpoint_w[p])])

    # -- random days -----------------------------------------------------------------------------------------

    def ask(self, kind: Kind, value: float = 0.0, role: Role = Role.ENGINEER) -> Command:
        """A command of this scan."""
        self.command_id += 1
        return Command(
            self.command_id,
            kind,
            Origin.OPCUA,
            role,
            self.now_ms,
            self.now_ms + self.program.cycle_ms + COMMAND_LIFE_MS,
            value=value,
            user="swarm",
        )

    def random_command(self) -> Command:
        """Something an operator, a SCADA or a mistake might ask for."""
        kind = COMMANDS[int(self.rng.integers(len(COMMANDS)))]
        rated = self.site.config.dispatch.rated_power
        value = float(self.rng.uniform(-1.1, 1.1) * rated) if kind is Kind.SET_ACTIVE_POWER else float(self.number)
        return self.ask(kind, value, Role.OBSERVER if self.rng.random() < 0.1 else Role.ENGINEER)

    def fault(self) -> str:
        """Inject one random fault, or heal everything; returns what was done."""
        t, rng = self.program.topology, self.rng
        rack, module, cell = (int(rng.integers(n)) + 1 for n in (t.racks, t.modules, t.cells))
        where = f"R{rack:02d}"
        deep = f"{where}/M{module:02d}/C{cell:02d}"
        requests: tuple[dict[str, Any], ...] = (
            {
                "do": "override",
                "place": deep,
                "point": "cell_voltage_v",
                "value": float(rng.choice([0.0, 2.2, 3.9, 6.0])),
            },
            {"do": "stick", "place": deep, "point": "cell_voltage_v"},
            {"do": "noise", "place": deep, "point": "cell_voltage_v", "value": 0.2},
            {
                "do": "override",
                "place": f"{where}/M{module:02d}/T01",
                "point": "cell_temperature_degc",
                "value": float(rng.choice([-30.0, 58.0, 90.0])),
            },
            {
                "do": "override",
                "place": where,
                "point": "rack_current_a",
                "value": float(rng.choice([-400.0, 0.0, 500.0])),
            },
            {"do": "nan", "place": deep, "point": "cell_voltage_v"},
            {"do": "nan", "place": where, "point": str(rng.choice(["rack_current_a", "rack_current_redundant_a"]))},
            {"do": "nan", "place": "P01", "point": "pcs_dc_current_a"},
            {"do": "estop", "on": bool(rng.random() < 0.5)},
            {"do": "fire", "on": bool(rng.random() < 0.3)},
            {"do": "smoke", "on": bool(rng.random() < 0.3)},
            {"do": "door", "on": bool(rng.random() < 0.5)},
            {"do": "hvac", "on": bool(rng.random() < 0.5)},
            {"do": "insulation", "place": where, "ohm": float(rng.choice([2e4, 9e4, 2e6]))},
            {"do": "weld", "place": where},
            {"do": "weld_unseen", "place": where},
            {"do": "fail_to_close", "place": where},
            {"do": "pcs_fault", "place": "P01"},
            {"do": "pcs_ignore", "place": "P01"},
        )
        pick = int(rng.integers(len(requests) + 1))
        if pick == len(requests):
            self.silent[rack - 1] = self.now_ms + int(rng.integers(200, 20_000))
            return f"{where} silent"
        request = requests[pick]
        answer = self.simulator.control.perform(request)
        return f"{request} -> {'done' if answer.get('ok') else answer.get('error')}"

    def locked_out(self) -> bool:
        """Something is locked out that only maintenance releases."""
        if self.image is None:
            return False
        effects = int(self.image.trips.site_effect) | int(np.bitwise_or.reduce(self.image.trips.rack_effect))
        return bool(effects & LOCKOUT)

    def heal(self) -> None:
        """Everything is mended: instruments, wires, contactors, buttons and detectors."""
        for request in HEALED:
            self.simulator.control.perform(dict(request))
        # The end of a silence stays known: commands given during it arrive only now.
        self.silent = {rack: min(until, self.now_ms) for rack, until in self.silent.items()}

    def close(self) -> None:
        """Remove the run's folder."""
        self.folder.cleanup()
