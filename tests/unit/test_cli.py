"""The command line: options may stand where people put them, and what is wrong is told in words, not in a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cli import COMMANDS, main
from tools.swarm.campaign import Campaign


@pytest.mark.parametrize(
    "words", [("alarms", "--html", "bench"), ("alarms", "bench", "--html"), ("--html", "alarms", "bench")]
)
def test_an_option_may_stand_before_an_argument_that_can_be_left_out(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *words]) == 0
    assert "<title>Alarms of bench</title>" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help_and_refuses_what_it_does_not_know(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0 and f"cellwarden {name}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([name, "--no-such-option"])
    assert ended.value.code == 2


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: a folder where a file belongs, a file of noise, a report that is none, an empty state."""
    for name in ("CELLWARDEN_STATE", "CELLWARDEN_RUN"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "folder").mkdir()
    (tmp_path / "noise.csv").write_bytes(bytes(range(128, 256)) * 4)
    (tmp_path / "noise.csv.gz").write_bytes(b"\x1f\x8b" + bytes(range(128, 256)))
    (tmp_path / "noise.yaml").write_bytes(bytes(range(128, 256)))
    (tmp_path / "merge").mkdir()
    (tmp_path / "merge" / "report.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("run bench --for 1s --report folder", 1, "cellwarden run: folder: Is a directory"),
        ("run bench --for 1s --capture folder", 1, "cellwarden run: folder: Is a directory"),
        ("probe bench --csv folder", 1, "cellwarden probe: folder: Is a directory"),
        ("probe bench --html nowhere/sheet.html", 1, "No such file or directory"),
        ("fat bench --out noise.csv", 2, "--out: [Errno 17] File exists"),
        ("fat noise.yaml --cycle 50ms", 78, "noise.yaml:1:1: byte 0x80 is not UTF-8"),
        ("fat bench --merge merge", 2, "--merge: "),
        ("swarm bench --hours 0", 2, "more than nothing"),
        ("swarm bench --hours nan", 2, "more than nothing"),
        ("swarm bench --cycle 0s", 2, "more than nothing"),
        ("swarm bench --runs 0", 2, "more than nothing"),
        ("swarm bench --seed -1", 2, "not negative"),
        ("simulate bench --play noise.csv", 1, "simulate: noise.csv: cannot be read"),
        ("simulate bench --play noise.csv.gz", 1, "simulate: noise.csv.gz: cannot be read"),
        ("simulate bench --speed nan", 2, "--speed is positive"),
        ("simulate nosuch", 78, "1 problem; nothing was started or changed"),
        ("history nosuch", 78, "1 problem; nothing was started or changed"),
        ("bench trip --site nosuch", 78, "no site of the name 'nosuch'"),
        ("cert trial noise.csv", 1, "cellwarden cert: noise.csv: File exists"),
        ("replay noise.csv", 78, "noise.csv: is no recording"),
        ("report trip bench", 1, "CELLWARDEN_STATE: nothing is recorded there"),
    ],
)
def test_it_is_told_in_words(words: str, code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == code
    assert told in capsys.readouterr().err


def test_a_trip_that_cannot_be_replayed_names_its_file_once_and_where_else_to_look(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trips = place / "CELLWARDEN_STATE" / "trips"
    trips.mkdir()
    (trips / "20261123T000000000Z-0000000001.cwr").write_bytes(b"noise")
    assert main(["report", "trip", "bench"]) == 78
    told = capsys.readouterr().err
    assert told.count(str(trips)) == 1 and "is no recording" in told and "cellwarden history bench --events" in told


def test_a_recording_that_may_not_be_read_is_no_difference(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def forbidden(path: Path, *how: object, **more: object) -> object:
        if path.name == "taken.cwr":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *how, **more)  # type: ignore[call-overload]

    (place / "taken.cwr").touch()
    monkeypatch.setattr(Path, "open", forbidden)
    assert main(["replay", "taken.cwr"]) == 78


def test_a_configuration_error_is_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "nosuch", "--json"]) == 78
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"] and "nosuch" in told["problems"][0]["text"]


def test_a_campaign_that_was_interrupted_is_no_passed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def runs(self: Campaign, seeds: object, jobs: int) -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    monkeypatch.setattr(Campaign, "runs", runs)
    assert main(["swarm", "bench", "--hours", "1"]) == 130


def test_nobody_is_asked_for_the_password_of_a_user_whom_the_site_does_not_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.commands.user._new_password", lambda: pytest.fail("asked for"))
    assert main(["user", "set", "nosuch", "--site", "bench"]) == 1
    assert "'nosuch' is not among the users of the site: engineer, operator" in capsys.readouterr().err
