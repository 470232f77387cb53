"""Temporary sites for tests: the shipped ones, on ports that nobody else listens on."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from random import Random

from plc_config.library import DATA
from plc_config.ranges import expand

LOWEST_PORT = 16_000
HIGHEST_PORT = 32_000
"""Below the range from which Linux takes ports for outgoing connections, so that none of those can steal one."""

MAX_TRIES = 10_000
BUS_LINE = re.compile(r"^  (?P<key>[A-Za-z0-9_.-]+): \{kind: (?:tcp|rtu_over_tcp), .*?port: (?P<port>[0-9.]+).*\}$")


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports which were all free at the same moment."""
    random = Random(os.urandom(8))
    held: list[socket.socket] = []
    try:
        for _ in range(MAX_TRIES):
            if len(held) == count:
                return [s.getsockname()[1] for s in held]
            candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                candidate.bind(("127.0.0.1", random.randint(LOWEST_PORT, HIGHEST_PORT)))
            except OSError:
                candidate.close()
            else:
                held.append(candidate)
    finally:
        for s in held:
            s.close()
    raise RuntimeError(f"no {count} free ports in {MAX_TRIES} tries")


def free_site(tmp_path: Path, name: str = "bench") -> Path:
    """The shipped site NAME written to `tmp_path`, every bus and the OPC UA server on a free loopback port.

    The site id stays: give the test its own run folder with `monkeypatch.setenv("CELLWARDEN_RUN", ...)`.
    """
    lines: list[str] = []
    for line in (DATA / "sites" / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        found = BUS_LINE.match(line)
        if found is None:
            lines.append(line)
            continue
        for key in expand(found["key"]):
            lines.append(line.replace(found["key"], key, 1).replace(f"port: {found['port']}", "port: @", 1))
    text = "\n".join([*lines, "opcua: {port: @}", ""])
    for port in free_ports(text.count("port: @")):
        text = text.replace("port: @", f"port: {port}", 1)
    path = tmp_path / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def own_contactor_site(folder: Path, profile: str, racks: int, series: int, modules: int = 1) -> Path:
    """A site whose racks report only extremes and close by themselves; nothing else sees or moves its battery."""
    one_unit = profile.startswith("sunspec")
    port, pcs, opcua = free_ports(3)
    unit = "1" if one_unit else f"1..{racks}" if racks > 1 else "1"
    span = f"R01..R{racks:02d}" if racks > 1 else "R01"
    place = f"{span}/M01..M{modules:02d}" if modules > 1 else f"{span}/M01"
    path = folder / "own.yaml"
    path.write_text(
        f"""
site: {{id: own-contactors, name: Racks with their own contactor sequence, simulated: true}}
cell_type: lfp-280
topology: {{racks: {racks}, modules: {modules}, cells: 2, temperatures: 2, pcs: 1}}
cycle: 100 ms
buses:
  BAT: {{kind: tcp, host: 127.0.0.1, port: {port}, timeout: 50 ms}}
  PCS: {{kind: tcp, host: 127.0.0.1, port: {pcs}, timeout: 50 ms}}
devices:
  battery: {{profile: {profile}, bus: BAT, unit: {unit}, place: {place}, series_cells: {series}}}
  pcs: {{profile: cellwarden-pcs, bus: PCS, unit: 1, place: P01}}
limits:
  insulation: {{warn: 100 kohm, trip: 50 kohm, clear: 120 kohm, delay: 1 s}}
  aux_supply: {{warn: 22 V, trip: 20 V, clear: 23 V, delay: 500 ms}}
dispatch: {{rated_power: 100 kW, ramp: 50 kW/s}}
opcua: {{port: {opcua}}}
users: {{operator: Operator}}
"""
    )
    return path
