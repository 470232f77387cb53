"""The output side: what every output shall be, what the device is known to have, and what to do about it.

Outputs are desired states. What is guaranteed:
- nothing is written before a living scan was seen, and no coil while the scan is silent;
- a coil gets one write per change: after a time-out its state is unknown, and the point that reads it back (`confirm`)
  decides whether it is written again; without such a point the refresh period or a new link does;
- when the scan falls silent, every `zero_on_silence` output is wanted at zero until the scan lives again;
- a value that does not fit its register is clamped and counted, never wrapped;
- what is scaled by the device's own scale factor or rating is not written while that is unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.field_image import Points
from controller.core.image import OutputImage
from controller.core.layout import Layout
from controller.core.signal import Quality
from controller.fieldbus.codec import MASK, Encoder
from controller.fieldbus.divisors import Divisors
from controller.fieldbus.request import Failure, Request, head_of, write_request
from controller.fieldbus.unit import BUSY_CODES, CONFIGURATION_CODES, Unit
from plc_config.plan import CYCLE, BusPlan, PollingPlan, WriteBlock

COIL_FUNCTIONS: Final = (5, 15, MASK)
REFUSED_HOLD_MS: Final = 5000
"""Pause before a write that the device refused as impossible is tried again."""

NEVER_AGAIN_MS: Final = 2**62


class Output:
    """One write block. `desired`: what the scan wants; `known`: what the device has confirmed, None when uncertain.

    `taken`: the device has confirmed one write at least.
    """

    __slots__ = (
        "block", "bus", "desired", "due_ms", "fresh", "group", "head", "hold_ms", "known", "queued", "request",
        "sending", "taken", "uncertain_ms", "unit", "urgent",
    )  # fmt: skip

    def __init__(self, block: WriteBlock, bus: BusPlan, unit: Unit, group: _Group, urgent: bool) -> None:
        self.block, self.bus, self.unit, self.group, self.urgent = block, bus.index, unit, group, urgent
        self.request: Request = write_request(bus, block, unit, group.encode.data_bytes)
        self.request.output = self
        self.head = head_of(block, group.encode.data_bytes)
        self.desired: bytes | None = None
        self.known: bytes | None = None
        self.sending = False
        self.queued = False
        self.fresh = False
        self.taken = False
        self.due_ms = NEVER_AGAIN_MS
        self.hold_ms = 0
        self.uncertain_ms = -1

    @property
    def coil(self) -> bool:
        """True where a write must not be repeated blindly."""
        return self.block.function in COIL_FUNCTIONS


@dataclasses.dataclass(slots=True)
class _Group:
    """Equal write blocks of equal devices: compared and encoded in one stroke."""

    output: str
    encode: Encoder
    every_scan: bool
    refresh_ms: int
    zero: bool
    members: list[Output] = dataclasses.field(default_factory=list)
    places: list[NDArray[np.int64]] = dataclasses.field(default_factory=list)
    index: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros((0, 0), np.int64))
    divisor: NDArray[np.float64] | None = None
    """(members, 1), NaN while unknown; None where the device says nothing of the sort."""

    last: NDArray[Any] | None = None
    next_due_ms: int = NEVER_AGAIN_MS


class Outputs:
    """All outputs of a plan. `send(output)` puts one into the queue of its bus."""

    def __init__(
        self,
        plan: PollingPlan,
        layout: Layout[OutputImage],
        units: list[Unit],
        send: Callable[[Output], None],
        divisors: Mapping[int, Divisors] | None = None,
    ) -> None:
        self._divisors = divisors or {}
        self._send, self._cycle_ms = send, plan.cycle_ms
        self.live = False
        self.silenced = False
        self.clamped = 0
        self._open: dict[int, Output] = {}
        self._uncertain: dict[int, Output] = {}
        self.all: list[Output] = []
        groups: dict[Any, _Group] = {}
        for block in plan.writes:
            bus, module = plan.buses[block.bus], plan.devices[block.device].level == "module"
            every_scan = block.refresh_ms == CYCLE
            shape: Any = (
                block.output,
                block.type,
                block.function,
                block.count,
                block.modulo,
                block.refresh_ms,
                bool(block.divisors),
            )
            key = (module, every_scan, shape)
            group = groups.get(key)
            if group is None:
                encoder = Encoder(block.type, block.function, block.count, block.modulo)
                group = _Group(block.output, encoder, every_scan, block.refresh_ms, block.zero_on_silence)
                groups[key] = group
            unit = units[block.device]
            output = Output(block, bus, unit, group, urgent=not module and not every_scan)
            unit.outputs.append(output)
            self.all.append(output)
            group.members.append(output)
            group.places.append(_elements(block, layout))
        # What may open a contactor goes first, then heartbeats, then the many outputs of modules.
        self._groups = [groups[key] for key in sorted(groups, key=lambda k: k[:2])]
        for group in self._groups:
            group.index = np.array(group.places)
            if group.members[0].block.divisors:
                group.divisor = np.full((len(group.members), 1), np.nan)

    # -- what the scan wants ---------------------------------------------------------------------------------

    def update(self, image: OutputImage, now_ms: int) -> None:
        """A living scan has spoken: send what changed and what is written in every scan."""
        self.live, self.silenced = True, False
        for group in self._groups:
            values = np.asarray(getattr(image, group.output)).reshape(-1)[group.index]
            if group.divisor is not None:
                # Not a number differs from everything, itself too: what is not known yet is looked at in every scan.
                values = values / group.divisor
            if group.last is None or group.every_scan:
                rows = np.arange(len(group.members))
            else:
                rows = np.flatnonzero((values != group.last).any(axis=1))
            group.last = values
            if group.divisor is not None:
                unknown = np.isnan(group.divisor[rows, 0])
                self._open |= {id(o): o for o in (group.members[row] for row in rows[unknown].tolist())}
                rows = rows[~unknown]
            if len(rows):
                data, wrong = group.encode(values[rows])
                self.clamped += wrong
                for row, payload in zip(rows.tolist(), data, strict=True):
                    self._want(group.members[row], payload.tobytes(), group.every_scan)
        self.tick(now_ms)

    def silence(self) -> None:
        """The scan is silent: every setpoint is wanted at zero, everything else is left as it is."""
        self.silenced = True
        for group in self._groups:
            group.last = None
            if group.zero:
                data, _ = group.encode(np.zeros(group.index.shape))
                for output, payload in zip(group.members, data, strict=True):
                    # Zero needs no scale factor, but a device that was never understood was never told anything.
                    if output.taken or self._scaled(output):
                        self._want(output, payload.tobytes(), False)

    def relearn(self, divisors: Divisors) -> None:
        """A device gives other scale factors or ratings: what was encoded with the old ones counts no more."""
        for group in self._groups:
            for row, output in enumerate(group.members if group.divisor is not None else ()):
                if group.divisor is None or self._divisors.get(output.block.device) is not divisors:
                    continue
                now = divisors.product(output.block.divisors)
                if now == group.divisor[row, 0] or self.silenced:
                    # Zero is zero with every factor: a silent scan's setpoints stand.
                    group.divisor[row] = now
                    continue
                group.divisor[row] = now
                output.desired = output.known = None
                output.uncertain_ms = -1
                self._uncertain.pop(id(output), None)
                if group.last is not None:
                    group.last[row] = np.nan

    def _scaled(self, output: Output) -> bool:
        """All that the device must say for this output to be written is known."""
        names, known = output.block.divisors, self._divisors.get(output.block.device)
        return not names or (known is not None and not np.isnan(known.product(names)))

    def zeroed(self) -> bool:
        """Every `zero_on_silence` output is known to be as wanted."""
        return all(o.known == o.desired for o in self.all if o.block.zero_on_silence)

    def unconfirmed(self) -> Iterable[Output]:
        """Outputs that the device has not confirmed as they shall be; not those that are written in every scan."""
        return tuple(self._open.values())

    def permitted(self, output: Output) -> bool:
        """Whether this output may be written now."""
        if self.silenced:
            return self.live and output.block.zero_on_silence
        return self.live and self._scaled(output)

    def _want(self, output: Output, payload: bytes, every_scan: bool) -> None:
        if payload != output.desired:
            output.desired = payload
            output.fresh = True
            output.uncertain_ms = -1
            output.hold_ms = 0
            self._uncertain.pop(id(output), None)
        elif not every_scan and payload == output.known:
            return
        if not every_scan:
            self._open[id(output)] = output
        if output.uncertain_ms < 0:
            self._send(output)

    def tick(self, now_ms: int) -> None:
        """Send again what is due: refreshed outputs, and those whose pause after a failure is over."""
        for output in tuple(self._open.values()):
            if output.hold_ms <= now_ms and output.uncertain_ms < 0 and self.permitted(output):
                self._send(output)
        for group in self._groups:
            if group.next_due_ms <= now_ms:
                due = [o for o in group.members if o.due_ms <= now_ms and self.permitted(o)]
                for output in due:
                    output.due_ms = now_ms + group.refresh_ms
                    output.known = None
                    self._send(output)
                group.next_due_ms = min(o.due_ms for o in group.members)

    # -- what became of it -----------------------------------------------------------------------------------

    def written(self, output: Output, now_ms: int) -> None:
        """The device has confirmed a write."""
        output.known, output.taken = output.request.payload, True
        self._schedule(output, now_ms)
        if output.known == output.desired:
            self._open.pop(id(output), None)
        else:
            self._send(output)

    def failed(self, output: Output, failure: Failure, code: int, now_ms: int) -> None:
        """A write brought no confirmation: decide when, and on whose word, it may be repeated."""
        output.known = None
        if output.block.refresh_ms == CYCLE:
            return
        self._open[id(output)] = output
        if failure is Failure.EXCEPTION and not (code in BUSY_CODES and output.coil):
            output.hold_ms = now_ms + (REFUSED_HOLD_MS if code in CONFIGURATION_CODES else self._cycle_ms)
        elif not output.coil:
            output.hold_ms = now_ms + self._cycle_ms
        elif output.block.confirm:
            output.uncertain_ms = now_ms
            self._uncertain[id(output)] = output
        else:
            refresh = output.block.refresh_ms
            output.hold_ms = now_ms + refresh if refresh > 0 else NEVER_AGAIN_MS

    def forget(self, outputs: Iterable[Output]) -> None:
        """The device is new or was away: nothing is known of these outputs, each is written once more."""
        for output in outputs:
            output.known, output.uncertain_ms, output.hold_ms = None, -1, 0
            self._uncertain.pop(id(output), None)
            if output.desired is not None and output.block.refresh_ms != CYCLE:
                output.fresh = True
                self._open[id(output)] = output
                if self.permitted(output):
                    self._send(output)

    def settle(self, points: Points) -> None:
        """Ask the points that read uncertain outputs back; those that differ are written again."""
        for output in tuple(self._uncertain.values()):
            block = output.block
            samples = getattr(points, block.confirm)
            where = (samples.value[block.place]).reshape(-1)[: block.count]
            times = samples.time_ms[block.place].reshape(-1)[: block.count]
            quality = samples.quality[block.place].reshape(-1)[: block.count]
            if bool((times <= output.uncertain_ms).any()) or bool((quality != Quality.GOOD).any()):
                continue
            del self._uncertain[id(output)]
            output.uncertain_ms = -1
            data, _ = Encoder(block.type, block.function, block.count)(where.reshape(1, -1))
            if data[0].tobytes() == output.desired:
                output.known = output.desired
                self._open.pop(id(output), None)
            elif self.permitted(output):
                self._send(output)

    @staticmethod
    def _schedule(output: Output, now_ms: int) -> None:
        refresh, group = output.block.refresh_ms, output.group
        if refresh <= 0:
            return
        if output.due_ms == NEVER_AGAIN_MS:
            # Spread the first refresh over half the period, or all devices are refreshed in the same scan for ever.
            share = (group.members.index(output) + 1) / len(group.members)
            output.due_ms = now_ms + int(refresh * (0.5 + 0.5 * share))
            group.next_due_ms = min(group.next_due_ms, output.due_ms)
        else:
            output.due_ms = now_ms + refresh


def _elements(block: WriteBlock, layout: Layout[OutputImage]) -> NDArray[np.int64]:
    """Flat positions, in the output's array, of the elements that a block writes."""
    shape = layout.tags[block.output].shape(layout.dims)
    flat = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)
    chosen = np.asarray(flat[block.place]).reshape(-1)[: block.count]
    if len(chosen) < block.count:
        raise ValueError(f"output {block.output}: {block.count} elements to write, the plant has {len(chosen)}")
    return np.asarray(chosen, np.int64)
