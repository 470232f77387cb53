"""What profiles write: setpoints, enables, watchdogs, and racks behind one unit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from controller.core.image import OutputImage
from controller.core.layout import Layout
from controller.fieldbus.outputs import Output, Outputs
from controller.fieldbus.unit import Unit
from tests.profile_cases import CASES, OWN, constants, memory, own, written
from tests.profile_rig import Bench


def test_a_setpoint_with_its_enable_and_its_revert_timer(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["sunspec-7xx"])
    assert written(bench, "pcs_active_power_setpoint_w", -250_000) == (16, 40320, "f1194d80"), (
        "in mW, as its scale factor says"
    )
    assert written(bench, "pcs_run", 1)[2] == "0001" and written(bench, "pcs_run", 0)[2] == "0000"
    assert written(bench, "heartbeat", 2**32 + 5) == (16, 40422, "00000005")
    assert constants(bench)[40296 + 31] == ("0000000a", 2000)
    assert constants(bench)[40296 + 22] == ("0001", 10_000)


def test_a_converter_that_takes_percents_and_a_watchdog(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["kaco-gridsave"])
    assert written(bench, "pcs_active_power_setpoint_w", -25_000) == (16, 40163, "f63c"), "-25 % of WMax"
    assert written(bench, "pcs_run", 1)[2] == "000b" and written(bench, "pcs_run", 0)[2] == "0001"
    assert constants(bench)[40162] == ("003c", 10_000), "the watchdog is rewritten in less than half its time"


def test_external_control_is_written_only_as_a_constant(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["sma-sunny-island"])
    assert constants(bench) == {40151: ("00000322", 10_000)}
    assert written(bench, "pcs_active_power_setpoint_w", 4321) == (16, 40149, "000010e1")


def test_a_constant_is_written_once_and_again_when_its_time_has_come(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["sunspec-7xx"])
    layout = Layout(OutputImage, bench.compiled.dims)
    units = [Unit(d.name, d.unit, 0.0) for d in bench.compiled.plan.devices]
    sent: list[Output] = []
    outputs = Outputs(bench.compiled.plan, layout, units, sent.append)

    def scan(beat: int, now_ms: int) -> list[int]:
        """Addresses of constants that this scan sends; every write is confirmed."""
        sent.clear()
        outputs.update(dataclasses.replace(layout.blank(), heartbeat=beat), now_ms)
        for output in tuple(sent):
            output.request.payload = output.desired or b""
            outputs.written(output, now_ms)
        return sorted({o.block.address for o in sent if o.block.modulo == 1})

    everything = sorted(constants(bench))
    assert scan(1, 1000) == everything
    assert scan(2, 1100) == []
    later = [scan(3 + i, 1200 + 100 * i) for i in range(31)]
    assert [a for again in later for a in again].count(40296 + 31) in (1, 2)
    outputs.silence()
    assert not any(outputs.permitted(o) for o in outputs.all if o.block.modulo == 1)


def test_racks_behind_one_unit_each_have_their_registers(tmp_path: Path) -> None:
    bench = own(tmp_path, OWN, place="R01..R03", racks=3)
    assert len(bench.indices) == 1
    found = bench.decode(memory(3, (100, (701, 3)), (120, (702, 0x0204)), (140, (703, 0))))
    assert found["rack_voltage_v"] == [701, 702, 703]
    assert found["rack_main_closed"] == [1, 0, 0]
    assert found["rack_precharge_closed"] == [0, 1, 0]
    assert found["rack_main_confirmed"] == [1, 1, 0]
    assert [w.place for w in bench.writes] == [(0,), (1,), (2,)]
    assert written(bench, "rack_main_close", 1, number=2) == (6, 150, "000b")
    assert written(bench, "rack_main_close", 0, number=1) == (6, 130, "0008")


def test_the_simulated_device_tells_which_rack_was_commanded(tmp_path: Path) -> None:
    bench = own(tmp_path, OWN, place="R01..R03", racks=3)
    told: list[Any] = []
    bench.device.written = lambda device, slot, values: told.append((device.plan.level, device.plan.place, values))
    bench.device.answer(bytes.fromhex("060082000b"))
    assert told == [("rack", (1,), [1.0])]


def test_two_limits_that_leave_one_power(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["sunspec-103-124"])
    discharge = [written(bench, "pcs_active_power_setpoint_w", 40_000, number=n) for n in (0, 1)]
    assert discharge == [(16, 40134, "0fa0"), (16, 40135, "f060")], "40 % and -40 %"
    charge = [written(bench, "pcs_active_power_setpoint_w", -25_000, number=n) for n in (0, 1)]
    assert charge == [(16, 40134, "f63c"), (16, 40135, "09c4")]
    assert constants(bench) == {40127: ("0003", 60_000), 40137: ("000a", 2000)}


def test_two_registers_of_one_setpoint_reach_the_simulated_converter_as_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CASES["sunspec-103-124"])
    told: list[Any] = []
    bench.device.written = lambda device, slot, values: told.append((slot.block.output, values))
    bench.device.answer(bytes.fromhex("10" + f"{40134:04x}" + "000102" + "0fa0"))
    bench.device.answer(bytes.fromhex("10" + f"{40135:04x}" + "000102" + "f060"))
    assert told == [("pcs_active_power_setpoint_w", [40_000.0])] * 2
