"""Retained state, read: all sources merged, and the worse one wins. A latch that any of them knows is in force."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from controller.core.layout import Layout
from controller.core.retained import Retained, worse
from controller.historian.carry import carried
from controller.historian.database import Corrupt, check, connect_readonly
from controller.historian.retained import DATABASE, SLOT_FILE, Catalog
from controller.historian.slots import Stored, read_slots


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """What could be read. source: which stores it comes from; problems: what a person should know; doubtful: the
    copies disagreed, or one of them was missing or damaged."""

    retained: Retained | None
    source: str
    problems: list[str]
    doubtful: bool = False


def load(
    folder: Path,
    layout: Layout[Retained],
    program_digest: int,
    image: Retained | None = None,
    names: Sequence[str] = (),
) -> Loaded:
    """The retained state of all sources merged, the worse winning; None when every one of them is lost.

    image: what still lies in shared memory, the newest of all. names: the slot catalogue of the program that will
    run (`Catalog.of(program).names`); with it latches of another program are carried over by name.
    """
    known = _read_database(folder / DATABASE)
    slots, slot_problems = read_slots(folder / SLOT_FILE)
    problems = known.problems + slot_problems
    rows, doubtful = known.rows, bool(problems)
    reader = _Reader(layout, program_digest, tuple(names), known)
    found: list[tuple[int, str, Retained]] = []
    for source, candidates in ((DATABASE, rows), (SLOT_FILE, slots)):
        for stored in candidates[:1]:
            retained = reader.understand(stored, source)
            if retained is not None:
                found.append((stored.sequence, source, retained))
    if image is not None:
        kept = reader.translate(image, layout, "shared memory")
        if kept is not None:
            found.append((max([0, *(f[0] for f in found)]) + 1, "shared memory", kept))
    problems += reader.problems
    for source in {DATABASE, SLOT_FILE} - {f[1] for f in found}:
        doubtful = True
        if found:
            problems.append(f"{source} holds no usable copy of the retained state")
    if not found:
        problems.append("no retained state: latches, counters and charge from before are unknown")
        return Loaded(None, "none", problems, doubtful)
    found.sort(key=lambda f: -f[0])
    merged = found[0][2]
    for _, source, other in found[1:]:
        if not np.array_equal(merged.latched, other.latched) or merged.emergency_stop != other.emergency_stop:
            problems.append(f"{found[0][1]} and {source} disagree about latches: every latch of both is in force")
            doubtful = True
        merged = worse(merged, other)
    return Loaded(merged, " + ".join(f[1] for f in found), problems, doubtful)


@dataclasses.dataclass(slots=True)
class _Known:
    """Contents of the database: valid rows, newest first, catalogues by program, layouts by digest, problems."""

    rows: list[Stored] = dataclasses.field(default_factory=list)
    catalogs: dict[int, Catalog] = dataclasses.field(default_factory=dict)
    layouts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)


def _read_database(path: Path) -> _Known:
    known = _Known()
    if not path.exists():
        return known
    try:
        with closing(connect_readonly(path)) as db:
            check(db)
            for program, dims, names in db.execute("SELECT program, dims, names FROM catalog").fetchall():
                known.catalogs[int(program)] = Catalog(int(program), json.loads(dims), tuple(json.loads(names)))
            if db["layouts"].exists():
                for digest, fields in db.execute("SELECT digest, fields FROM layouts").fetchall():
                    known.layouts[str(digest)] = json.loads(fields)
            for sequence, utc_ms, program, layout, crc, blob in db.execute(
                "SELECT sequence, utc_ms, program, layout, crc, blob FROM retained ORDER BY sequence DESC"
            ).fetchall():
                stored = Stored(int(sequence), int(utc_ms), int(program), str(layout), bytes(blob))
                if stored.crc() == int(crc):
                    known.rows.append(stored)
                else:
                    known.problems.append(f"{path.name}: the row of sequence {sequence} is damaged")
    except (sqlite3.Error, Corrupt, ValueError, TypeError) as error:
        known.problems.append(f"{path.name} cannot be read: {error}")
    return known


class _Reader:
    """Turns stored bytes of any known program into a retained image of the program that will run."""

    def __init__(self, layout: Layout[Retained], program: int, names: tuple[str, ...], known: _Known) -> None:
        self.layout, self.program, self.names = layout, program, names
        self.catalogs, self.layouts = known.catalogs, known.layouts
        self.problems: list[str] = []

    def understand(self, stored: Stored, source: str) -> Retained | None:
        """The image in `stored`, or None with a problem told."""
        layout = self.layout
        if stored.layout != layout.digest:
            catalog = self.catalogs.get(stored.program)
            if catalog is None:
                self.problems.append(f"{source}: written by another program whose catalogue is lost; not used")
                return None
            layout = Layout(Retained, {**self.layout.dims, **catalog.dims})
            if stored.layout != layout.digest:
                return self._other_version(stored, layout, source)
        if len(stored.blob) != layout.size:
            self.problems.append(f"{source}: has the wrong length; not used")
            return None
        return self.translate(layout.view(np.frombuffer(stored.blob, np.uint8).copy()), layout, source)

    def _other_version(self, stored: Stored, layout: Layout[Retained], source: str) -> Retained | None:
        """By the names of the fields, when the database says how that version laid them out."""
        described = self.layouts.get(stored.layout)
        if described is None:
            self.problems.append(f"{source}: written by another version of the controller; not used")
            return None
        try:
            old = layout.adopt(stored.blob, described)
        except (ValueError, TypeError) as error:
            self.problems.append(f"{source}: written by another version of the controller, unreadable: {error}")
            return None
        self.problems.append(f"{source}: written by another version of the controller; its fields are carried over")
        return self.translate(old, layout, source)

    def translate(self, old: Retained, layout: Layout[Retained], source: str) -> Retained | None:
        """The same state with the slots and racks of the program that will run."""
        if old.program == self.program and layout.digest == self.layout.digest:
            return old
        catalog = self.catalogs.get(old.program)
        if catalog is None or not self.names or len(catalog.names) != len(old.latched):
            self.problems.append(f"{source}: its slots belong to another program and cannot be named; not used")
            return None
        found = carried(old, catalog.names, self.layout, self.names, self.program)
        self.problems += [f"{source}: {lost}" for lost in found.lost]
        return found.retained
