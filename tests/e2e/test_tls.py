"""A bus inside TLS, as its user starts it: simulator and controller, certificates on both sides, and a wrong one."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from controller.core.event import text_of
from tests.certificates import Authority
from tests.e2e.plant import Plant
from tests.sites import free_site
from tools.cli import main

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_trial_bus_runs_and_a_certificate_of_a_stranger_is_refused_with_a_reason(tmp_path: Path) -> None:
    assert main(["cert", "trial", str(tmp_path)]) == 0
    assert main(["cert", "trial", str(tmp_path)]) == 1, "nothing is overwritten"
    assert stat.S_IMODE((tmp_path / "us.key").stat().st_mode) == 0o600
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    Authority(stranger).sign("us")
    site = free_site(tmp_path)
    files = "kind: tls, ca: ca.pem, certificate: us.pem, key: us.key,"
    site.write_text(site.read_text().replace("GW01: {kind: tcp,", f"GW01: {{{files}"))
    with Plant(tmp_path, site) as plant:
        events, texts = plant.files.event_reader("io", from_start=True), list[str]()

        def bus_up() -> bool:
            image = plant.files.reader("field").read_again()
            return image is not None and bool(image.links.bus_up[0])

        def told(words: str) -> bool:
            texts.extend(text_of(r, "text") for r in events.take(1000))
            return any(words in text for text in texts)

        plant.until(bus_up, "the bus is up")
        for name in ("us.pem", "us.key"):
            shutil.copy(stranger / name, tmp_path / name)
        plant.plant.do("close", target="GW01")
        plant.until(lambda: not bus_up(), "the bus is down")
        plant.until(lambda: told("GW01") and told("certificate not accepted?"), "the diagnosis")
        assert not bus_up()
