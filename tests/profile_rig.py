"""A small site around one profile, so that a map can be tested alone; a filler brings what else a site needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from controller.core.field_image import Points
from controller.core.image import OutputImage
from controller.core.layout import tags_of
from controller.fieldbus.codec import Decoder
from plc_config import library
from plc_config.compile import Compiled, compile_site
from plc_config.coverage import NEEDED, NOT_OF_SELF_PRECHARGING
from plc_config.plan import PointRef, ReadBlock
from tools.simulator.device import DeviceGroup, build_groups
from tools.simulator.modbus import Device

UNITS = {t.name: t.unit for t in (*tags_of(Points), *tags_of(OutputImage))}

SITE = """
site: {{id: one, name: One device, simulated: true}}
cell_type: lfp-280
topology: {{racks: {racks}, modules: {modules}, cells: {cells}, temperatures: {temperatures}, pcs: 1}}
cycle: {cycle}
buses:
  DUT: {bus}
  REST: {{kind: tcp, host: 127.0.0.1, port: {other}}}
devices:
  dut: {{profile: {profile}, bus: DUT, unit: {unit}, place: {place}{more}}}
{fillers}
limits:
  insulation: {{warn: 100 kohm, trip: 50 kohm, clear: 120 kohm, delay: 1 s}}
  aux_supply: {{warn: 22 V, trip: 20 V, clear: 23 V, delay: 500 ms}}
dispatch: {{rated_power: 100 kW, ramp: 50 kW/s}}
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """How a profile is placed in its site."""

    profile: str
    place: str = "R01/M01"
    unit: int = 1
    racks: int = 1
    modules: int = 1
    cells: int = 16
    temperatures: int = 4
    series_cells: int = 0
    cycle: str = "2000 ms"


TCP = "{{kind: tcp, host: 127.0.0.1, port: {port}, timeout: 500 ms}}"
RTU = "{kind: rtu, port: DUT, baud: 115200, parity: none, timeout: 500 ms}"


def write_site(folder: Path, case: Case, bus: str = TCP.format(port=15999), other: int = 15998) -> Path:
    """The site file of a case, with the filler profiles beside it."""
    path = library.find("profiles", case.profile, folder)
    assert path is not None
    profile, _ = library.profile_at(path)
    (folder / "profiles").mkdir(exist_ok=True)
    fillers = []
    places = {("rack", "module"): f"R01..R{case.racks:02d}/M01..M{case.modules:02d}",
              ("rack",): f"R01..R{case.racks:02d}", ("pcs",): "P01"}  # fmt: skip
    for number, (dims, (points, outputs)) in enumerate(NEEDED.items()):
        spared = NOT_OF_SELF_PRECHARGING if profile.precharge == "device" else ()
        points = tuple(p for p in points if p not in (*profile.points, *spared))
        outputs = tuple(o for o in outputs if o not in (*profile.outputs, *spared))
        if points or outputs:
            name = f"filler-{dims[-1]}"
            (folder / "profiles" / f"{name}.yaml").write_text(_filler(name, dims[-1], points, outputs))
            units = case.racks * case.modules if len(dims) == 2 else case.racks if dims == ("rack",) else 1
            first = 1 + 20 * number
            span = f"{first}..{first + units - 1}" if units > 1 else str(first)
            fillers.append(f"  {name}: {{profile: {name}, bus: REST, unit: {span}, place: {places[dims]}}}")
    more = f", series_cells: {case.series_cells}" if case.series_cells else ""
    text = SITE.format(bus=bus, other=other, fillers="\n".join(fillers), more=more, **dataclasses.asdict(case))
    site = folder / "one.yaml"
    site.write_text(text)
    return site


def _filler(name: str, level: str, points: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    def scale(item: str) -> str:
        return "1" if UNITS[item] == "1" else f"'1 {UNITS[item]}'"

    rows = [f"profile: {name}", "describes: What the device under test does not bring", f"level: {level}", "points:"]
    rows += [f"  {p}: {{address: {i}, type: s16, scale: {scale(p)}}}" for i, p in enumerate(points)]
    rows += ["outputs:"] if outputs else []
    rows += [f"  {o}: {{address: {100 + 2 * i}, type: s32, scale: {scale(o)}}}" for i, o in enumerate(outputs)]
    return "\n".join(rows if points else [r for r in rows if r != "points:"]) + "\n"


class Bench:
    """The device under test: its part of the plan, and its simulated face."""

    def __init__(self, folder: Path, case: Case) -> None:
        self.case = case
        self.compiled: Compiled = compile_site(str(write_site(folder, case)))
        plan = self.compiled.plan
        self.indices = [d.index for d in plan.devices if d.profile == case.profile]
        self.reads = [r for r in plan.reads if r.device in self.indices]
        self.extras = [r for r in plan.extras if r.device in self.indices]
        self.writes = [w for w in plan.writes if w.device in self.indices]
        group = next(g for g in build_groups(self.compiled) if g.profile == case.profile)
        self.group: DeviceGroup = group
        self.device = Device(group, 0, lambda *_: None, lambda _: None)

    def decode(self, memory: dict[tuple[int, int], int], extras: bool = False) -> dict[str, list[Any]]:
        """Point -> values, None where there is no value, from registers: {(function, address): word}."""
        found: dict[str, list[Any]] = {}
        step = self.group.step
        for block in self.extras if extras else self.reads:
            words = [memory.get((block.function, block.address + i * step), 0) for i in range(block.count)]
            raw = np.array(words, ">u2").tobytes()
            if block.function in (1, 2):
                raw = np.packbits(np.array(words, bool), bitorder="little").tobytes()
            for ref in block.points:
                if ref.type.type != "string":
                    found.setdefault(ref.point, []).extend(self.values(ref, block, raw))
        return found

    def registers(self, block: ReadBlock) -> bytes:
        """The simulated device's answer to one block's request."""
        pdu = bytes([block.function]) + block.address.to_bytes(2, "big") + block.count.to_bytes(2, "big")
        reply = self.device.answer(pdu)
        assert reply[0] == block.function, f"refused: {reply.hex()}"
        assert len(reply) == 2 + block.reply_bytes
        return reply[2:]

    @staticmethod
    def values(ref: PointRef, block: ReadBlock, raw: bytes) -> list[Any]:
        """Values of one point in a reply, None where there is no value."""
        values, bad = Decoder(ref, block.function)(np.frombuffer(raw, np.uint8).reshape(1, -1))
        doubt = [False] * ref.count if bad is None else bad[0].tolist()
        return [None if d else float(v) for v, d in zip(values[0].tolist(), doubt, strict=True)]
