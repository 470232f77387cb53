"""Subscriptions cost what is subscribed: only monitored variables are sampled, only changes are pushed."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Any, Final

import numpy as np
from asyncua.server.address_space import AddressSpace

from opcua_model.library import ua
from opcua_model.points import Point, Reading, Spec, sample
from opcua_model.values import Values, data_value
from opcua_model.view import Look

YIELD_EVERY: Final = 200
POLLS_PER_CYCLE: Final = 5
LEAST_POLL_MS: Final = 5
RECONCILE_MS: Final = 1000
DEADBAND_RATIO: Final = 1e-5
"""A float is pushed when it moved by more than this part of its range: below any sensor's resolution."""


@dataclasses.dataclass(slots=True)
class Monitored:
    """A variable that at least one client monitors."""

    point: Point
    node: Any
    interval_ms: int
    due_ms: int = 0
    last: Reading | None = None


class Push:
    """Publishes the monitored variables. `watch` is told of every new monitored item, deletions are found by itself."""

    def __init__(self, aspace: AddressSpace, values: Values, site_index: int, cycle_ms: int) -> None:
        self.aspace, self.values, self.cycle_ms = aspace, values, cycle_ms
        self.site_index = site_index
        self.monitored: dict[str, Monitored] = {}
        self.pushed = 0
        self._wake = asyncio.Event()

    def sampling_ms(self, requested: float, publishing_ms: float) -> float:
        """The interval at which an item asked for at `requested` ms is sampled: never faster than the scan."""
        wanted = publishing_ms if requested < 0 else requested
        return float(max(wanted, self.cycle_ms)) if math.isfinite(wanted) else float(self.cycle_ms)

    def watch(self, node_id: Any, interval_ms: float) -> None:
        """A client monitors this variable's value; the fastest client sets its pace."""
        if node_id.NamespaceIndex != self.site_index:
            return
        point = self.values.variables.get(node_id.Identifier)
        if point is None:
            return
        found = self.monitored.get(node_id.Identifier)
        if found is None:
            self.monitored[node_id.Identifier] = Monitored(point, self.aspace[node_id], int(interval_ms))
        else:
            found.interval_ms = min(found.interval_ms, int(interval_ms))
        self._wake.set()

    def reconcile(self) -> None:
        """Forgets what nobody monitors any more; a lost session or deleted subscription tells nobody."""
        value = ua.AttributeIds.Value
        for path in [p for p, m in self.monitored.items() if not m.node.attributes[value].datachange_callbacks]:
            del self.monitored[path]
        if not self.monitored:
            self._wake.clear()

    async def run(self) -> None:
        """Samples on every new scan, and at least once per cycle so that ageing shows; sleeps while nobody listens."""
        poll_s = max(self.cycle_ms / POLLS_PER_CYCLE, LEAST_POLL_MS) / 1000
        ticked = reconciled = 0
        seen = -1
        while True:
            await self._wake.wait()
            now = self.values.clock.monotonic_ms()
            look = self.values.view.process()
            scan = look.image.system.scan if look.image is not None else -1
            if scan != seen or now - ticked >= self.cycle_ms:
                seen, ticked = scan, now
                await self.tick(now, look)
            if now - reconciled >= RECONCILE_MS:
                reconciled = now
                self.reconcile()
            await asyncio.sleep(poll_s)

    async def tick(self, now_ms: int, process: Look) -> None:
        """Samples what is due and pushes what changed."""
        looks = {"process": process, "": process}
        grace = self.cycle_ms // 2
        server_ms = self.values.clock.utc_ms()
        for count, (path, m) in enumerate(list(self.monitored.items())):
            if count % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
            if now_ms + grace < m.due_ms:
                continue
            m.due_ms = now_ms + m.interval_ms
            spec = m.point.spec
            look = looks.get(spec.source) or looks.setdefault(spec.source, self.values.look(spec.source))
            reading = sample(spec, look, m.point.index)
            if m.last is not None and not changed(spec, m.last, reading):
                continue
            m.last = reading
            self.pushed += len(m.node.attributes[ua.AttributeIds.Value].datachange_callbacks)
            await self.aspace.write_attribute_value(
                ua.NodeId(path, self.site_index), ua.AttributeIds.Value, data_value(spec, reading, server_ms)
            )


def changed(spec: Spec, old: Reading, new: Reading) -> bool:
    """True when a client must hear of it: another status, or a value that moved beyond the deadband."""
    if old.status != new.status:
        return True
    if old.value is None or new.value is None:
        return old.value is not new.value
    if spec.kind not in ("Float", "Double"):
        return bool(old.value != new.value)
    band = (spec.high - spec.low) * DEADBAND_RATIO if spec.low is not None and spec.high is not None else 0.0
    if not spec.array:
        return bool(abs(new.value - old.value) > band)
    before, after = np.asarray(old.value), np.asarray(new.value)
    if before.shape != after.shape:
        return True
    moved = np.abs(after - before) > band
    return bool((moved | (np.isnan(before) != np.isnan(after))).any())
