"""Which tests run which lines of the modules under mutation: one traced run of all of them, told as JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tools.mutate.changes import source

Lines = dict[str, set[int]]


@dataclasses.dataclass(slots=True)
class Reached:
    """seconds: CPU time of every test that passes; lines: module and lines that it runs; at_import: such lines that
    run before any test does, so that a function swapped afterwards comes too late."""

    seconds: dict[str, float]
    lines: dict[str, Lines]
    at_import: Lines

    @staticmethod
    def read(path: Path) -> Reached:
        """What `Tracer` wrote."""
        told = json.loads(path.read_text("utf-8"))
        lines = {test: {m: set(n) for m, n in of.items()} for test, of in told["lines"].items()}
        return Reached(told["seconds"], lines, {m: set(n) for m, n in told["at_import"].items()})


@functools.cache
def _lines(code: CodeType) -> frozenset[int]:
    return frozenset(line for _, _, line in code.co_lines() if line is not None)


class Tracer:
    """A pytest plugin that writes a `Reached` to `path`."""

    def __init__(self, modules: Sequence[str], path: Path) -> None:
        self.files = {str(source(m)): m for m in modules}
        self.path = path
        self.now: Lines = {}
        self.lines: dict[str, Lines] = {}
        self.seconds: dict[str, float] = {}
        self.at_import: Lines = {}
        sys.settrace(self._call)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        module = self.files.get(frame.f_code.co_filename)
        if module is None or frame.f_code.co_name == "<module>":
            return None
        seen = self.now.setdefault(module, set())
        seen.add(frame.f_lineno)
        if _lines(frame.f_code) <= seen:
            return None

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            seen.add(frame.f_lineno)
            return line

        return line

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """All test modules are loaded."""
        self.at_import, self.now = self.now, {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """One test: its lines and its time."""
        self.now, begin = {}, time.process_time()
        sys.settrace(self._call)
        try:
            return (yield)
        finally:
            self.lines[item.nodeid], self.seconds[item.nodeid] = self.now, time.process_time() - begin

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that fails on the unchanged code says nothing about mutants."""
        if report.failed:
            self.path.with_suffix(".failed").write_text(f"{report.nodeid}\n{report.longreprtext[-2000:]}\n", "utf-8")
            pytest.exit("a test fails without a mutant", int(pytest.ExitCode.TESTS_FAILED))

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        sys.settrace(None)
        told = {
            "seconds": self.seconds,
            "lines": {t: {m: sorted(n) for m, n in of.items()} for t, of in self.lines.items()},
            "at_import": {m: sorted(n) for m, n in self.at_import.items()},
        }
        self.path.write_text(json.dumps(told), "utf-8")
