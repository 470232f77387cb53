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
