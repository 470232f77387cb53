"""One look at the images: the last complete copy and how old it is. A value that is too old is never given as good."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

from controller.core.image import ProcessImage
from controller.image.files import PROCESSES, SiteFiles

LATE_CYCLES: Final = 3
DEAD_MS: Final = 1000
STATUS_LATE_MS: Final = 3000
STATUS_DEAD_MS: Final = 6000


@dataclasses.dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks of the machine, as functions so that tests own the time."""

    monotonic_ms: Callable[[], int]
    utc_ms: Callable[[], int]


class Grade(IntEnum):
    """How far an image as a whole can be trusted."""

    FRESH = 0
    LATE = 1
    DEAD = 2
    NEVER = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """One image at one moment. `utc_offset_ms` turns monotonic sample times into wall time."""

    image: Any
    grade: Grade
    age_ms: int
    now_ms: int
    utc_offset_ms: int


class View:
    """The newest process image and process statuses. Copies at most once per image; keeps the previous copy."""

    def __init__(self, files: SiteFiles, clock: Clock, cycle_ms: int) -> None:
        self.clock = clock
        self.late_ms = LATE_CYCLES * cycle_ms
        self.dead_ms = max(DEAD_MS, 2 * self.late_ms)
        self._process = files.reader("process")
        self._process_image: ProcessImage | None = None
        self._status = {name: files.reader(f"status.{name}") for name in PROCESSES}
        self._status_image: dict[str, Any] = dict.fromkeys(PROCESSES)

    def process(self) -> Look:
        """The process image, graded by its age."""
        newer = self._process.read()
        if newer is not None:
            self._process_image = newer
        now = self.clock.monotonic_ms()
        image = self._process_image
        if image is None:
            return Look(None, Grade.NEVER, -1, now, 0)
        age = now - image.system.now_ms
        return Look(
            image, self._grade(age, self.late_ms, self.dead_ms), age, now, image.system.utc_ms - image.system.now_ms
        )

    def status(self, name: str) -> Look:
        """The status image of a process, graded by its last sign of life."""
        newer = self._status[name].read()
        if newer is not None:
            self._status_image[name] = newer
        now, image = self.clock.monotonic_ms(), self._status_image[name]
        if image is None:
            return Look(None, Grade.NEVER, -1, now, 0)
        age = now - image.alive_ms
        return Look(image, self._grade(age, STATUS_LATE_MS, STATUS_DEAD_MS), age, now, self.clock.utc_ms() - now)

    @staticmethod
    def _grade(age: int, late: int, dead: int) -> Grade:
        # A negative age is an image of before a reboot: as good as none.
        if age < -late or age > dead:
            return Grade.DEAD
        return Grade.LATE if age > late else Grade.FRESH
