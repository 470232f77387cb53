"""What a Quality is in OPC UA: one table, for scalars and arrays. A Bad status never carries a value.

| Quality | StatusCode | why (OPC 10000-8, 10000-4) |
|---|---|---|
| GOOD | Good | |
| STALE | UncertainLastUsableValue | whatever updated the value has stopped doing so |
| SUBSTITUTED | UncertainSubstituteValue | an operational value of another source |
| BAD_RANGE | BadOutOfRange | the register says what no working sensor can say |
| BAD_SENSOR | BadSensorFailure | |
| BAD_COMM | BadNoCommunication | no usable answer from the device |
| NOT_FITTED | BadNotConnected | there is no such element |
"""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from controller.core.signal import USABLE, Quality
from opcua_model.library import ua

GOOD: Final = int(ua.StatusCodes.Good)
LAST_USABLE: Final = int(ua.StatusCodes.UncertainLastUsableValue)
SUB_NORMAL: Final = int(ua.StatusCodes.UncertainSubNormal)
INITIAL: Final = int(ua.StatusCodes.UncertainInitialValue)
NO_COMMUNICATION: Final = int(ua.StatusCodes.BadNoCommunication)
WAITING: Final = int(ua.StatusCodes.BadWaitingForInitialData)
OUT_OF_RANGE: Final = int(ua.StatusCodes.BadOutOfRange)

STATUS: Final = {
    Quality.GOOD: GOOD,
    Quality.STALE: LAST_USABLE,
    Quality.SUBSTITUTED: int(ua.StatusCodes.UncertainSubstituteValue),
    Quality.BAD_RANGE: OUT_OF_RANGE,
    Quality.BAD_SENSOR: int(ua.StatusCodes.BadSensorFailure),
    Quality.BAD_COMM: NO_COMMUNICATION,
    Quality.NOT_FITTED: int(ua.StatusCodes.BadNotConnected),
}
BY_CODE: Final = tuple(STATUS[q] for q in Quality)


def is_bad(status: int) -> bool:
    """True for a status with which no value may be given."""
    return status >= 0x8000_0000


def array_status(quality: NDArray[Any]) -> int:
    """The status of an array from its elements' qualities; elements that are not fitted do not count.

    All usable: the worst of them. Some usable: UncertainSubNormal (fewer good sources than required), because a Bad
    status would take the good elements away from the client too. None usable: the worst of them, Bad.
    """
    fitted = quality[quality != int(Quality.NOT_FITTED)]
    if not fitted.size:
        return STATUS[Quality.NOT_FITTED]
    worst = int(fitted.max())
    if worst <= USABLE or int(fitted.min()) > USABLE:
        return BY_CODE[worst]
    return SUB_NORMAL
