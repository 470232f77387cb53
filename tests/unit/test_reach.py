"""What a person reads whose command did not reach the controller: which of the reasons it is, and what to do."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import errno
import io
from pathlib import Path

import pytest

from controller.app.process import monotonic_ms
from controller.image.files import SiteFiles
from opcua_model.connect import explain
from opcua_model.library import ua
from plc_config.compile import compile_site
from tools.commands import operate

TRUST = "cellwarden cert --site bench trust 3fa9"
UNTRUSTED, NOT_THERE, SLOW, HUNG_UP, UNREACHABLE = (
    "the server does not trust this client's certificate",
    "nothing listens there",
    "no answer in time",
    "the server closed the connection",
    "unreachable: ",
)


@pytest.mark.parametrize(
    ("error", "wanted", "may_be_untrusted"),
    [
        (ua.UaStatusCodeError(ua.StatusCodes.BadSecurityChecksFailed), UNTRUSTED, True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), NOT_THERE, False),
        (TimeoutError(), SLOW, False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), HUNG_UP, True),
        (asyncio.CancelledError(), HUNG_UP, True),
        (OSError(errno.EHOSTUNREACH, "No route to host"), UNREACHABLE, False),
        (TimeoutError(errno.ETIMEDOUT, "Connect call failed"), UNREACHABLE, False),
    ],
)
def test_each_reason_has_its_own_words(error: BaseException, wanted: str, may_be_untrusted: bool) -> None:
    words = explain(error, "3fa9", "bench")
    assert words.startswith(wanted)
    assert (TRUST in words) == may_be_untrusted
    assert "trust" not in explain(TimeoutError())


def test_a_controller_that_is_starting_is_known_from_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLWARDEN_RUN", str(tmp_path))
    site = compile_site("bench")
    assert not operate._starting(site), "there are no images at all"
    files = SiteFiles(tmp_path, site.dims)
    files.create()
    assert not operate._starting(site)

    def says(name: str, **values: int) -> None:
        status = files.layouts[f"status.{name}"].blank()
        files.writer(f"status.{name}").write(dataclasses.replace(status, **values))

    says("supervisor", alive_ms=monotonic_ms() - operate.ALIVE_MS - 1)
    assert not operate._starting(site), "it ran once"
    says("supervisor", alive_ms=monotonic_ms() + 60_000)
    assert operate._starting(site)
    says("opcua", listening=1)
    assert not operate._starting(site), "it listens, elsewhere"


def test_where_nobody_can_be_asked_for_a_password_it_says_how_to_give_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(operate.PASSWORD_FROM, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SystemExit) as ended:
        operate.password("operator")
    assert ended.value.code == 2
    assert "set CELLWARDEN_PASSWORD" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "user", "told"),
    [
        ("power", "observer", "needs the Operator role"),
        ("shutdown", "observer", "needs the Operator role"),
        ("alarm-in-service", "operator", "needs the Engineer role"),
        ("out-of-service", "", "needs the Engineer role: give --user"),
    ],
)
def test_a_command_beyond_one_s_role_names_the_role_that_it_needs(word: str, user: str, told: str) -> None:
    denied = ua.UaStatusCodeError(ua.StatusCodes.BadUserAccessDenied)
    assert operate._denied(denied, argparse.Namespace(do=word, user=user)).reason == told
