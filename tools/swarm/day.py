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
from controller.core.frozen import replace
from controller.core.image import InputImage, OutputImage, ProcessImage, SiteMode
from controller.core.layout import Layout, tags_of
from controller.core.memory import Memory
from controller.core.retained import restore, retain
from controller.core.scan import scan
from controller.core.signal import Quality, Samples
from controller.core.topology import MAX_COMMANDS_PER_SCAN
from plc_config.compile import Compiled
from plc_config.coverage import points_read
from tools.simulator.options import Options
from tools.simulator.simulator import Simulator
from tools.swarm.wires import POINTS, Wires

SAMPLE_AGE_MS: Final = 15
INPUT_COPIES: Final = 4
"""Input copies that take turns, so that nothing the program remembers of a scan changes under it."""
COMMAND_LIFE_MS: Final = 1000
TOLD: Final = 200
"""Last events kept for the story of a violation."""
SILENT_MS: Final = 200
"""The I/O process writes zero power once the scan was silent for two cycles, and for as long as this."""

UTC_MS: Final = 1_700_000_000_000
ZEROED: Final = frozenset(t.name for t in tags_of(OutputImage) if t.zero_on_silence)


class Day:
    """A site in one process; `wires` are what may be cut between it and its plant."""

    def __init__(self, site: Compiled, seed: int) -> None:
        self.site, self.program, self.seed = site, site.program, seed
        self.rng = np.random.default_rng(seed)
        self.folder = tempfile.TemporaryDirectory(prefix="cellwarden-swarm-")
        self.simulator = Simulator(site, Options(seed=seed % 2**31), Path(self.folder.name))
        self.plant, self.wires = self.simulator.plant, Wires(site)
        self.layout = Layout(InputImage, self.program.dims)
        self.buffers = [np.zeros(self.layout.size, np.uint8) for _ in range(INPUT_COPIES + 1)]
        self.views = [self.layout.view(b) for b in self.buffers]
        self.memory = self.program.blank_memory()
        self.outputs: OutputImage = self.program.safe_outputs()
        self.input = self._first_input()
        self.instruments = [(t.name, getattr(self.input.points, t.name)) for t in POINTS]
        """Every point, and where its samples go."""
        self.number = self.command_id = self.online = self.overruns = 0
        self.now_ms, self.utc_ms = 10_000_000, UTC_MS
        self.silent_ms = 0
        """How long no scan ran before the one that comes; the plant went on."""
        self.io_restarted = False
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
        self._pass(self.program.cycle_ms)
        self.number += 1
        self.simulator.sensors.refresh_modules()
        self.simulator.sensors.refresh_rest()
        self._read()
        fresh = self._copy(commands[:MAX_COMMANDS_PER_SCAN])
        self.silent_ms, self.io_restarted = 0, False
        self.memory, self.image, events = scan(self.program, self.memory, fresh)
        self.told.extend(f"{self.number} {e.place}: {e.text}" for e in events)
        self.outputs = self.image.outputs
        self.online += self.image.modes.site_mode == SiteMode.ONLINE
        self.wires.write(self.plant, self.outputs, self.now_ms)
        return self.image

    def _pass(self, ms: int) -> None:
        self.plant.pass_time(ms)
        self.now_ms += ms

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
            utc_ms=self.utc_ms + self.now_ms,
            elapsed_ms=self.program.cycle_ms + self.silent_ms,
            overruns=self.overruns,
            io_restarted=int(self.io_restarted),
        )
        return replace(copy, system=system, command_count=len(commands))

    def _read(self) -> None:
        faces, sampled, heard = self.simulator.sensors.faces, self.now_ms - SAMPLE_AGE_MS, self.wires.heard(self.now_ms)
        for name, samples in self.instruments:
            fresh = heard.get(name, ...)
            samples.value[fresh] = faces[name][fresh]
            samples.time_ms[fresh] = sampled
        self._blind()

    def _blind(self) -> None:
        """What a device shows as no number: there are no registers here that could."""
        while self.blinded:
            samples, index, before = self.blinded.pop()
            samples.quality[index] = before
        for fault in self.simulator.sensors.faults:
            if fault.kind == "nan":
                samples = getattr(self.input.points, fault.point)
                before = samples.quality[fault.index].copy()
                self.blinded.append((samples, fault.index, before))
                bad = np.maximum(before, np.uint8(Quality.BAD_SENSOR))
                samples.quality[fault.index] = bad

    # -- what else may befall a controller -------------------------------------------------------------------

    def hold(self, ms: int, io: bool = True) -> None:
        """No scan for `ms`: the I/O process, where it lives, writes zero power once that is noticed."""
        grace = max(2 * self.program.cycle_ms, SILENT_MS)
        while ms > 0:
            step = min(ms, self.program.cycle_ms)
            self._pass(step)
            ms -= step
            self.silent_ms += step
            self.overruns += 1
            if io and self.silent_ms >= grace:
                self.wires.write(self.plant, self.outputs, self.now_ms, ZEROED)

    def restart(self, ms: int, io: bool) -> Memory:
        """The scan, or with `io` False everything, ends and begins again after `ms` with what is retained.

        Returns the memory with which it ended.
        """
        before = self.memory
        kept = retain(before, self.number, self.utc_ms + self.now_ms, self.program.matrix.digest)
        self.hold(ms, io)
        self.memory = restore(self.program.blank_memory(), kept)
        self.outputs, self.image = self.program.safe_outputs(), None
        self.silent_ms = self.overruns = 0
        self.io_restarted = not io
        return before

    def set_clock(self, by_ms: int) -> None:
        """Somebody sets the wall clock."""
        self.utc_ms += by_ms

    # -- asking ----------------------------------------------------------------------------------------------

    def ask(
        self,
        kind: Kind,
        value: float = 0.0,
        role: Role = Role.ENGINEER,
        target: int = -1,
        token: int = 0,
        user: str = "swarm",
    ) -> Command:
        """A command of this scan."""
        self.command_id += 1
        return Command(
            self.command_id,
            kind,
            Origin.OPCUA,
            role,
            self.now_ms,
            self.now_ms + self.program.cycle_ms + COMMAND_LIFE_MS,
            target=target,
            value=value,
            token=token,
            user=user,
            text="a random day",
        )

    def locked_out(self) -> bool:
        """Something is locked out that only maintenance releases."""
        if self.image is None:
            return False
        effects = int(self.image.trips.site_effect) | int(np.bitwise_or.reduce(self.image.trips.rack_effect))
        return bool(effects & LOCKOUT)

    @property
    def trips(self) -> int:
        """Trips since commissioning, as the controller counts and keeps them."""
        return int(self.memory.protection.trip_count)

    def close(self) -> None:
        """Remove the run's folder."""
        self.folder.cleanup()
