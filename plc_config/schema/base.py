"""Validation with positions: a pydantic model is checked against a document, and every error gets its line."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from plc_config.problem import ConfigError, Problem
from plc_config.strict_yaml import Document, Path_

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A mapping in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def check(model: type[Model], document: Document) -> Model:
    """The validated model; ConfigError with every error's position otherwise."""
    problems = list(document.problems)
    try:
        valid = model.model_validate(document.data)
    except ValidationError as error:
        doubtful = {(p.line, p.column) for p in problems}
        found = [_problem(model, document, e) for e in error.errors()]
        raise ConfigError(problems + [p for p in found if (p.line, p.column) not in doubtful]) from error
    if problems:
        raise ConfigError(problems)
    return valid


def _problem(model: type[BaseModel], document: Document, error: Any) -> Problem:
    path: Path_ = tuple(p for p in error["loc"] if _in_document(document, p))
    kind, what = error["type"], error["msg"].removeprefix("Value error, ")
    name = ".".join(str(p) for p in error["loc"])
    if kind == "extra_forbidden":
        line, column = document.where_key(path)
        known = _keys_at(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, 1)
        right = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}" if known else ""
        return Problem(document.file, line, column, f"unknown key {name!r}", right)
    if kind == "missing":
        return document.problem(path[:-1] if path in document.marks else path, f"{name!r} is missing")
    shown = f" (found {error['input']!r})" if not isinstance(error["input"], dict | list) else ""
    return document.problem(path, f"{name}: {what}{'' if kind == 'value_error' else shown}")


def _in_document(document: Document, part: Any) -> bool:
    return isinstance(part, int) or any(part in p for p in document.marks) or any(part in p for p in document.keys)


def _keys_at(model: type[BaseModel], path: Path_) -> list[str]:
    at: Any = model
    for part in path:
        if not (isinstance(at, type) and issubclass(at, BaseModel)):
            break
        field = at.model_fields.get(str(part))
        if field is None:
            return []
        at = _inner(field.annotation)
    if isinstance(at, type) and issubclass(at, BaseModel):
        return sorted(f.alias or n for n, f in at.model_fields.items())
    return []


def _inner(annotation: Any) -> Any:
    for candidate in getattr(annotation, "__args__", ()):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return annotation
