"""Which release and build runs: the same sources have the same digits wherever they lie, one other line has others."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.image import release
from tools.cli import main


@pytest.fixture(autouse=True)
def _forgets() -> Iterator[None]:
    release.release.cache_clear()
    yield
    release.release.cache_clear()


def installed(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The release of a controller that consists of two such files, lying in `folder`."""
    package = folder / "wares" / "inner"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "row.py").write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr(release, "PACKAGES", ("wares",))
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        release.release.cache_clear()
        return release.release()


def test_a_build_is_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = installed(tmp_path / "here", "DELAY_MS = 100", monkeypatch)
    assert installed(tmp_path / "there", "DELAY_MS = 100", monkeypatch) == here
    other = installed(tmp_path / "other", "DELAY_MS = 101", monkeypatch)
    assert other != here
    assert other.partition("+")[0] == here.partition("+")[0]


def test_the_command_line_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"cellwarden {release.release()}\n"
    assert release.release().startswith(f"{importlib.metadata.version('cellwarden')}+")
