"""SITE.yaml: everything a site engineer writes to commission a site."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, model_validator

from plc_config.quantity import (
    Ampere,
    Bytes,
    Celsius,
    Milliseconds,
    Ohm,
    Ratio,
    Var,
    Volt,
    Watt,
    WattHour,
    WattPerSecond,
)
from plc_config.schema.base import Strict
from plc_config.schema.cell import BandOhm, BandV


class Site(Strict):
    """Who the site is."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    name: str
    simulated: bool = Field(
        False, description="The devices are simulated: shown in Status.Simulated, changes nothing else"
    )


class Bank(Strict):
    """The racks on one DC link, and their PCS."""

    racks: str
    pcs: str


class TopologyConfig(Strict):
    """How the battery is built; a module count per rack and so on."""

    racks: int = Field(ge=1, le=256)
    modules: int = Field(ge=1, le=64)
    cells: int = Field(ge=1, le=64)
    temperatures: int = Field(ge=1, le=64)
    parallel: int = Field(1, ge=1, le=1000, description="Cells in parallel behind each cell voltage")
    pcs: int = Field(1, ge=1, le=64)
    banks: dict[str, Bank] = {}


class Tcp(Strict):
    """Modbus TCP."""

    kind: Literal["tcp"]
    host: str | int
    port: int | str = 502
    timeout: Milliseconds = Field(50, gt=0)
    window: int = Field(1, ge=1, le=16, description="Requests in flight; more than 1 only where the gateway queues")


class Tls(Strict):
    """Modbus/TCP Security: Modbus TCP inside TLS, both sides show certificates. Files are relative to the site file."""

    kind: Literal["tls"]
    host: str
    port: int | str = 802
    timeout: Milliseconds = Field(100, gt=0)
    window: int = Field(1, ge=1, le=16, description="Requests in flight; more than 1 only where the gateway queues")
    ca: str = Field(description="Certificate(s) that the device's own must be signed by, PEM")
    certificate: str = Field(description="Our certificate, PEM; the role extension, if any, as the device demands it")
    key: str = Field(description="Our private key, PEM, without a passphrase")
    server_name: str | None = Field(None, description="Name in the device's certificate, where it is not the host")


class Udp(Strict):
    """Modbus over UDP, one frame in a datagram."""

    kind: Literal["udp"]
    host: str
    port: int | str = 502
    timeout: Milliseconds = Field(50, gt=0)
    window: int = Field(1, ge=1, le=16, description="Requests in flight")


class RtuOverTcp(Strict):
    """RTU frames through a transparent serial server."""

    kind: Literal["rtu_over_tcp"]
    host: str
    port: int | str = 502
    timeout: Milliseconds = Field(200, gt=0)
    baud: int = Field(19200, ge=1200, le=4_000_000)


class Rtu(Strict):
    """Modbus RTU on a serial line. A port name without a slash lies in the site's run folder."""

    kind: Literal["rtu"]
    port: str
    baud: int = Field(19200, ge=1200, le=4_000_000)
    parity: Literal["none", "even", "odd"] = "even"
    stop_bits: Literal[1, 2] = 1
    timeout: Milliseconds = Field(200, gt=0)
    latency: Milliseconds = Field(0, ge=0, description="Allowance for a USB converter")
    echo: bool = Field(False, description="The adapter hears what it sends (RS-485, two wires)")


Bus = Annotated[Tcp | Tls | Udp | RtuOverTcp | Rtu, Field(discriminator="kind")]


class Device(Strict):
    """Devices of one profile. Ranges: `bus` runs along the first axis of `place`, `unit` along the last."""

    profile: str
    bus: str
    unit: int | str = 1
    place: str
    series_cells: int | None = Field(
        None, ge=2, le=2000, description="Cells in series behind each place, where a device reports only extremes"
    )


