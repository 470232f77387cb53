"""Runs a transition table with `transitions`: the first move whose source and guards match wins.

This is the only import of `transitions`. Guards are names of boolean attributes of the view; there are no
callbacks, and the mode lives in the memory: a machine is told where it stands before every step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Seq
from enum import IntEnum
from typing import Any, Generic, TypeVar

from transitions import Machine

Mode = TypeVar("Mode", bound=IntEnum)


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """From any of `source` to `to` when all of `when` and none of `unless` hold; `because` is told to people."""

    source: tuple[IntEnum, ...]
    to: IntEnum
    when: tuple[str, ...]
    because: str
    unless: tuple[str, ...] = ()

    def applies(self, view: Any) -> bool:
        """The view's guards permit the move."""
        for guard in self.when:
            if not getattr(view, guard):
                return False
        return not any([getattr(view, guard) for guard in self.unless])


class Sequence(Generic[Mode]):
    """A table of moves. The order of moves is their priority: safe moves stand first."""

    def __init__(self, modes: type[Mode], moves: Seq[Move]) -> None:
        self.modes = modes
        self.moves = tuple(moves)
        self._from = {m: tuple(move for move in self.moves if m in move.source) for m in modes}
        self._machine = Machine(
            model=None,
            states=[m.name for m in modes],
            initial=modes(0).name,
            auto_transitions=False,
            ignore_invalid_triggers=True,
        )
        for move in moves:
            for source in move.source:
                self._machine.add_transition(
                    "step", source.name, move.to.name, conditions=list(move.when), unless=list(move.unless)
                )

    def attach(self, view: Any) -> None:
        """Make `view` a model of this machine; its guards are read at every step."""
        self._machine.add_model(view, initial=self.modes(0).name)

    def step(self, mode: Mode, view: Any) -> tuple[Mode, Move | None]:
        """The next mode and the move that led there, or the same mode and None."""
        # Most steps lead nowhere, and a look at the guards is far cheaper than the machine's own.
        chosen = next((move for move in self._from[mode] if move.applies(view)), None)
        if chosen is None:
            return mode, None
        view.state = mode.name
        view.step()
        return self.modes[view.state], chosen

    def diagram(self, title: str) -> str:
        """The table as a Mermaid state diagram: one arrow per pair of modes, its reasons by priority."""
        arrows: dict[tuple[str, str], list[str]] = {}
        for move in self.moves:
            for source in move.source:
                arrows.setdefault((source.name, move.to.name), []).append(move.because)
        lines = ["stateDiagram-v2", f"    %% {title}", f"    [*] --> {self.modes(0).name}"]
        # A colon or semicolon would end the label.
        lines += [f"    {a} --> {b}: {' / '.join(r).replace(':', ',')}" for (a, b), r in arrows.items()]
        return "\n".join(lines) + "\n"

    def listing(self) -> str:
        """The table as Markdown, in order of priority: the first line that applies is taken."""
        lines = ["| # | from | to | when | unless | told as |", "|---|---|---|---|---|---|"]
        for number, m in enumerate(self.moves, 1):
            sources = ", ".join(s.name for s in m.source)
            cells = (str(number), sources, m.to.name, " and ".join(m.when), " or ".join(m.unless), m.because)
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"
