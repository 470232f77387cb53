"""Validation with positions: a pydantic model is checked against a document, and every error gets its line."""

from __future__ import annotations

import copy
import difflib
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from plc_config.problem import ConfigError, Problem
from plc_config.schema.words import in_words
from plc_config.strict_yaml import Document, Path_

Model = TypeVar("Model", bound=BaseModel)
MOST_LEFT_OUT = 20
"""Rounds in which wrong entries are left out; what is still wrong then is not worth more."""


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


def salvage(model: type[Model], document: Document, least_depth: int = 2) -> Model | None:
    """A document without the entries that are wrong, so that the rest can be judged too; None where nothing is left.

    Only entries at least `least_depth` keys deep are left out: without a whole section nothing true could be said.
    """
    data = copy.deepcopy(document.data)
    for _ in range(MOST_LEFT_OUT):
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for found in error.errors():
                path = _path(document, found["loc"])[:least_depth]
                if len(path) < least_depth or not _leave_out(data, path):
                    return None
    return None


def _leave_out(data: Any, path: Path_) -> bool:
    """Remove the entry at `path`; True also when it is gone already."""
    for part in path[:-1]:
        if not isinstance(data, dict) or part not in data:
            return True
        data = data[part]
    if not isinstance(data, dict):
        return False
    data.pop(path[-1], None)
    return True


def _problem(model: type[BaseModel], document: Document, error: Any) -> Problem:
    kind, path = error["type"], _path(document, error["loc"])
    name = ".".join(str(p) for p in path)
    if kind == "extra_forbidden":
        line, column = document.where_key(path)
        known = _keys_at(model, path[:-1], error["loc"])
        near = difflib.get_close_matches(str(path[-1]), known, 1)
        right = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}" if known else ""
        return Problem(document.file, line, column, f"unknown key {name!r}", right)
    if kind == "missing":
        return document.problem(path, f"{'.'.join(str(p) for p in (*path, error['loc'][-1]))!r} is missing")
    what, right = in_words(error, _value(document, path))
    return document.problem(path, f"{name}: {what}" if name else what, right)


def _path(document: Document, loc: Path_) -> Path_:
    """The parts of an error's place that stand in the file; the rest name a form of a union, or a missing key."""
    path: Path_ = ()
    for part in loc:
        at = _value(document, path)
        if part in at if isinstance(at, dict) else isinstance(at, list) and isinstance(part, int) and part < len(at):
            path = (*path, part)
    return path


def _value(document: Document, path: Path_) -> Any:
    value = document.data
    for part in path:
        value = value[part]
    return value


def _keys_at(model: type[BaseModel], path: Path_, loc: Path_) -> list[str]:
    """Keys that may stand at a path; in a mapping of named entries every entry has the same.

    Of a union only the form that `loc` names, where it names one by its `kind`.
    """
    at: Any = model
    for part in path:
        models = _models_in(at)
        field = next((m.model_fields[str(part)] for m in models if str(part) in m.model_fields), None)
        if field is not None:
            at = field.annotation
        elif get_origin(at) not in (dict, list):
            return []
        else:
            at = get_args(at)[-1]
    models = _models_in(at)
    named = [
        m
        for m in models
        if "kind" in m.model_fields and get_args(m.model_fields["kind"].annotation)[:1] == loc[len(path) :][:1]
    ]
    return sorted({f.alias or n for m in named or models for n, f in m.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a value of this annotation may be; a union may have several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (dict, list):
        return []
    return [m for part in get_args(annotation) for m in _models_in(part)]
