"""The chain of models that a simulated SunSpec device shows: marker, id and length of every model, and the end."""

from __future__ import annotations

from plc_config.schema.profile import Profile
from plc_config.sunspec import COMMON, END, MARKER, Definition, definitions

CELLS_MODEL = 805
MAKER_AT, MODEL_AT, TEXT_REGISTERS = 2, 18, 16
"""Of the common model: registers from its id, and length of either text."""


def sunspec_heads(profile: Profile, places: int, cells: int) -> dict[int, tuple[int, ...]]:
    """Registers by address: what a walk over the device reads. Empty where the profile names no models."""
    if not profile.models:
        return {}
    known = definitions().models
    start = next(a for name, a in profile.bases.items() if name not in profile.models)
    heads: dict[int, tuple[int, ...]] = {start: (int.from_bytes(MARKER[:2], "big"), int.from_bytes(MARKER[2:], "big"))}
    models = sorted((profile.bases[name], number) for name, number in profile.models.items())
    for (address, number), (after, _) in zip(models, [*models[1:], (-1, 0)], strict=True):
        length = after - address - 2 if after >= 0 else _length(known[str(number)], number, places, cells)
        heads[address] = (number, length)
        if after < 0:
            heads[address + 2 + length] = (END, 0)
    common = next((a for a, number in models if number == COMMON), None)
    if common is not None:
        for offset, text in ((MAKER_AT, "Cellwarden simulator"), (MODEL_AT, profile.profile)):
            heads[common + offset] = _text(text)
    if profile.repeat is not None and profile.repeat.count_register is not None:
        heads[profile.at(profile.repeat.count_register)] = (places,)
    return heads


def _text(text: str) -> tuple[int, ...]:
    data = text.encode("ascii").ljust(2 * TEXT_REGISTERS, b"\0")
    return tuple(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))


def _length(model: Definition, number: int, places: int, cells: int) -> int:
    """Length of the last model, whose group repeats with the places or the cells."""
    groups = cells if number == CELLS_MODEL else places
    return (model.length or 0) + (model.group or 0) * groups
