"""The question every buyer of power asks: this power for this time - yes or no, how surely, and what ends it?

A pure function of what the outlook publishes, so that controller, command line and panel give the same answer.
Power holds for the first quarter of an hour or the time asked for; from then on the energy decides, less what the
higher current loses as heat and leaves behind.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

from controller.core.estimate import energy
from controller.core.outlook import CAUSES, HORIZONS, PCS, SitePower

SURE: Final = 0.95
"""Probability from which the answer is yes."""
SIGMAS_KEPT: Final = 3.0
"""Standard deviations by which the published power lies below the likely one."""
LEAST_SIGMA: Final = 1e-3
"""Of the value, so that no promise is ever quite certain."""
DIGITS: Final = 3
FASTER: Final = ("half_c", "three_quarters_c", "1c")
"""Rates beside the reference whose energy is published, as the variables name them."""
CELL_ENDS: Final = ("cell empty", "cell full")


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What the site can do in one direction: power per horizon of `HORIZONS`, and energy.

    limited_by, places: cause (text) and limiting cell (text or number) per horizon. permitted_w: what the controller's
    limits let through now.
    """

    charge: bool
    power_w: tuple[float, ...]
    power_sigma_w: tuple[float, ...]
    limited_by: tuple[str, ...]
    places: tuple[Any, ...]
    energy_wh: float
    energy_sigma_wh: float
    energy_place: Any
    reference_w: float
    loss_ratio: float
    permitted_w: float
    known: bool
    faster_wh: tuple[float, ...] = ()
    """Energy at the multiples `energy.FASTER` of the reference power; none: only the heat is taken off."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """yes: the probability reaches what was asked for. limited_by and place name what would end it first."""

    yes: bool
    probability: float
    power_w: float
    hours: float
    limited_by: str
    place: Any
    energy_needed_wh: float
    energy_wh: float
    most_power_w: float
    most_hours: float
    permitted_w: float


def offer_of(estimates: Any, charge: bool, permitted_w: float) -> Offer:
    """The offer in one direction from `image.Estimates`; places are flat indexes of cells."""
    o, name = estimates.outlook, "charge" if charge else "discharge"
    power: SitePower = o.site_power

    def each(what: str) -> tuple[Any, ...]:
        return tuple(getattr(power, f"{name}_power_{h}_{what}") for h, _ in HORIZONS)

    return Offer(
        charge, each("w"), each("sigma_w"), tuple(CAUSES[c] for c in each("limited_by")), each("place"),
        getattr(estimates, f"{name}_energy_wh"), getattr(o.site_energy, f"{name}_energy_sigma_wh"),
        getattr(o.site_energy, f"{name}_energy_place"), o.site_energy.energy_reference_power_w,
        o.site_energy.energy_loss_ratio, permitted_w, bool(estimates.soc_valid),
        () if charge else tuple(getattr(o.site_energy, f"discharge_energy_{rate}_wh") for rate in FASTER),
    )  # fmt: skip


def deliver(offer: Offer, power_w: float, hours: float, sure: float = SURE) -> Answer:
    """Whether `power_w` (a magnitude, > 0) holds for `hours` (> 0) in the direction of the offer."""
    at = next((k for k, (_, seconds) in enumerate(HORIZONS) if hours * 3600.0 <= seconds), len(HORIZONS) - 1)
    need, have = power_w * hours, energy_at(offer, power_w)
    by_power = round(_power_holds(offer, at, power_w), DIGITS)
    # Rounded, so that of two near certainties the one with less room is named.
    by_energy = round(_normal((have - need) / max(offer.energy_sigma_wh, LEAST_SIGMA * have, 1e-9)), DIGITS)
    probability = min(by_power, by_energy) if offer.known else 0.0
    cause, place = (offer.limited_by[at], offer.places[at])
    if (by_energy, have / need) < (by_power, (offer.power_w[at] + SIGMAS_KEPT * offer.power_sigma_w[at]) / power_w):
        cause, place = CELL_ENDS[offer.charge], offer.energy_place
    if not offer.known:
        cause, place = CAUSES[0], ""
    k = _quantile(sure)
    kept = max(have - k * offer.energy_sigma_wh, 0.0)
    fits = power_w <= offer.power_w[at]
    return Answer(
        yes=probability >= sure, probability=probability, power_w=power_w, hours=hours, limited_by=cause, place=place,
        energy_needed_wh=need, energy_wh=have, most_power_w=_most_power(offer, at, hours, k),
        most_hours=kept / power_w if fits else 0.0, permitted_w=offer.permitted_w,
    )  # fmt: skip


def energy_at(offer: Offer, power_w: float) -> float:
    """Energy at the terminals at `power_w`: what is told at the reference power, less what a higher one costs."""
    if offer.reference_w <= 0:
        return offer.energy_wh
    if offer.faster_wh:
        return energy.energy_at(power_w, offer.reference_w, (offer.energy_wh, *offer.faster_wh))
    sign = 1.0 if offer.charge else -1.0
    told, asked = 1.0 + sign * offer.loss_ratio, 1.0 + sign * offer.loss_ratio * power_w / offer.reference_w
    return max(offer.energy_wh * asked / told, 0.0)


def _power_holds(offer: Offer, at: int, power_w: float) -> float:
    """Probability that the power itself can be given; ratings are certain."""
    published, sigma = offer.power_w[at], offer.power_sigma_w[at]
    if offer.limited_by[at] == CAUSES[PCS] and power_w > published * (1 + LEAST_SIGMA):
        return 0.0
    likely = published + SIGMAS_KEPT * sigma
    return _normal((likely - power_w) / max(sigma, LEAST_SIGMA * published / SIGMAS_KEPT, 1e-9))


def _most_power(offer: Offer, at: int, hours: float, k: float) -> float:
    """The most power for `hours` with k sigma kept: losses grow with it, so by halving."""
    low, high = 0.0, offer.power_w[at]
    for _ in range(40):
        middle = 0.5 * (low + high)
        if middle * hours <= energy_at(offer, middle) - k * offer.energy_sigma_wh:
            low = middle
        else:
            high = middle
    return low


def _normal(z: float) -> float:
    """Share of a normal distribution below z."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def _quantile(share: float) -> float:
    """The z below which `share` of a normal distribution lies."""
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _normal(middle) < share else (low, middle)
    return low
