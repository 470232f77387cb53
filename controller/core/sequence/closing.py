"""Racks that close by themselves: one command starts the device's own precharge, and its own feedback ends it.

The controller watches instead of doing: a rack is closed only when its main feedback says so with good data and, where
a link voltage is measured, link and rack have met. Bad data is never a finished precharge; time runs out instead.
"""

from __future__ import annotations

import numpy as np

from controller.core.field_image import Points
from controller.core.signal import NOT_FITTED, USABLE, Bools, Floats, Quality, among, some
from controller.core.topology import Topology


def joined_voltage(topology: Topology, points: Points, joined: Bools) -> tuple[Floats, Bools]:
    """The DC link's voltage at every rack, and where it is known.

    A rack without a link measurement of its own takes the mean voltage of the racks that are already joined.
    """
    link, rack = points.rack_link_voltage_v, points.rack_voltage_v
    own, usable = link.value, link.quality <= USABLE
    if not some(topology.self_precharging):
        return own, usable
    bank_of, banks = topology.rack_bank, topology.banks
    counts = joined & (rack.quality <= USABLE)
    members = np.bincount(bank_of, counts, banks)
    mean = np.bincount(bank_of, np.where(counts, rack.value, 0.0), banks) / np.maximum(members, 1.0)
    absent = topology.self_precharging & (link.quality == NOT_FITTED)
    value = np.where(absent, mean[bank_of], own)
    return np.asarray(value), np.asarray(np.where(absent, members[bank_of] > 0, usable))


def may_start(topology: Topology, points: Points, live: Bools) -> Bools:
    """Racks whose link need not be known before they start: theirs is not measured, and no other rack feeds it."""
    unmeasured = points.rack_link_voltage_v.quality == NOT_FITTED
    return np.asarray(topology.self_precharging & unmeasured & ~live)


def closed_by_itself(topology: Topology, points: Points, close_enough: Bools) -> Bools:
    """Racks whose own controller has finished: main seen closed with good data, and the voltages agree if measured."""
    main = points.rack_main_closed
    seen = among(main.quality, Quality.GOOD) & (main.value >= 0.5)
    unmeasured = points.rack_link_voltage_v.quality == NOT_FITTED
    data = points.rack_voltage_v.quality <= USABLE
    return np.asarray(topology.self_precharging & seen & data & (close_enough | unmeasured))
