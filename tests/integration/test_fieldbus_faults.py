"""Every fault of the field, on real sockets and ptys: never a wrong value with good quality, always a recovery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from controller.core.signal import Quality
from tests.field_rig import Rig
from tests.hostile import Fault

READS = frozenset({4})
HIT, OTHER = 1, 0
"""Module index of unit 2, whose replies are spoiled, and of unit 1, which must not notice."""

MISSED_MOST = 2
"""Cycles in a row without a new reading that are nobody's fault: a reply of another device was waited for."""

COUNTED = {
    "timeout": "timeouts",
    "late": "late",
    "duplicate": "late",
    "truncated": "bad",
    "garbage": "bad",
    "garbage_before": "bad",
    "wrong_unit": "bad",
    "wrong_function": "bad",
    "one_less": "bad",
    "one_more": "bad",
    "wrong_count": "bad",
    "crc": "bad",
    "bit_error": "bad",
    "wrong_tid": "bad",
    "zero_tid": "timeouts",
    "wrong_protocol": "bad",
    "exception": "exceptions",
}
TCP_KINDS = [k for k in COUNTED if k not in ("crc", "bit_error")]
RTU_KINDS = [k for k in COUNTED if k not in ("wrong_tid", "zero_tid", "wrong_protocol")]
MATRIX = [("GW01", k) for k in TCP_KINDS] + [("LINE1", k) for k in RTU_KINDS]


