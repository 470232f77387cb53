"""Who gets in, and the attacks of facts/opcua.md section 3 and facts/reliability.md section 4 failing."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from controller.core.event import What, text_of
from opcua_model.client import CLIENT_URI, SiteClient
from opcua_model.hardening import CHUNK_BYTES, MOST_READ
from opcua_model.pki import own_identity
from tests.opcua_rig import DEADLINE_S, PASSWORD, Rig, give_identity, rig, until

Code = ua.StatusCodes
REFUSALS = (ua.UaError, OSError, TimeoutError, asyncio.CancelledError)


def told(site: Rig) -> list[str]:
    """The session events so far."""
    records = site.files.event_reader("opcua", from_start=True).take(4096)
    return [text_of(r, "text") for r in records if int(r["what"]) == What.SESSION]


async def refused(client: Any) -> None:
    """A connection that must not come about."""
    with pytest.raises(REFUSALS):
        async with client:
            pass


async def test_only_encrypted_endpoints_are_offered(site: Rig) -> None:
    endpoints = await Client(site.server.endpoint).connect_and_get_server_endpoints()
    assert {e.SecurityMode for e in endpoints} == {ua.MessageSecurityMode.SignAndEncrypt}
    assert len(endpoints) == 3
    assert {t.TokenType for e in endpoints for t in e.UserIdentityTokens} == {ua.UserTokenType.UserName}


async def test_the_demo_offers_no_password_without_encryption(tmp_path: Path) -> None:
    async with rig(tmp_path, demo=True) as site:
        endpoints = await Client(site.server.endpoint).connect_and_get_server_endpoints()
        plain = [e for e in endpoints if e.SecurityMode == ua.MessageSecurityMode.None_]
        assert [[t.TokenType for t in e.UserIdentityTokens] for e in plain] == [[ua.UserTokenType.Anonymous]]
        client = Client(site.server.endpoint)
        client.set_user("operator")
        client.set_password(PASSWORD)
        await refused(client)
        async with site.client("operator") as trusted:
            assert await trusted.write("Control/ActivePowerSetpoint", 1.0) == 0


async def test_anonymous_is_off(site: Rig) -> None:
    await refused(site.client())
    with pytest.raises(REFUSALS):
        await SiteClient.connect(site.server.endpoint, site.login(""))
    assert site.server.iserver.session_count() == 0


async def test_an_unencrypted_channel_gets_no_session(site: Rig) -> None:
    client = Client(site.server.endpoint)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    with pytest.raises(ua.UaStatusCodeError) as wrong:
        await client.create_session()
    assert wrong.value.code == Code.BadSecurityModeInsufficient
    client.disconnect_socket()


async def test_an_unknown_certificate_waits_in_rejected_until_it_is_trusted(tmp_path: Path) -> None:
    async with rig(tmp_path) as site:
        await refused(site.client("operator"))
        waiting = site.server.pki.entries()
        assert [e.where for e in waiting] == ["rejected"] and waiting[0].uri == CLIENT_URI
        assert site.server.iserver.session_count() == 0
        assert any("is not trusted" in t for t in told(site))
        assert site.server.pki.trust(waiting[0].thumbprint[:8]) == waiting[0].thumbprint
        async with site.client("operator") as client:
            assert (await client.read_one("Status/State")).value == "STANDBY"


async def test_a_certificate_whose_trust_is_taken_away_is_refused(site: Rig) -> None:
    async with site.client("operator"):
        pass
    site.server.pki.remove(site.server.pki.entries()[0].thumbprint)
    await refused(site.client("operator"))


async def test_wrong_password_and_unknown_user_are_refused_alike(site: Rig) -> None:
    seen = []
    for user, password in (("operator", "wrong password"), ("nobody", "wrong password")):
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await SiteClient.connect(site.server.endpoint, site.login(user, password))
        seen.append(wrong.value.code)
    assert seen == [Code.BadUserAccessDenied] * 2
    assert told(site).count("refused: wrong user name or password") == 2


async def test_wrong_tries_lead_to_a_back_off_that_even_the_right_password_waits_for(site: Rig) -> None:
    for _ in range(5):
        await refused(site.client("operator", "wrong password"))
    await refused(site.client("operator"))
    async with site.client("engineer"):
        pass


async def test_log_ins_are_told(site: Rig) -> None:
    async with site.client("operator"):
        pass
    assert "logged in as operator" in told(site)


async def _channel(site: Rig, name: str) -> Client:
    """An encrypted channel without a session."""
    give_identity(site.tmp / name / "own", name)
    identity = own_identity(site.tmp / name / "own", "Cellwarden client", CLIENT_URI)
    client = Client(site.server.endpoint)
    client.application_uri = CLIENT_URI
    await client.set_security(SecurityPolicyBasic256Sha256, identity.certificate, identity.key)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    return client


async def test_a_session_needs_the_channels_own_certificate(site: Rig) -> None:
    """The bypass: a session asked for with no certificate, or with somebody else's."""
    site.trust("other")
    other = own_identity(site.tmp / "other" / "own", "Cellwarden client", CLIENT_URI)
    for certificate in (None, other.der):
        client = await _channel(site, "client")
        real = client.security_policy.host_certificate
        client.security_policy.host_certificate = certificate
        with pytest.raises(REFUSALS):
            await client.create_session()
        client.security_policy.host_certificate = real
        client.disconnect_socket()
    assert site.server.iserver.session_count() == 0
    assert told(site).count("refused: session with another certificate than the channel's") == 2


