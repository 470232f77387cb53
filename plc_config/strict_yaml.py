"""YAML without surprises: no duplicate keys, no yes/no booleans, no octal numbers, and a position for every node."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, Final

import yaml

from plc_config.problem import ConfigError, Problem

Path_ = tuple[str | int, ...]
Mark = tuple[int, int]

INT: Final = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
HEX: Final = re.compile(r"^0x[0-9a-fA-F]+$")
FLOAT: Final = re.compile(r"^[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?$")
LEADING_ZERO: Final = re.compile(r"^[-+]?0[0-9]+$")
WRONG_BOOLEANS: Final = {"yes", "no", "on", "off", "y", "n"}
MAX_BYTES: Final = 4_000_000
CURES: Final = {
    "mapping values are not allowed": "quote a text that contains ': ', or indent keys of one block alike",
    "did not find expected key": "indent keys of one block alike, and close each bracket once",
    "did not find expected '-'": "a list and keys do not stand side by side in one block",
    "cannot start any token": "quote a text that begins with @, %, ` or a comma",
    "found another document": "one document in a file: remove the line ---",
}
"""What would be right, by what the YAML reader says."""
OPENED: Final = {"while parsing a flow mapping": "{", "while parsing a flow sequence": "[",
                 "while scanning a quoted scalar": "quote"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Document:
    """Plain data, and where each value and each key of it stands in the file (line and column from 1).

    `problems`: duplicate keys and doubtful scalars; a document with any must not be used.
    """

    file: str
    data: Any
    marks: dict[Path_, Mark]
    keys: dict[Path_, Mark]
    problems: tuple[Problem, ...] = ()

    def where(self, path: Path_) -> Mark:
        """The position of a value, or of the nearest thing around it."""
        while path:
            if path in self.marks:
                return self.marks[path]
            path = path[:-1]
        return self.marks.get((), (1, 1))

    def where_key(self, path: Path_) -> Mark:
        """The position of a key, else of its value."""
        return self.keys.get(path) or self.where(path)

    def problem(self, path: Path_, what: str, right: str = "") -> Problem:
        """A complaint about the value at `path`."""
        return Problem(self.file, *self.where(path), what, right)


def load(path: Path) -> Document:
    """Read a file; ConfigError when it cannot be read at all, `problems` of the document for the rest."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem(str(path), 1, 1, "the file is too large", f"at most {MAX_BYTES} bytes")])
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), 1, 1, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start].rpartition(b"\n")
        line, column = before[0].count(b"\n") + len(before[1]) + 1, len(before[2]) + 1
        what = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise ConfigError([Problem(str(path), line, column, what, "save the file as UTF-8")]) from error
    return loads(text, str(path))


def loads(text: str, file: str = "<text>") -> Document:
    """As `load`, from text."""
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if mark and text.splitlines()[mark.line : mark.line + 1] and "\t" in text.splitlines()[mark.line][:column]:
            raise ConfigError([Problem(file, line, column, "a tab cannot indent YAML", "write spaces")]) from error
        raise ConfigError([Problem(file, line, column, f"not valid YAML: {error.problem}", _cure(error))]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Problem(file, 1, 1, f"not valid YAML: {error}")]) from error
    if node is None:
        raise ConfigError([Problem(file, 1, 1, "the file is empty")])
    reader = _Reader(file)
    data = reader.build(node, ())
    return Document(file, data, reader.marks, reader.keys, tuple(reader.problems))


def _cure(error: yaml.MarkedYAMLError) -> str:
    """What would be right where the reader stopped; it stops behind a bracket that was never closed."""
    opened, mark = OPENED.get(str(error.context)), error.context_mark
    if opened is not None and mark is not None:
        return f"close the {opened} that opens at line {mark.line + 1}, column {mark.column + 1}"
    return next((cure for said, cure in CURES.items() if said in str(error.problem)), "")


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.marks: dict[Path_, Mark] = {}
        self.keys: dict[Path_, Mark] = {}
        self.open: set[int] = set()

    def complain(self, node: yaml.Node, what: str, right: str = "") -> None:
        mark = node.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, what, right))

    def build(self, node: yaml.Node, path: Path_) -> Any:
        self.marks[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if id(node) in self.open:
            self.complain(node, "an alias that contains itself", "write the value out")
            return None
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
            return self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.complain(key_node, "a key must be a single word")
                continue
            key = key_node.value
            if key == "<<":
                self.complain(key_node, "merge keys are not supported", "write the keys out")
                continue
            if key in result:
                first = self.keys[(*path, key)]
                self.complain(key_node, f"duplicate key {key!r}", f"it stands first at line {first[0]}")
                continue
            self.keys[(*path, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            result[key] = self.build(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = node.value
        if node.style in ("'", '"', "|", ">"):
            return text
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if text.lower() in WRONG_BOOLEANS or text in ("True", "False", "TRUE", "FALSE"):
            self.complain(node, f"{text!r} is ambiguous", "write true or false, or quote the word")
            return None
        if LEADING_ZERO.match(text):
            self.complain(node, f"{text!r} has a leading zero", "write the number without it, or quote it")
            return None
        if INT.match(text):
            return int(text)
        if HEX.match(text):
            return int(text, 16)
        if FLOAT.match(text):
            return float(text)
        return text
