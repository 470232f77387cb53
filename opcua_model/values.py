"""From a reading to what goes on the wire: DataValue with status and source time; reads go straight to the image."""

from __future__ import annotations

import datetime
from typing import Any, Final

from opcua_model.library import ua
from opcua_model.points import Point, Reading, Spec, sample
from opcua_model.quality import NO_COMMUNICATION, is_bad
from opcua_model.view import Clock, Look, View

EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NULL: Final = ua.Variant(None, ua.VariantType.Null)
_CODES: Final[dict[int, ua.StatusCode]] = {}


class PubDataValue(ua.DataValue):  # type: ignore[misc]  # the library is untyped here
    """A DataValue that is never changed once made: the library's copy per monitored item costs nothing."""

    __slots__ = ()

    def __deepcopy__(self, _memo: Any) -> PubDataValue:
        return self


def status_code(code: int) -> Any:
    """The status code object of a number; one object per code."""
    return _CODES.get(code) or _CODES.setdefault(code, ua.StatusCode(code))


def utc(ms: int) -> datetime.datetime:
    """Wall time in ms as OPC UA wants it."""
    return EPOCH + datetime.timedelta(milliseconds=ms)


def data_value(spec: Spec, reading: Reading, server_ms: int) -> PubDataValue:
    """The DataValue of a reading. A Bad status carries no value, whatever the reading says."""
    source = utc(reading.utc_ms) if reading.utc_ms is not None else None
    value = NULL
    if not is_bad(reading.status) and reading.value is not None:
        if spec.kind == "DateTime":
            value = ua.Variant(utc(reading.value), ua.VariantType.DateTime) if reading.value > 0 else NULL
        else:
            value = ua.Variant(reading.value, getattr(ua.VariantType, spec.kind), is_array=spec.array)
    return PubDataValue(value, status_code(reading.status), source, utc(server_ms))


class Values:
    """Reads any variable from the images, now. `variables` maps full paths to points."""

    def __init__(self, view: View, clock: Clock, variables: dict[str, Point]) -> None:
        self.view, self.clock, self.variables = view, clock, variables

    def look(self, source: str) -> Look:
        """The image a variable of this source is read from."""
        return self.view.status(source) if source not in ("process", "") else self.view.process()

    def read(self, node_id: Any, _attribute: Any) -> Any:
        """The callback of every variable's Value attribute."""
        point = self.variables.get(node_id.Identifier)
        if point is None:
            return ua.DataValue(StatusCode=status_code(NO_COMMUNICATION))
        spec = point.spec
        return data_value(spec, sample(spec, self.look(spec.source), point.index), self.clock.utc_ms())
