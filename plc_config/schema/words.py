"""What pydantic finds wrong, in the words of somebody who writes a site file: what is wrong, what would be right."""

from __future__ import annotations

import re
from typing import Any, Final

from plc_config.quantity import NUMBER, unit_of

WANTED: Final = {
    "string_type": ("a text is wanted", ""),
    "int_type": ("a whole number is wanted", ""),
    "int_from_float": ("a whole number is wanted", ""),
    "float_type": ("a number is wanted", ""),
    "bool_type": ("true or false is wanted", ""),
    "list_type": ("a list is wanted", "write it like [1, 2]"),
    "dict_type": ("keys with values are wanted", "write it like {key: value}"),
    "model_type": ("keys with values are wanted", "write it like {key: value}"),
}
FORM: Final = "small letters, digits and '-', like north-1"
"""What every pattern of the schemas asks for, for those who do not read patterns."""
BOUNDS: Final = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def in_words(error: Any, written: Any) -> tuple[str, str]:
    """(what is wrong, what would be right) for an error of pydantic; `written` is what stands in the file there."""
    kind, context = error["type"], error.get("ctx", {})
    found = "" if isinstance(written, dict | list) else f", not {'nothing' if written is None else repr(written)}"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, "), ""
    if kind in WANTED:
        what, right = WANTED[kind]
        return what + found, right
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return f"{written!r} is out of range", f"{words} {_bound(context[key], written)}"
    if kind == "literal_error":
        known = [part.strip("'") for part in re.split(r", | or ", context["expected"])]
        return f"{' or '.join([', '.join(known[:-1]), known[-1]] if known[1:] else known)} is wanted{found}", ""
    if kind == "union_tag_invalid":
        return f"no {context['discriminator'].strip(chr(39))} {context['tag']!r}", f"one of {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"{context['discriminator']} is missing", ""
    if kind == "string_pattern_mismatch":
        return f"{written!r} is not of the form {context['pattern']}", FORM
    return error["msg"] + (f" (found {written!r})" if found else ""), ""


def _bound(bound: float, written: Any) -> str:
    """A bound in the unit in which values of what is written are kept; of a part in percent."""
    match = NUMBER.match(written) if isinstance(written, str) else None
    unit = unit_of(match.group(2)) if match else None
    if unit is None:
        return f"{bound:.10g}"
    return f"{100 * bound:g} %" if unit[0] == "ratio" else f"{bound:.10g} {unit[0]}"
