"""Outputs are desired states: sent within 10 ms, never blindly repeated, zeroed when the scan falls silent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from plc_config.library import DATA
from tests.field_rig import RACK_UNIT, Rig
from tests.hostile import Fault, Hostile, Write

COIL, REGISTER, REGISTERS, COILS = 5, 6, 16, 15


def writes(server: Hostile, function: int, address: int, unit: int | None = None) -> list[Write]:
    """What a device executed, oldest first."""
    every = server.memory.writes
    return [w for w in every if w.function == function and w.address == address and unit in (None, w.unit)]


def on(values: tuple[bool, bool]) -> np.ndarray:
    """A value per rack."""
    return np.array(values)


async def test_every_scan_writes_its_number_and_nothing_else_repeats(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        await rig.cycles(12)
        for bus in ("GW01", "LINE1", "PCS"):
            beats = writes(rig.servers[bus], REGISTER, 4 if bus == "PCS" else 0)
            numbers = [int.from_bytes(w.data, "big") for w in beats]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert len(numbers) >= 10
        assert len(writes(rig.servers["GW01"], COIL, 0)) == 1, "the first state, once"
        assert len(writes(rig.servers["GW01"], COILS, 0, unit=1)) == 1


async def test_every_change_goes_out_without_waiting_for_the_next_round(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        rig.scanning = False
        state = False
        for _ in range(12):
            await asyncio.sleep(0.083)
            state = not state
            count = {b: len(writes(rig.servers[b], COIL, 0)) for b in ("GW01", "LINE1")}
            rig.publish(rack_main_close=on((state, state)))
            rig.driver._look()  # what the eventfd does
            for bus in ("GW01", "LINE1"):
                server = rig.servers[bus]
                await rig.until(lambda s=server, n=count[bus]: len(writes(s, COIL, 0)) > n, "written")  # type: ignore[misc]
        assert rig.servers["GW01"].memory.coils[RACK_UNIT][0] == int(state)


async def test_values_are_scaled_and_packed(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        bleed = np.zeros((2, 4, 16), bool)
        bleed[0, 2, [0, 9, 15]] = True
        rig.set(
            pcs_active_power_setpoint_w=np.array([-12_345.4]),
            pcs_reactive_power_setpoint_var=np.array([70_001.0]),
            cell_bleed_on=bleed,
        )
        holding = rig.servers["PCS"].memory.holding[1]
        await rig.until(lambda: len(writes(rig.servers["PCS"], REGISTERS, 2)) > 0, "written")
        await rig.until(lambda: len(writes(rig.servers["GW01"], COILS, 0, unit=3)) > 0, "written")
        assert (holding[0] << 16 | holding[1]) == (-12_345) & 0xFFFFFFFF
        assert (holding[2] << 16 | holding[3]) == 70_001
        coils = rig.servers["GW01"].memory.coils[3]
        assert [i for i in range(16) if coils[i]] == [0, 9, 15]


async def test_a_value_that_does_not_fit_is_clamped_and_told(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.set(pcs_active_power_setpoint_w=np.array([3e9]))
        holding = rig.servers["PCS"].memory.holding[1]
        await rig.until(lambda: holding.get(0) == 0x7FFF, "clamped")
        await rig.until(lambda: any("clamped" in t for t in rig.events()), "told")


async def test_nothing_is_written_before_a_scan_lives(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.publish(pcs_active_power_setpoint_w=np.array([5000.0]), rack_main_close=on((True, True)))
    rig.scanning = False
    async with rig:
        await rig.healthy()
        await rig.cycles(6)
        assert all(s.memory.writes == [] for s in rig.servers.values()), "an old image in the file is no scan"
        rig.scanning = True
        await rig.until(lambda: len(writes(rig.servers["GW01"], COIL, 0)) == 1, "written")


async def test_a_silent_scan_zeroes_setpoints_and_leaves_coils(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.set(pcs_active_power_setpoint_w=np.array([40_000.0]), rack_main_close=on((True, False)))
        holding = rig.servers["PCS"].memory.holding[1]
        await rig.until(lambda: holding.get(1) == 40_000, "running")
        await rig.healthy()
        rig.scanning = False
        await rig.until(lambda: holding.get(1) == 0, "zeroed")
        assert 1000 * (rig.clock() - rig.spoken_s) > rig.driver.silence_ms, "a single late scan is no silence"
        await rig.until(lambda: rig.status().silenced == 1, "status")
        beats, coils = len(writes(rig.servers["PCS"], REGISTER, 4)), len(writes(rig.servers["GW01"], COIL, 0))
        rig.servers["GW01"].faults.append(Fault("close"))
        await rig.until(lambda: rig.count("reconnects", "GW01") == 1, "reconnected")
        await rig.cycles(15)
        assert len(writes(rig.servers["PCS"], REGISTER, 4)) == beats, "the heartbeat stops by itself"
        assert len(writes(rig.servers["GW01"], COIL, 0)) == coils, "no coil without a scan, even on a new link"
        assert holding[1] == 0
        rig.scanning = True
        await rig.until(lambda: holding[1] == 40_000, "the scan lives again")
        await rig.until(lambda: rig.status().silenced == 0, "status")
        texts = rig.events()
        assert any("silent" in t for t in texts)
        assert any("lives again" in t for t in texts)


async def test_a_new_link_gets_every_output_once(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.set(rack_main_close=on((True, True)), pcs_active_power_setpoint_w=np.array([1000.0]))
        await rig.healthy()
        await rig.cycles(5)
        for bus in ("GW01", "PCS"):
            rig.servers[bus].memory.writes.clear()
            rig.servers[bus].faults.append(Fault("reset"))
            await rig.until(lambda b=bus: rig.count("reconnects", b) == 1, "reconnected")  # type: ignore[misc]
        await rig.until(lambda: len(writes(rig.servers["GW01"], COIL, 0)) == 1, "written again")
        await rig.until(lambda: len(writes(rig.servers["PCS"], REGISTERS, 0)) == 1, "written again")
        await rig.cycles(5)
        assert len(writes(rig.servers["GW01"], COIL, 0)) == 1
        assert len(writes(rig.servers["GW01"], COIL, 1)) == 1


async def test_after_a_long_outage_every_output_is_written_once_not_twice(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.set(rack_main_close=on((True, True)))
        await rig.healthy()
        server = rig.servers["GW01"]
        await server.stop()
        await rig.until(lambda: not rig.image.links.bus_up[0], "down")
        server.memory.writes.clear()
        await server.start()
        await rig.healthy()
        await rig.cycles(8)
        for address in (0, 1):
            assert len(writes(server, COIL, address)) == 1
        for unit in (1, 2, 3, 4):
            assert len(writes(server, COILS, 0, unit)) == 1


async def test_an_unconfirmed_coil_is_judged_by_its_read_back(tmp_path: Path) -> None:
    """The device closed but its confirmation was lost: reading back is enough, no second write."""
    for executed in (True, False):
        folder = tmp_path / str(executed)
        folder.mkdir()
        async with Rig(folder) as rig:
            await rig.healthy()
            server = rig.servers["GW01"]

            def read_back(write: Write, server: Hostile = server) -> None:
                if write.function == COIL and write.address == 0:
                    server.memory.inputs[RACK_UNIT][5] = 4 * int(write.data[0] == 0xFF)

            server.memory.on_write = read_back
            # The first state of both coils must be through, or the fault would hit that.
            await rig.until(lambda s=server: writes(s, COIL, 0) and writes(s, COIL, 1), "first state")  # type: ignore[misc]
            kind = "executed" if executed else "timeout"
            server.faults.append(Fault(kind, frozenset({RACK_UNIT}), functions=frozenset({COIL})))
            before = len(writes(server, COIL, 0))
            rig.set(rack_main_close=on((True, False)))
            await rig.until(lambda s=server: s.memory.coils[RACK_UNIT].get(0) == 1, "closed")  # type: ignore[misc]
            await rig.cycles(8)
            assert len(writes(server, COIL, 0)) == before + 1, "executed once, whichever way"
            assert server.faults[0].hits == 1


async def test_a_dead_converter_gets_its_setpoint_when_it_is_back(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        server = rig.servers["PCS"]
        index = [d.name for d in rig.compiled.plan.devices].index("P01 pcs")
        await rig.until(lambda: rig.status().unit_last_write_ms[index] > 0, "the first setpoint")
        server.dead = {1}
        rig.set(pcs_active_power_setpoint_w=np.array([2500.0]))
        await rig.until(lambda: not rig.image.links.bus_up[2], "down", 30)
        await rig.until(lambda: rig.status().unit_unconfirmed[index] >= 1, "the setpoint is not confirmed")
        requests, written_ms = server.requests, rig.status().unit_last_write_ms[index]
        await rig.cycles(20)
        assert rig.status().unit_last_write_ms[index] == written_ms > 0
        assert server.requests - requests < 20, "a dead unit is not stormed with writes"
        server.dead = set()
        await rig.until(lambda: server.memory.holding[1].get(1) == 2500, "written", 30)
        await rig.until(lambda: rig.status().unit_unconfirmed.sum() == 0, "all confirmed")


async def test_a_refused_write_is_not_stormed(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        await rig.healthy()
        server = rig.servers["PCS"]
        fault = Fault("exception", times=-1, number=3, functions=frozenset({REGISTERS}))
        server.faults.append(fault)
        rig.set(pcs_active_power_setpoint_w=np.array([2500.0]))
        await rig.until(lambda: fault.hits >= 1, "refused")
        await rig.cycles(20)
        assert fault.hits <= 6
        assert rig.good()


async def test_stopping_zeroes_the_setpoints(tmp_path: Path) -> None:
    async with Rig(tmp_path) as rig:
        rig.set(pcs_active_power_setpoint_w=np.array([40_000.0]), rack_main_close=on((True, False)))
        holding = rig.servers["PCS"].memory.holding[1]
        await rig.until(lambda: holding.get(1) == 40_000, "running")
        await rig.healthy()
        await rig.stop_driver()
        assert holding[1] == 0
        assert rig.servers["GW01"].memory.coils[RACK_UNIT][0] == 1
        await asyncio.sleep(0)
        assert all(not s.connections for n, s in rig.servers.items() if n != "LINE1")


def masked_and_read_back(folder: Path) -> None:
    """Profiles beside the site: contactors are bits of one register (22), setpoints are read back at once (23)."""
    (folder / "profiles").mkdir()
    for name, pairs in {
        "cellwarden-rack": [
            ("{address: 0, type: bit, function: 5,", "{address: 7, type: u16, function: 22, bit: 3,"),
            ("{address: 1, type: bit, function: 5,", "{address: 7, type: u16, function: 22, bit: 12,"),
        ],
        "cellwarden-pcs": [("address: 0, type: s32, function: 16", "address: 0, type: s32, function: 23")],
    }.items():
        text = (DATA / "profiles" / f"{name}.yaml").read_text()
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        (folder / "profiles" / f"{name}.yaml").write_text(text)


async def test_bits_of_a_register_and_setpoints_that_read_themselves_back(tmp_path: Path) -> None:
    masked_and_read_back(tmp_path)
    async with Rig(tmp_path) as rig:
        tables = [rig.servers[bus].memory.holding[RACK_UNIT] for bus in ("GW01", "LINE1")]
        for table in tables:
            table[7] = 0b0000_1111_0000_0001
        await rig.healthy()
        rig.set(rack_main_close=on((True, True)), pcs_active_power_setpoint_w=np.array([-12_345.0]))
        for table in tables:
            await rig.until(lambda t=table: t[7] == 0b0000_1111_0000_1001, "bit 3 set, others as they were")  # type: ignore[misc]
        rig.set(rack_main_close=on((False, True)), rack_precharge_close=on((False, True)))
        await rig.until(lambda: [t[7] for t in tables] == [0x0F01, 0x1F09], "each its own")
        pcs = rig.servers["PCS"]
        holding = pcs.memory.holding[1]
        await rig.until(lambda: (holding.get(0, 0) << 16 | holding.get(1, 0)) == (-12_345) & 0xFFFFFFFF, "written")
        assert any(w.function == 23 for w in pcs.memory.writes)
        assert not any("reads back" in t for t in rig.events())

        def clamp(write: Write) -> None:
            if write.function == 23:
                holding.update({0: 0, 1: 5000})

        pcs.memory.on_write = clamp
        rig.set(pcs_active_power_setpoint_w=np.array([9000.0]))
        told = "reads back as 00001388, 00002328 was written"
        await rig.until(lambda: any(told in t for t in rig.events()), "told")
        assert rig.wrong == []