async def test_a_wrong_application_uri_is_refused(site: Rig) -> None:
    client = await _channel(site, "client")
    client.application_uri = "urn:somebody:else"
    with pytest.raises(ua.UaStatusCodeError) as wrong:
        await client.create_session()
    assert wrong.value.code == Code.BadCertificateUriInvalid
    client.disconnect_socket()


async def test_session_tokens_are_random(site: Rig) -> None:
    async with site.client("operator"), site.client("engineer"):
        tokens = list(site.server.iserver._external_sessions)
    assert len(tokens) == 2
    assert all(len(t.Identifier) == 32 for t in tokens) and tokens[0] != tokens[1]


def plain_policy() -> Any:
    """What the server announces for passwords: the channel encrypts, the token does not."""
    uri = "http://opcfoundation.org/UA/SecurityPolicy#None"
    return ua.UserTokenPolicy("username", ua.UserTokenType.UserName, SecurityPolicyUri=uri)


async def _activate(client: Client, token: Any, user: str, password: str) -> None:
    """ActivateSession for a session that was made on another channel."""
    client.set_user(user)
    client.set_password(password)
    client._policy_ids = [plain_policy()]
    client._server_nonce = b"\0" * 32
    client.uaclient.protocol.authentication_token = token
    await client.activate_session(user, password)


async def test_a_stolen_token_is_worth_nothing_with_another_certificate(site: Rig) -> None:
    site.trust("thief")
    async with site.client("operator") as victim:
        token = next(iter(site.server.iserver._external_sessions))
        thief = await _channel(site, "thief")
        with pytest.raises(REFUSALS):
            await _activate(thief, token, "operator", PASSWORD)
        thief.disconnect_socket()
        assert (await victim.read_one("Status/State")).value == "STANDBY"
        assert "refused: unknown session" in told(site)


async def test_a_request_with_a_wrong_token_is_refused(site: Rig) -> None:
    async with site.client("operator") as client:
        protocol = client.client.uaclient.protocol
        real = protocol.authentication_token
        protocol.authentication_token = ua.NodeId(b"x" * 32, 0, ua.NodeIdType.ByteString)
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await client.read_one("Status/State")
        assert wrong.value.code == Code.BadSessionIdInvalid
        protocol.authentication_token = real