class PrechargeLimits(Strict):
    """When a rack may be joined to the DC link."""

    voltage_difference: Volt = Field(5.0, gt=0)
    current: Ampere = Field(1.0, gt=0)
    timeout: Milliseconds = Field(4000, gt=0)
    fastest: Milliseconds = Field(
        250,
        ge=0,
        le=60_000,
        description="Less for the link from 10 % to 90 % is a precharge without resistor: 2.2 x resistance x link "
        "capacitance, less their tolerances; two values of the link must come sooner one after the other than that",
    )
    attempts: int = Field(3, ge=1, le=10)
    cool_down: Milliseconds = Field(10_000, ge=0)
    rack_voltage_difference: Volt = Field(10.0, gt=0)
    energy: WattHour | None = Field(
        None, gt=0, description="What the precharge resistor may take before it has to cool; absent: not supervised"
    )
    recovery: Milliseconds = Field(300_000, gt=0, description="Time in which the resistor gives that energy off")


class ConnectionConfig(Strict):
    """In which order racks join the DC link, and when they may."""

    first_rack: Literal["median", "lowest", "highest"] = Field(
        "median",
        description="Voltage of the rack that begins on a dead link; lowest for charging, highest for discharging",
    )
    inrush: Ampere | None = Field(
        None,
        gt=0,
        description="Most current between racks when one joins; absent: the smaller rated current of the cell",
    )
    rack_resistance: Ohm | None = Field(
        None, gt=0, description="Least resistance of a rack, as measured; absent: half of what the cell type says"
    )
    interval: Milliseconds = Field(500, ge=0, description="Pause between two racks of a bank")
    least_racks: int = Field(1, ge=1, description="Racks without which the site does not run")
    rejoin_after: Milliseconds | None = Field(
        None,
        ge=1000,
        description="A rack that protection took out joins again by itself once its causes, all of a kind that ends "
        "by itself, have stayed away so long; absent: only when an operator asks",
    )
    rejoins: int = Field(
        3, ge=1, le=10, description="How often, until somebody asks or the rack has been connected for an hour"
    )


class ContactorsConfig(Strict):
    """The racks' main contactors, from their data sheet."""

    breaking_current: Ampere | None = Field(
        None, gt=0, description="Most current they may break: above it a trip waits for the fuse; absent: open at once"
    )
    fuse_wait: Milliseconds = Field(3000, ge=0, le=10_000, description="Then they open all the same")
    life_operations: int = Field(100_000, ge=1, description="Mechanical life")
    life_breaks: int = Field(100, ge=1, description="Openings at `life_current` that they last")
    life_current: Ampere | None = Field(None, gt=0, description="Absent: the cell's rated discharge current")
    weld_test: Milliseconds = Field(
        60_000, ge=0, description="A dead link has parted from the opened rack by then, else it is welded; 0 s: no test"
    )


Stricter = dict[str, Annotated[Any, WithJsonSchema({"type": "string", "description": "a quantity"})]]
"""Parts of a band by their names. Whether each is a quantity is judged with the cell type, whose unit it must have."""


class LimitsConfig(Strict):
    """Site limits: a cell limit named here replaces the cell type's and must not be laxer."""

    cell_overvoltage: Stricter = {}
    cell_undervoltage: Stricter = {}
    charge_overtemperature: Stricter = {}
    charge_undertemperature: Stricter = {}
    discharge_overtemperature: Stricter = {}
    discharge_undertemperature: Stricter = {}
    charge_overcurrent: Stricter = {}
    discharge_overcurrent: Stricter = {}
    deep_discharge: Stricter = {}
    cell_voltage_spread: Stricter = {}
    temperature_spread: Stricter = {}
    insulation: BandOhm | None = Field(None, description="Needed where a device reads it, as is aux_supply")
    aux_supply: BandV | None = None
    stale_after: Milliseconds = Field(300, gt=0, le=60_000, description="A value older than this is doubted")
    lost_after: Milliseconds = Field(800, gt=0, le=60_000, description="Then it is lost, and its rows act")
    contactor_follow: Milliseconds = Field(300, gt=0, le=10_000, description="Time a contactor has to follow")
    pcs_follow: Milliseconds = Field(2000, gt=0, le=60_000, description="Time the PCS has to follow its setpoint")
    overrun_scans: int = Field(3, ge=1, le=1000)
    precharge: PrechargeLimits = PrechargeLimits()
    ambient_high: Celsius = 50.0


