"""SunSpec: what a device's chain of models makes of a profile whose addresses are relative to models.

A profile says under `models` which model lies at which of its bases. The addresses in its file are only where the
simulator and the checker put them; in operation the chain that was read from the device decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from plc_config import library
from plc_config.schema.base import Strict, check
from plc_config.schema.profile import Profile
from plc_config.strict_yaml import load

NAME: Final = "sunspec"
"""The profile's name with which a device is chosen by its own models."""

MARKER: Final = b"SunS"
MARKER_AT: Final = (40000, 50000, 0)
END: Final = 0xFFFF
COMMON: Final = 1
MAX_MODELS: Final = 100
VENDOR: Final = 64000
"""Models from this number on are makers' own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """One model of a device: its number, where its id lies, and its length after id and length."""

    id: int
    address: int
    length: int

    @property
    def name(self) -> str:
        """What the model is about."""
        known = definitions().models.get(str(self.id))
        return known.name if known else "vendor's own" if self.id >= VENDOR else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """All models of one device, in their order; `base` is where the marker lies."""

    base: int
    models: tuple[Model, ...]

    def first(self, number: int) -> Model | None:
        """The first model of a number."""
        return next((m for m in self.models if m.id == number), None)

    def bases(self) -> dict[str, int]:
        """Names for the `bases` of a profile: where each model begins."""
        named: dict[str, int] = {}
        for model in self.models:
            name = "common" if model.id == COMMON else f"m{model.id}"
            count = sum(n == name or n.startswith(f"{name}_") for n in named)
            named[f"{name}_{count + 1}" if count else name] = model.address
        return named


Chains = Mapping[tuple[str, int], Chain]
"""What was read from devices, by bus and unit id."""


class Definition(Strict):
    """What is known of one model."""

    name: str
    length: Annotated[int, Field(ge=1, le=65535)] | None = None
    shortest: Annotated[int, Field(ge=1, le=65535)] | None = None
    group: Annotated[int, Field(ge=1, le=1000)] | None = None

    def fits(self, length: int) -> bool:
        """A device's length is one that this edition of the model can have."""
        if self.length is None:
            return True
        least = self.shortest or self.length
        if self.group is None:
            return least <= length <= self.length
        return length >= least and (length - least) % self.group == 0


class Definitions(Strict):
    """The file of models."""

    models: dict[str, Definition]
    converters: list[str]
    batteries: list[str]


@cache
def definitions() -> Definitions:
    """What is known of models, from `data/sunspec/models.yaml`."""
    return check(Definitions, load(library.DATA / "sunspec" / "models.yaml"))


class NoFit(ValueError):
    """No profile fits the models of a device; the message says which are missing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Want:
    """What a site expects behind one unit: places of a repeating profile, and elements of a row."""

    places: int = 1
    elements: int = 1


def relocated(profile: Profile, chain: Chain, want: Want) -> Profile:
    """The profile with its bases where this device has its models; NoFit when a point's or output's model is not there.

    Vendor registers of models that the device lacks are left out.
    """
    bases, lacking = dict(profile.bases), dict[str, str]()
    bases |= {name: chain.base for name in profile.bases if name not in profile.models}
    for name, number in profile.models.items():
        model, known = chain.first(number), definitions().models.get(str(number))
        if model is None:
            lacking[name] = f"model {number} is not there"
        elif known is not None and not known.fits(model.length):
            lacking[name] = f"model {number} has the length {model.length}, not that of the edition known here"
        else:
            bases[name] = model.address
    groups = {group: getattr(profile, group) for group in ("points", "outputs", "constants", "extras")}
    kept: dict[str, Any] = {}
    for group, entries in groups.items():
        kept[group] = {}
        for name, entry in entries.items():
            missing = [lacking[b] for b in _bases_of(entry) if b in lacking]
            missing += [w for w in (_beyond(profile, chain, piece, want) for piece in _with_ratings(entry)) if w]
            if not missing:
                kept[group][name] = entry
            elif group != "extras" and not _may_lack(entry):
                raise NoFit(f"{profile.profile}: {group}.{name}: {missing[0]}")
    return profile.model_copy(update={**kept, "bases": bases})


def _pieces(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]


def _with_ratings(entry: Any) -> list[Any]:
    pieces = _pieces(entry)
    return pieces + [p.rating for p in pieces if getattr(p, "rating", None) is not None]


def _may_lack(entry: Any) -> bool:
    return all(getattr(piece, "optional", False) for piece in _pieces(entry))


def _bases_of(entry: Any) -> list[str]:
    keys = ("address", "scale_register", "count_register")
    found = [getattr(piece, key, None) for piece in _with_ratings(entry) for key in keys]
    return [a.partition("+")[0] for a in found if isinstance(a, str)]


def _beyond(profile: Profile, chain: Chain, piece: Any, want: Want) -> str:
    """Why an entry lies beyond the end of its model in this device; empty when it does not."""
    if not isinstance(piece.address, str):
        return ""
    base, _, offset = piece.address.partition("+")
    model = chain.first(profile.models[base]) if base in profile.models else None
    if model is None:
        return ""
    last = int(offset, 0)
    known = definitions().models.get(str(model.id))
    if known is not None and known.group is not None and known.length is not None and last >= known.length + 2:
        # The entry lies in the repeated part: the last place and the last element count.
        repeats = profile.repeat is not None and not getattr(piece, "once", True)
        last += (want.places - 1) * profile.repeat.stride if repeats and profile.repeat else 0
        last += piece.span(piece.elements(want.elements)) - 1 if hasattr(piece, "span") else 0
    if last < model.length + 2:
        return ""
    return f"model {model.id} ends at its register {model.length + 1}, before {last}"


def candidates(place: str, series_cells: int | None) -> list[str]:
    """Profiles that a device with `profile: sunspec` may be, by its place; the first stands in until it is read.

    A battery that names `series_cells` reports extremes (803, 804), another one reports every cell (805).
    """
    known = definitions()
    if place.startswith("P"):
        return known.converters
    if series_cells is None:
        return [n for n in known.batteries if n == "sunspec-805"]
    several = "/M" in place and not place.endswith("/M01")
    return sorted((n for n in known.batteries if n != "sunspec-805"), key=lambda n: (n == "sunspec-804") != several)


def choose(names: Sequence[str], chain: Chain, want: Want, beside: Path | None) -> Profile:
    """The first of these profiles that fits the chain, relocated to it; NoFit says why each does not."""
    reasons = []
    for name in names:
        path = library.find("profiles", name, beside)
        if path is None:
            continue
        try:
            return relocated(library.profile_at(path)[0], chain, want)
        except NoFit as error:
            reasons.append(str(error))
    raise NoFit("; ".join(reasons) or "no profile to try")