async def test_a_failed_log_in_closes_the_channel(site: Rig) -> None:
    client = await _channel(site, "client")
    await client.create_session()
    with pytest.raises(ua.UaStatusCodeError):
        await client.activate_session("operator", "wrong password")
    await until(lambda: not site.server.server.bserver.clients, "the connection to close")
    client.disconnect_socket()
    await until(lambda: site.server.iserver.session_count() == 0, "the session to end")


async def test_subscriptions_belong_to_their_session(site: Rig) -> None:
    class Handler:
        def datachange_notification(self, *_: Any) -> None:
            pass

    async with site.client("operator") as owner, site.client("engineer", name="client") as other:
        sub = await owner.client.create_subscription(100, Handler())
        number = sub.subscription_id
        stranger = other.client.uaclient
        assert [c.value for c in await stranger.delete_subscriptions([number])] == [Code.BadSubscriptionIdInvalid]
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor.NodeId = other.node_id("Status/State")
        item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        params = ua.CreateMonitoredItemsParameters(number, ua.TimestampsToReturn.Both, [item])
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await stranger.create_monitored_items(params)
        assert wrong.value.code == Code.BadSubscriptionIdInvalid
        moved = await stranger.transfer_subscriptions(ua.TransferSubscriptionsParameters([number], False))
        assert moved[0].StatusCode.value == Code.BadUserAccessDenied
        assert number in site.server.iserver.subscription_service.subscriptions


async def test_node_management_and_registration_are_refused(site: Rig) -> None:
    async with site.client("engineer") as client:
        session = client.client.uaclient
        for call in (
            session.add_nodes([ua.AddNodesItem()]),
            session.delete_nodes(ua.DeleteNodesParameters([ua.DeleteNodesItem()])),
            session.add_references([ua.AddReferencesItem()]),
            session.register_server(ua.RegisteredServer()),
            session.history_read(ua.HistoryReadParameters()),
        ):
            with pytest.raises(ua.UaStatusCodeError) as wrong:
                await call
            assert wrong.value.code == Code.BadServiceUnsupported


async def test_large_requests_are_refused_before_they_are_decoded(site: Rig) -> None:
    async with site.client("operator") as client:
        one = ua.ReadValueId(client.node_id("Status/State"), ua.AttributeIds.Value)
        for count, good in ((MOST_READ, True), (MOST_READ + 1, False)):
            params = ua.ReadParameters(0, ua.TimestampsToReturn.Both, [one] * count)
            if good:
                assert len(await client.client.uaclient.read(params)) == count
                continue
            with pytest.raises(ua.UaStatusCodeError) as wrong:
                await client.client.uaclient.read(params)
            assert wrong.value.code == Code.BadTooManyOperations
        browse = ua.BrowseParameters()
        browse.NodesToBrowse = [ua.BrowseDescription(ua.NodeId(85))] * 101
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await client.client.uaclient.browse(browse)
        assert wrong.value.code == Code.BadTooManyOperations
        path = ua.BrowsePath(
            ua.NodeId(84), ua.RelativePath([ua.RelativePathElement(TargetName=ua.QualifiedName("a"))] * 17)
        )
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await client.client.uaclient.translate_browsepaths_to_nodeids([path])
        assert wrong.value.code == Code.BadTooManyOperations


async def test_sessions_are_bounded(tmp_path: Path) -> None:
    async with rig(tmp_path, max_sessions=2) as site:
        site.trust()
        async with site.client("operator"), site.client("engineer"):
            await refused(site.client("observer"))
        async with site.client("observer"):
            pass


async def test_subscriptions_are_bounded(site: Rig) -> None:
    async with site.client("observer") as client:
        made = [await client.client.create_subscription(1000, object()) for _ in range(10)]
        assert len({s.subscription_id for s in made}) == 10
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await client.client.create_subscription(1000, object())
        assert wrong.value.code == Code.BadTooManySubscriptions