class EstimatorConfig(Strict):
    """Which estimators run."""

    soc: Literal["none", "coulomb", "ekf"] = "ekf"
    initial_soc: Ratio | None = Field(
        None, ge=0, le=1, description="Only for a site without memory and without rest voltage"
    )
    target_soc: Ratio = Field(0.5, ge=0, le=1, description="SOC that `TimeToTarget` tells the way to")


class DispatchConfig(Strict):
    """How setpoints become power."""

    rated_power: Watt = Field(gt=0)
    rated_reactive_power: Var = Field(0.0, ge=0)
    ramp: WattPerSecond = Field(gt=0)
    heartbeat_timeout: Milliseconds = Field(10_000, gt=0)
    fallback_power: Watt = 0.0
    share: Literal["equal", "by_limit"] = "by_limit"

    @model_validator(mode="after")
    def _within_the_rating(self) -> DispatchConfig:
        if abs(self.fallback_power) > self.rated_power:
            raise ValueError(f"fallback_power {self.fallback_power:g} W is beyond rated_power {self.rated_power:g} W")
        return self


class BalancingConfig(Strict):
    """Bleed resistors."""

    enabled: bool = True
    bleed_current: Ampere = Field(0.3, gt=0)
    start: Ratio = Field(0.005, gt=0, le=1, description="Charge difference at which a cell is bled")
    least_cell_voltage: Volt | None = Field(
        None,
        gt=0,
        description="No cell below it is bled; absent: 3.2 V, for a cell type that rests lower half full its voltage "
        "at 10 %",
    )
    most_temperature: Celsius = 50.0


class HistorianConfig(Strict):
    """What is kept on disk."""

    every: Milliseconds = Field(1000, gt=0)
    deadband: Ratio = Field(0.001, ge=0, le=1)
    size: Bytes = Field(2e9, gt=0)
    recording: Milliseconds = Field(900_000, gt=0)
    recording_size: Bytes = Field(5e8, gt=0)
    trip_files: int = Field(50, ge=1, le=1000, description="Trips kept as files of their own, within recording_size")


class OpcuaConfig(Strict):
    """Where SCADA connects."""

    bind: str = "127.0.0.1"
    port: int = Field(4840, ge=1, le=65535)
    max_sessions: int = Field(24, ge=1, le=200)
    anonymous_read: bool = False


class AlarmsConfig(Strict):
    """What people may do with alarms."""

    longest_shelf: Milliseconds = Field(
        28_800_000, gt=0, description="An alarm comes back by itself after at most this time"
    )


class ControlConfig(Strict):
    """When a master (a SCADA, a panel) needs control to set power and to connect; stopping never needs it."""

    authority: Literal["on_request", "first_writer", "required"] = Field(
        "on_request",
        description="on_request: only while somebody has taken control; first_writer: the first who sets power or "
        "connects has it; required: nobody sets power or connects without having taken it",
    )
    silence: Milliseconds = Field(
        300_000, ge=5000, le=86_400_000, description="A holder who gives no command for so long loses control"
    )


class TimeConfig(Strict):
    """What the site expects of the machine's clock."""

    synchronised: Literal["required", "not_required"] = Field(
        "not_required",
        description="required: a clock that follows no time server is an alarm",
    )


class SiteConfig(Strict):
    """The whole file."""

    site: Site
    cell_type: str
    topology: TopologyConfig
    cycle: Milliseconds = Field(gt=0, le=10_000)
    buses: dict[str, Bus]
    devices: dict[str, Device]
    limits: LimitsConfig
    estimator: EstimatorConfig = EstimatorConfig()
    dispatch: DispatchConfig
    connection: ConnectionConfig = ConnectionConfig()
    contactors: ContactorsConfig = ContactorsConfig()
    balancing: BalancingConfig = BalancingConfig()
    historian: HistorianConfig = HistorianConfig()
    opcua: OpcuaConfig = OpcuaConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    control: ControlConfig = ControlConfig()
    time: TimeConfig = TimeConfig()
    users: dict[str, Literal["Observer", "Operator", "Engineer"]] = {}
