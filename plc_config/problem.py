"""A complaint about a configuration file that a person can act on."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One error or warning: file, line and column (from 1), what is wrong, what would be right."""

    file: str
    line: int
    column: int
    what: str
    right: str = ""

    def __str__(self) -> str:
        tail = f"; {self.right}" if self.right else ""
        return f"{self.file}:{self.line}:{self.column}: {self.what}{tail}"


class ConfigError(Exception):
    """Everything that is wrong with a configuration, at once, in the order of the files."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(p) for p in self.problems))