async def _raw(site: Rig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlparse(site.server.endpoint)
    return await asyncio.open_connection(url.hostname, url.port)


@pytest.mark.parametrize(
    "sent",
    [
        b"HELF" + struct.pack("<I", 2**32 - 1),
        b"MSGF" + struct.pack("<I", CHUNK_BYTES + 1),
        b"GET / HTTP/1.1\r\n\r\n",
        b"OPNF" + struct.pack("<II", 40, 0) + b"\xff" * 28,
        b"MSGF" + struct.pack("<II", 40, 7) + b"\0" * 28,
    ],
)
async def test_nonsense_closes_the_connection_at_once(site: Rig, sent: bytes) -> None:
    reader, writer = await _raw(site)
    writer.write(sent)
    with contextlib.suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), DEADLINE_S)
    writer.close()


async def test_silent_strangers_make_room_for_a_newcomer(site: Rig) -> None:
    most = site.server.iserver.max_connections
    strangers = [await _raw(site) for _ in range(most)]
    async with site.client("operator") as client:
        assert (await client.read_one("Status/State")).value == "STANDBY"
    for _, writer in strangers:
        writer.close()


async def test_a_session_lives_on_over_a_new_channel_for_the_same_user(site: Rig) -> None:
    async with site.client("operator") as client:
        token = next(iter(site.server.iserver._external_sessions))
        session = site.server.iserver.session_with(token)
        assert session is not None and session.processor is not None
        await client.client.create_subscription(1000, object())
        second = await _channel(site, "client")
        second._server_nonce = session.nonce
        second._policy_ids = [plain_policy()]
        second.uaclient.protocol.authentication_token = token
        await second.activate_session("operator", PASSWORD)
        assert site.server.iserver.session_count() == 1
        assert session.caller.name == "operator"
        second.disconnect_socket()


async def test_another_user_cannot_take_a_session_over(site: Rig) -> None:
    async with site.client("operator") as client:
        token = next(iter(site.server.iserver._external_sessions))
        session = site.server.iserver.session_with(token)
        assert session is not None
        second = await _channel(site, "client")
        second._server_nonce = session.nonce
        second._policy_ids = [plain_policy()]
        second.uaclient.protocol.authentication_token = token
        with pytest.raises(ua.UaStatusCodeError) as wrong:
            await second.activate_session("engineer", PASSWORD)
        assert wrong.value.code == Code.BadSessionIdInvalid
        assert session.caller.name == "operator"
        assert (await client.read_one("Status/State")).value == "STANDBY"
        second.disconnect_socket()


async def test_a_peer_that_never_reads_is_cut_off(site: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opcua_model.hardening.OUTPUT_BYTES", 200_000)
    async with site.client("operator") as client:
        reader = client.client.uaclient.protocol.transport
        reader.pause_reading()
        ids = [ua.ReadValueId(client.node_id("Racks/R01/Modules/M01/CellVoltages"), ua.AttributeIds.Value)] * MOST_READ
        params = ua.ReadParameters(0, ua.TimestampsToReturn.Both, ids)
        asks = [asyncio.ensure_future(client.client.uaclient.read(params)) for _ in range(60)]
        await until(lambda: not site.server.server.bserver.clients, "the peer to be cut off")
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
        reader.resume_reading()


async def test_chunks_without_end_are_cut_off(site: Rig) -> None:
    client = Client(site.server.endpoint)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()
    protocol = client.uaclient.protocol
    channel, number = protocol._connection.security_token, protocol._connection._sequence_number
    body = b"\0" * 60_000
    for i in range(1, 60):
        head = struct.pack("<IIIII", 24 + len(body), channel.ChannelId, channel.TokenId, number + i, 99)
        protocol.transport.write(b"MSGC" + head + body)
    await until(lambda: not site.server.server.bserver.clients, "the connection to close")
    client.disconnect_socket()