async def test_a_healthy_site_is_read_completely_and_freshly(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        await rig.cycles(10)
        assert rig.good()
        assert rig.wrong == []
        for bus in ("GW01", "LINE1", "PCS", "AUX"):
            assert rig.count("ok", bus) >= rig.count("requests", bus) - 1
        sites = rig.image.points
        assert (sites.rack_heartbeat_echo.quality == Quality.GOOD).all()


@pytest.mark.parametrize(("bus", "kind"), MATRIX)
async def test_a_spoiled_reply_is_never_used_and_hurts_nobody_else(tmp_path: Path, bus: str, kind: str) -> None:
    rack = 0 if bus == "GW01" else 1
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        first = len(rig.images)
        before = rig.count(COUNTED[kind], bus)
        fault = Fault(
            kind, frozenset({HIT + 1}), times=2, number={"late": 0.09, "exception": 4}.get(kind, 0), functions=READS
        )
        rig.servers[bus].faults.append(fault)
        await rig.until(lambda: fault.hits == 2, "both faults hit")
        await rig.healthy()
        await rig.cycles(5)
        assert rig.wrong == []
        assert rig.count(COUNTED[kind], bus) > before
        assert rig.missed(1 - rack, first) <= MISSED_MOST, "another bus noticed"


@pytest.mark.parametrize(
    ("bus", "code"),
    [("GW01", code) for code in (1, 2, 3, 4, 5, 6, 0x0A, 0x0B)] + [("LINE1", code) for code in (2, 4, 6, 0x0B)],
)
async def test_exceptions_cost_one_block_its_quality_and_nothing_else(tmp_path: Path, bus: str, code: int) -> None:
    rack = 0 if bus == "GW01" else 1
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        first = len(rig.images)
        fault = Fault("exception", frozenset({HIT + 1}), times=-1, number=code, functions=READS)
        rig.servers[bus].faults.append(fault)
        if code in (5, 6):
            # Busy is no loss: the value stays, and its age tells.
            await rig.until(lambda: rig.age_ms(rack, HIT) > 500, "old")
        else:
            lost = int(Quality.BAD_COMM)
            await rig.until(lambda: (rig.image.points.cell_voltage_v.quality[rack, HIT] == lost).all(), "lost")
        assert rig.good(rack, OTHER)
        assert rig.missed(rack, first, OTHER) <= MISSED_MOST
        hits = fault.hits
        await rig.cycles(10)
        assert fault.hits - hits <= 6, "a refusing unit is asked with back-off"
        fault.times = 0
        await rig.healthy()
        assert rig.wrong == []


@pytest.mark.parametrize("bus", ["GW01", "LINE1"])
async def test_a_late_reply_is_not_taken_for_the_next(tmp_path: Path, bus: str) -> None:
    """The delay is past the time-out and past the silence that is kept after it."""
    rack = 0 if bus == "GW01" else 1
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        for delay in (0.055, 0.075, 0.11, 0.13, 0.16, 0.19, 0.24):
            for unit in (1, 3):
                fault = Fault("late", frozenset({unit}), number=delay, functions=READS)
                rig.servers[bus].faults.append(fault)
                await rig.until(lambda f=fault: f.hits == 1, "hit")
        await rig.healthy()
        assert rig.wrong == []
        assert rig.count("late", bus) > 0
        counters = np.array([i.points.module_sample_counter.value[rack] for i in rig.images])
        assert (np.diff(counters, axis=0) >= 0).all(), "an older reply was taken for a newer one"


@pytest.mark.parametrize("kind", ["close", "reset"])
async def test_a_cut_connection_is_noticed_at_once_and_reopened(tmp_path: Path, kind: str) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        server = rig.servers["GW01"]
        server.faults.append(Fault(kind))
        await rig.until(lambda: rig.count("reconnects", "GW01") == 1, "reconnected", 6)
        await rig.healthy(10)
        assert rig.wrong == []
        assert rig.count("timeouts", "GW01") == 0, "the waiting request failed with the link, not by time-out"
        assert len(server.connections) == 1


async def test_a_gateway_that_reboots_comes_back_without_a_leak(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        server = rig.servers["GW01"]
        await server.stop()
        await rig.until(lambda: not rig.image.links.bus_up[0], "down")
        assert (rig.image.points.cell_voltage_v.quality[0] == Quality.BAD_COMM).all()
        assert rig.good(1)
        await rig.cycles(10)
        await server.start()
        await rig.healthy(15)
        assert rig.image.links.bus_up[0]
        assert len(server.connections) == 1
        assert any("GW01: cannot connect: connect" in t or "GW01: connection lost" in t for t in rig.events())
        assert rig.wrong == []


async def test_a_serial_adapter_that_is_pulled_out_comes_back(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        server = rig.servers["LINE1"]
        await server.stop()
        await rig.until(lambda: not rig.image.links.bus_up[1], "down")
        assert rig.good(0)
        await server.start()
        await rig.healthy(20)
        assert rig.wrong == []


async def test_accepting_and_then_silent_is_a_half_open_link(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        server = rig.servers["GW01"]
        server.dead = {1, 2, 3, 4, 100}
        await rig.until(lambda: not rig.image.links.bus_up[0], "down", 30)
        await rig.until(lambda: rig.count("reconnects", "GW01") >= 1, "a new link was tried", 30)
        assert len(server.connections) <= 1
        server.dead = set()
        await rig.healthy(20)
        assert rig.wrong == []
        assert any("no unit replies" in t for t in rig.events())


@pytest.mark.parametrize("bus", ["GW01", "LINE1"])
async def test_dead_units_do_not_hurt_the_others(tmp_path: Path, bus: str) -> None:
    rack = 0 if bus == "GW01" else 1
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        rig.servers[bus].dead = {3}
        lost = int(Quality.BAD_COMM)
        await rig.until(lambda: (rig.image.points.cell_voltage_v.quality[rack, 2] == lost).all(), "lost", 30)
        await rig.cycles(20)
        first = len(rig.images)
        timeouts = rig.count("timeouts", bus)
        await rig.cycles(30)
        assert rig.count("timeouts", bus) - timeouts <= 4
        images = rig.images[first:]
        read = {int(i.points.cell_voltage_v.time_ms[rack, OTHER].min()) for i in images}
        assert len(read) >= 0.8 * len(images), "a living unit is read in nearly every cycle"
        assert rig.missed(rack, first, OTHER) <= MISSED_MOST
        assert (rig.image.points.cell_voltage_v.quality[rack, 2] == lost).all()
        assert any("unit 3" in t and "no reply" in t for t in rig.events())
        rig.servers[bus].dead = set()
        await rig.healthy()
        assert rig.wrong == []


async def test_replies_in_pieces_are_put_together(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        for bus in ("GW01", "LINE1"):
            rig.servers[bus].faults.append(Fault("pieces", times=4))
        await rig.until(lambda: all(rig.servers[b].faults[0].hits == 4 for b in ("GW01", "LINE1")), "hit")
        await rig.healthy()
        assert rig.wrong == []
        assert rig.count("timeouts", "GW01") == 0


async def test_the_line_is_silent_before_every_request(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        await rig.cycles(5)
        gaps = rig.servers["LINE1"].gaps_s[1:]
        assert len(gaps) > 20
        assert min(gaps) >= 0.00175


async def test_rtu_over_tcp_reads_like_a_serial_line(tmp_path: Path) -> None:
    from tests.hostile import RtuTcpServer

    def over_tcp(text: str) -> str:
        line = next(x for x in text.splitlines() if x.strip().startswith("GW01:"))
        port = line.split("port: ")[1].split(",")[0]
        return text.replace(
            line, f"  GW01: {{kind: rtu_over_tcp, host: 127.0.0.1, port: {port}, timeout: 50 ms, baud: 115200}}"
        )

    rig = Rig(tmp_path, over_tcp)
    old = rig.servers["GW01"]
    rig.servers["GW01"] = RtuTcpServer(old.port)
    rig.servers["GW01"].memory = old.memory
    async with rig:
        await rig.healthy()
        rig.servers["GW01"].faults += [Fault("bit_error", times=2), Fault("late", number=0.08)]
        await rig.until(lambda: all(f.hits for f in rig.servers["GW01"].faults), "hit")
        await rig.healthy()
        assert rig.wrong == []
        assert rig.count("bad", "GW01") >= 2
