"""The model as a list: names, the printed contract, status codes, users, certificates. No server runs here."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from asyncua import ua

from controller.app.opcua_process import catalog_of
from controller.core.image import ProcessImage, RackMode, SiteMode
from controller.core.layout import tags_of
from controller.core.signal import Quality, amount
from opcua_model import hardening
from opcua_model.catalog import AlarmNames, Catalog, SlotInfo
from opcua_model.control import refusal
from opcua_model.model import pattern_rows
from opcua_model.naming import HIDDEN, SITE_FOLDER, browse_name, is_wall_time
from opcua_model.pki import Pki, own_identity, thumbprint
from opcua_model.points import Reading, Spec, fixed
from opcua_model.push import changed
from opcua_model.quality import STATUS, array_status, is_bad
from opcua_model.server import NODESET, model_of
from opcua_model.space import UNECE
from opcua_model.users import Backoff, PasswordRefused, UserStore
from plc_config.compile import compile_site

NODES = Path(hardening.__file__).parent / "NODES.csv"
SITES = ("bench", "container", "plant")


@pytest.mark.parametrize("site", SITES)
def test_every_tag_has_its_variable(site: str) -> None:
    compiled = compile_site(site)
    slots = [SlotInfo(i, "row", f"place {i}", 1, "", "", "") for i in range(3)]
    paths = {p.path for p in model_of(compiled, Catalog(slots)).points}
    assert len(paths) > 300
    for tag in tags_of(ProcessImage):
        if tag.path in HIDDEN or {"slot", "shelf"} & set(tag.dims) or not tag.dims:
            continue
        assert any(p.endswith(f"/{browse_name(tag)}") for p in paths), tag.path


def test_the_contract_is_what_is_printed() -> None:
    assert NODES.read_text(encoding="utf-8").splitlines() == pattern_rows(), (
        "the node list changed: cellwarden export pattern > opcua_model/NODES.csv, and tell SCADA"
    )


def test_names_are_camel_case_without_units() -> None:
    for row in pattern_rows()[1:]:
        for name in row.partition(",")[0].split("/"):
            assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", name), row


def test_every_group_of_tags_has_a_folder() -> None:
    for tag in tags_of(ProcessImage):
        assert tag.dims or tag.path.rpartition(".")[0] in SITE_FOLDER, tag.path


def test_every_unit_has_its_common_code() -> None:
    used = {t.unit for t in tags_of(ProcessImage) if not is_wall_time(t)} - {"1"}
    assert used <= set(UNECE)


def test_the_types_agree_with_the_modes() -> None:
    space = {"n": "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"}
    root = ET.parse(NODESET).getroot()  # noqa: S314  # our own file
    for number, modes in ((3001, SiteMode), (3002, RackMode)):
        fields = root.findall(f"n:UADataType[@NodeId='ns=1;i={number}']/n:Definition/n:Field", space)
        assert [(f.get("Name"), int(f.get("Value", ""))) for f in fields] == [(m.name, m.value) for m in modes]
        texts = [
            e.text
            for v in root.findall("n:UAVariable", space)
            if v.get("NodeId") == f"ns=1;i={number + 100}"
            for e in v.iter("{http://opcfoundation.org/UA/2008/02/Types.xsd}Text")
        ]
        assert texts == [m.name for m in modes]


def test_every_quality_has_a_status_and_bad_means_unusable() -> None:
    assert set(STATUS) == set(Quality)
    for quality, status in STATUS.items():
        assert is_bad(status) == (quality > Quality.SUBSTITUTED)


@pytest.mark.parametrize(
    ("qualities", "status"),
    [
        ([0, 0], ua.StatusCodes.Good),
        ([0, 1], ua.StatusCodes.UncertainLastUsableValue),
        ([0, 4], ua.StatusCodes.UncertainSubNormal),
        ([5, 4], ua.StatusCodes.BadNoCommunication),
        ([0, 6], ua.StatusCodes.Good),
        ([6, 6], ua.StatusCodes.BadNotConnected),
    ],
)
def test_an_arrays_status_comes_from_its_elements(qualities: list[int], status: int) -> None:
    assert array_status(np.array(qualities, np.uint8)) == status


def test_only_changes_are_changes() -> None:
    spec = Spec("a", "Double", "", fixed(0.0), low=0.0, high=1000.0)
    assert not changed(spec, Reading(1.0), Reading(1.009))
    assert changed(spec, Reading(1.0), Reading(1.02))
    assert changed(spec, Reading(1.0), Reading(1.0, 1))
    assert changed(spec, Reading(1.0), Reading(None, 0))
    cells = Spec("a", "Float", "", fixed(0.0), array=True, low=0.5, high=5.0)
    nan = float("nan")
    assert not changed(cells, Reading([3.3, nan]), Reading([3.3, nan]))
    assert changed(cells, Reading([3.3, nan]), Reading([3.3, 3.3]))
    assert changed(cells, Reading([3.3, 3.3]), Reading([3.3, 3.301]))


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("150000 W is beyond the rated 100000 W", ua.StatusCodes.BadOutOfRange),
        ("needs the Operator role", ua.StatusCodes.BadUserAccessDenied),
        ("the site is STANDBY, not ONLINE", ua.StatusCodes.BadInvalidState),
        ("expired before it was judged", ua.StatusCodes.BadInvalidState),
    ],
)
def test_the_words_of_the_scan_become_a_status(words: str, status: int) -> None:
    assert refusal(words) == status


def test_passwords_are_salted_hashes_that_only_the_owner_reads(tmp_path: Path) -> None:
    store = UserStore(tmp_path / "users.json", {"anna": "Operator", "bert": "Observer"})
    store.set("anna", "a long password")
    store.set("bert", "a long password")
    text = (tmp_path / "users.json").read_text()
    assert "long" not in text and len(set(re.findall(r'"key": "(.*?)"', text))) == 2
    assert (tmp_path / "users.json").stat().st_mode & 0o777 == 0o600
    assert store.verify("anna", "a long password").name == "OPERATOR"
    assert store.verify("anna", "a long passwore").name == "NONE"
    assert store.verify("carl", "a long password").name == "NONE"


def test_a_user_that_the_site_no_longer_names_cannot_log_in(tmp_path: Path) -> None:
    UserStore(tmp_path / "users.json", {"anna": "Operator"}).set("anna", "a long password")
    assert UserStore(tmp_path / "users.json", {}).verify("anna", "a long password").name == "NONE"


@pytest.mark.parametrize(
    "data", ["nonsense", "[]", '{"anna": 1}', '{"anna": {"salt": "%", "key": "", "n": 2, "r": 1, "p": 1}}', "\x00"]
)
def test_a_damaged_file_lets_nobody_in_says_so_and_is_cured_by_a_new_password(tmp_path: Path, data: str) -> None:
    path = tmp_path / "users.json"
    path.write_text(data)
    store = UserStore(path, {"anna": "Operator"})
    assert store.verify("anna", "a long password").name == "NONE"
    assert store.damage.startswith("users.json is damaged (") and "cellwarden user set" in store.damage
    store.set("anna", "a long password")
    assert store.verify("anna", "a long password").name == "OPERATOR" and not store.damage


@pytest.mark.parametrize(
    ("name", "password"), [("anna", "short"), ("carl", "a long password"), ("anna", "anna anna anna")]
)
def test_weak_passwords_and_strangers_are_refused(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(PasswordRefused):
        UserStore(tmp_path / "users.json", {"anna": "Operator"}).set(name, password)


def test_a_change_of_the_file_is_seen_at_once(tmp_path: Path) -> None:
    running = UserStore(tmp_path / "users.json", {"anna": "Operator"})
    assert running.verify("anna", "a long password").name == "NONE"
    other = UserStore(tmp_path / "users.json", {"anna": "Operator"})
    other.set("anna", "a long password")
    assert running.verify("anna", "a long password").name == "OPERATOR"
    assert other.remove("anna") and not other.remove("anna")
    assert running.verify("anna", "a long password").name == "NONE"


def test_wrong_tries_double_the_wait_of_that_user_at_that_address() -> None:
    backoff = Backoff()
    for _ in range(5):
        assert not backoff.blocked("anna", "here", 100.0)
        backoff.wrong("anna", "here", 100.0)
    assert backoff.blocked("anna", "here", 100.9) and not backoff.blocked("anna", "here", 101.1)
    assert not backoff.blocked("anna", "there", 100.0) and not backoff.blocked("bert", "here", 100.0)
    for _ in range(20):
        backoff.wrong("anna", "here", 101.1)
    assert backoff.blocked("anna", "here", 161.0) and not backoff.blocked("anna", "here", 161.2)
    backoff.right("anna", "here")
    assert not backoff.blocked("anna", "here", 101.2)


def test_the_certificate_store(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    identity = own_identity(tmp_path / "client", "a client", "urn:a:client")
    der = identity.der
    assert own_identity(tmp_path / "client", "a client", "urn:a:client").der == der
    assert own_identity(tmp_path / "client", "a client", "urn:another:client").der != der
    assert identity.key.stat().st_mode & 0o777 == 0o600
    assert "not trusted" in pki.judge(der)
    assert pki.trust("ffff") is None
    assert pki.trust(thumbprint(der)[:6].upper()) == thumbprint(der)
    assert pki.judge(der) == ""
    assert pki.remove(thumbprint(der)) == thumbprint(der)
    assert pki.judge(b"") == "no certificate"
    assert pki.judge(b"\x30\x03abc") == "the certificate cannot be read"
    assert pki.judge(der, auto_trust=True) == ""


def test_a_key_that_does_not_fit_its_certificate_is_replaced(tmp_path: Path) -> None:
    first = own_identity(tmp_path / "one", "a", "urn:a")
    second = own_identity(tmp_path / "two", "a", "urn:a")
    der = first.der
    first.key.write_bytes(second.key.read_bytes())
    assert own_identity(tmp_path / "one", "a", "urn:a").der != der


def test_the_rejected_folder_is_bounded(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    for i in range(70):
        pki._reject(f"{i:040d}.der", b"x")
    assert len(list(pki.rejected.glob("*.der"))) == 50


def test_a_request_is_counted_without_decoding_it() -> None:
    from asyncua.common.utils import Buffer
    from asyncua.ua.ua_binary import struct_to_binary

    read = ua.ReadParameters(0, ua.TimestampsToReturn.Both, [ua.ReadValueId()] * 7)
    browse = ua.BrowseParameters()
    browse.NodesToBrowse = [ua.BrowseDescription()] * 9
    items = ua.CreateMonitoredItemsParameters(1, ua.TimestampsToReturn.Both, [ua.MonitoredItemCreateRequest()] * 5)
    for name, params, count in (("Read", read, 7), ("Browse", browse, 9), ("CreateMonitoredItems", items, 5)):
        body = Buffer(struct_to_binary(params))
        assert hardening.count_of(hardening._service(name), body) == count
        assert len(body) == len(struct_to_binary(params))


def test_the_alarm_list_names_places_as_events_do() -> None:
    program = compile_site("bench").program
    catalog = catalog_of(program)
    number = {f"{s.row} {s.place}": s.slot for s in catalog.slots}
    for slot, element, place in (
        ("cell_overvoltage R01/M02", 4, "R01/M02/C05"),
        ("internal_short_suspected R01", 16 + 4, "R01/M02/C05"),
        ("temperature_sensor_suspected R02", 4 + 1, "R02/M02/T02"),
        ("estop site", -1, "site"),
    ):
        index = number[slot]
        assert catalog.place_of is not None and catalog.place_of(index, element) == place
        assert program.describe(index, 1.0, 1.0, element, True)[0] == place
        assert AlarmNames(catalog).find(f"{slot.partition(' ')[0]} {place}") == index, "what is read may be pasted"


def test_a_quantity_is_told_in_plain_digits() -> None:
    assert [amount(v, "ohm") for v in (20e3, 149.96e3, 2e6, 500.0)] == ["20 kohm", "150 kohm", "2 Mohm", "500 ohm"]
    assert amount(3.6512, "V") == "3.651 V"
    assert amount(0.8, "ratio") == "80 %"
