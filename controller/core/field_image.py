"""What the field reports, as the I/O process publishes it once per cycle.

Positive current and power leave the battery (discharge, export).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from numpy.typing import NDArray

from controller.core.signal import Samples, tag

Flags = NDArray[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Points:
    """What the field reports. A profile maps registers to these names; `low`/`high` are instrument ranges."""

    cell_voltage_v: Samples = tag("V", "rack", "module", "cell", doc="Cell voltage", dtype="f4", low=0.5, high=5.0)
    cell_temperature_degc: Samples = tag(
        "degC",
        "rack",
        "module",
        "temperature",
        doc="Cell temperature sensor",
        dtype="f4",
        low=-45.0,
        high=150.0,
    )
    module_bleeding_cells: Samples = tag(
        "1", "rack", "module", doc="Cells whose bleed switch the monitor reads back as on", low=0, high=64
    )
    module_sample_counter: Samples = tag(
        "1", "rack", "module", doc="The device's own sample counter; it must move", dtype="f8"
    )
    rack_voltage_v: Samples = tag("V", "rack", doc="Battery-side rack voltage", low=0.0, high=2000.0)
    rack_current_a: Samples = tag("A", "rack", doc="Rack current, discharge positive", low=-3000, high=3000)
    rack_current_redundant_a: Samples = tag(
        "A", "rack", doc="Rack current by a second sensor, discharge positive", low=-3000, high=3000
    )
    rack_link_voltage_v: Samples = tag("V", "rack", doc="DC link voltage at the rack", low=-50.0, high=2000.0)
    rack_insulation_ohm: Samples = tag("ohm", "rack", doc="Insulation resistance to earth", low=0, high=1e8)
    rack_main_closed: Samples = tag("1", "rack", doc="Main contactors' feedback: 1 closed", low=0, high=1)
    rack_precharge_closed: Samples = tag("1", "rack", doc="Precharge contactor feedback", low=0, high=1)
    rack_main_confirmed: Samples = tag("1", "rack", doc="Main close command as read back", low=0, high=1)
    rack_precharge_confirmed: Samples = tag("1", "rack", doc="Precharge command as read back", low=0, high=1)
    rack_heartbeat_echo: Samples = tag("1", "rack", doc="Heartbeat as the rack controller last received it")
    rack_soc_reported_ratio: Samples = tag(
        "ratio", "rack", doc="State of charge as the rack's own BMS reports it", low=0.0, high=1.0
    )
    rack_charge_limit_reported_a: Samples = tag(
        "A", "rack", doc="Largest charge current as the rack's own BMS reports it", low=0.0, high=3000.0
    )
    rack_discharge_limit_reported_a: Samples = tag(
        "A", "rack", doc="Largest discharge current as the rack's own BMS reports it", low=0.0, high=3000.0
    )
    rack_alarm_word: Samples = tag("1", "rack", doc="Protections of the rack's own BMS, in its own bits: 0 none")
    pcs_active_power_w: Samples = tag("W", "pcs", doc="PCS active power, export positive", low=-2e7, high=2e7)
    pcs_reactive_power_var: Samples = tag("var", "pcs", doc="PCS reactive power", low=-2e7, high=2e7)
    pcs_dc_voltage_v: Samples = tag("V", "pcs", doc="PCS DC link voltage", low=-50.0, high=2000.0)
    pcs_dc_current_a: Samples = tag("A", "pcs", doc="PCS DC current, discharge positive", low=-2e4, high=2e4)
    pcs_running: Samples = tag("1", "pcs", doc="PCS is switching: 1 running", low=0, high=1)
    pcs_fault: Samples = tag("1", "pcs", doc="PCS reports a fault: 1 fault", low=0, high=1)
    pcs_active_power_confirmed_w: Samples = tag(
        "W", "pcs", doc="Active power setpoint as read back", low=-2e7, high=2e7
    )
    estop_channel_1_closed: Samples = tag("1", doc="E-stop chain, channel 1: 1 healthy", low=0, high=1)
    estop_channel_2_closed: Samples = tag("1", doc="E-stop chain, channel 2: 1 healthy", low=0, high=1)
    fire_alarm: Samples = tag("1", doc="Fire panel: 1 alarm", low=0, high=1)
    smoke_detected: Samples = tag("1", doc="Smoke or off-gas detector: 1 detected", low=0, high=1)
    hvac_healthy: Samples = tag("1", doc="Cooling plant: 1 healthy", low=0, high=1)
    door_closed: Samples = tag("1", doc="Enclosure doors: 1 closed", low=0, high=1)
    aux_supply_v: Samples = tag("V", doc="Control supply voltage", low=0.0, high=60.0)
    ambient_temperature_degc: Samples = tag("degC", doc="Temperature inside the enclosure", low=-60, high=120)


@dataclasses.dataclass(frozen=True, slots=True)
class Links:
    """What the I/O process says of its buses."""

    published_ms: int = tag("ms", doc="Monotonic time at which the I/O process published this image", dtype="i8")
    bus_up: Flags = tag("1", "bus", doc="The bus answers: 1 up", dtype="u1")


@dataclasses.dataclass(frozen=True, slots=True)
class FieldImage:
    """The input image as the I/O process publishes it, once per cycle."""

    points: Points
    links: Links
