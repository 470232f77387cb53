"""A machine's clock that is wrong for a while costs nobody its certificate, and keeps out nobody who was trusted."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from opcua_model import pki as module
from opcua_model.pki import Pki, own_identity


class Clock(datetime.datetime):
    """This machine's clock, as far off as a test says."""

    off = datetime.timedelta(0)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
        return cls.fromtimestamp((datetime.datetime.now(tz) + cls.off).timestamp(), tz)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    fake = SimpleNamespace(datetime=Clock, timedelta=datetime.timedelta, UTC=datetime.UTC)
    monkeypatch.setattr(module, "datetime", fake)
    monkeypatch.setattr(Clock, "off", datetime.timedelta(0))
    return Clock


def far(years: int) -> datetime.timedelta:
    return datetime.timedelta(days=365 * years)


@pytest.mark.parametrize("years", [-20, -1, 4, 20, 70])
def test_the_own_certificate_is_the_same_again_when_the_clock_is_right_again(
    tmp_path: Path, clock: type[Clock], years: int
) -> None:
    """Whoever trusts it knows it by its bytes: another one locks out every client until a person comes."""
    pki = Pki(tmp_path / "pki")
    der = own_identity(tmp_path / "own", "a", "urn:a").der
    pki.add(der)
    clock.off = far(years)
    meanwhile = own_identity(tmp_path / "own", "a", "urn:a").der
    assert (meanwhile == der) == (years < 5)
    assert own_identity(tmp_path / "own", "a", "urn:a").der == meanwhile
    assert (pki.judge(der) == "") == (years < 5)
    clock.off = far(0)
    again = own_identity(tmp_path / "own", "a", "urn:a")
    assert again.der == der and again.key.stat().st_mode & 0o777 == 0o600
    assert own_identity(tmp_path / "own", "a", "urn:a").der == der and pki.judge(der) == ""


def test_a_crash_while_it_is_taken_up_again_loses_nothing(tmp_path: Path, clock: type[Clock]) -> None:
    der = own_identity(tmp_path / "own", "a", "urn:a").der
    clock.off = far(20)
    own_identity(tmp_path / "own", "a", "urn:a")
    clock.off = far(0)
    (tmp_path / "own" / "key.pem").write_bytes((tmp_path / "own" / "key.before.pem").read_bytes())
    assert own_identity(tmp_path / "own", "a", "urn:a").der == der


def test_one_that_expired_is_made_anew_for_good(tmp_path: Path, clock: type[Clock]) -> None:
    found = set()
    for years in (0, 6, 12, 18):
        clock.off = far(years)
        found.add(own_identity(tmp_path / "own", "a", "urn:a").der)
    assert len(found) == 4


def test_an_expired_certificate_is_refused_and_told_with_both_dates(tmp_path: Path, clock: type[Clock]) -> None:
    pki = Pki(tmp_path / "pki")
    der = own_identity(tmp_path / "own", "a", "urn:a").der
    pki.add(der)
    clock.off = far(6)
    assert re.fullmatch(r"the certificate expired on \S+; it is \S+ here", pki.judge(der))
