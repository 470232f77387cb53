"""The command line: options may stand where people put them."""

from __future__ import annotations

import pytest

from tools.cli import COMMANDS, main


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
