"""A client of our own server: pins the server's certificate, reads many values at once, calls methods by name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from asyncua.client.client import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from opcua_model.library import ua
from opcua_model.naming import ROOT
from opcua_model.pki import own_identity, thumbprint

CLIENT_URI: Final = "urn:cellwarden:client"
TIMEOUT_S: Final = 4.0
SESSION_MS: Final = 60_000
READ_AT_ONCE: Final = 1000
ENDPOINT: Final = re.compile(r"opc\.tcp://(\[[0-9a-fA-F:.]+\]|[^\s/:\[\]]+)(:\d{1,5})?(/\S*)?")
SITE_PREFIX: Final = "urn:cellwarden:site:"


class WrongServer(Exception):
    """There is a server, but not the one that was meant."""


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """One value as read: None when its status is Bad."""

    value: Any
    status: int
    source_ms: int | None

    @property
    def good(self) -> bool:
        """True unless the status is Uncertain or Bad."""
        return self.status >> 30 == 0

    @property
    def bad(self) -> bool:
        """True when there is no value."""
        return self.status >> 30 >= 2


@dataclasses.dataclass(frozen=True, slots=True)
class CallResult:
    """What a method answered; `token` is its third result: ArmShutdown's token, the chain of Why as JSON."""

    accepted: bool
    reason: str
    token: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Login:
    """Who connects, and where its own certificate and the pinned servers lie. Without user: anonymous, unencrypted."""

    folder: Path | None = None
    user: str = ""
    password: str = ""
    server_certificate: Path | None = None


class SiteClient:
    """A connection to one site's server."""

    def __init__(self, client: Client, site_index: int) -> None:
        self.client, self.index = client, site_index

    @staticmethod
    async def connect(endpoint: str, login: Login, site_id: str = "", timeout_s: float = TIMEOUT_S) -> SiteClient:
        """Connects; raises OSError when nobody answers, UaError when refused, WrongServer for another or no site's."""
        if not ENDPOINT.fullmatch(endpoint):
            raise WrongServer(f"{endpoint!r} is no endpoint; one looks like opc.tcp://10.0.0.5:4840/cellwarden")
        client = Client(endpoint, timeout=timeout_s)
        client.session_timeout = SESSION_MS
        if login.folder is not None:
            await _secure(client, endpoint, login)
        try:
            await client.connect()
            uris = await client.get_namespace_array()
            sites = [uri for uri in uris if uri.startswith(SITE_PREFIX + site_id)]
            if not sites or (site_id and sites[0] != SITE_PREFIX + site_id):
                there = ", ".join(u.removeprefix(SITE_PREFIX) for u in uris if u.startswith(SITE_PREFIX))
                raise WrongServer(f"this is not the server of {site_id or 'a site'} but of {there or 'none'}")
            index = uris.index(sites[0])
        except BaseException:
            client.disconnect_socket()
            raise
        return SiteClient(client, index)

    async def close(self) -> None:
        """Ends the session; a server that is gone already is no error."""
        try:
            await self.client.disconnect()
        except (OSError, TimeoutError, ua.UaError):
            self.client.disconnect_socket()

    def node_id(self, path: str) -> Any:
        """Node id of a path below BatterySystem."""
        return ua.NodeId(f"{ROOT}/{path}" if path else ROOT, self.index)

    def node(self, path: str) -> Any:
        """The library's node of a path."""
        return self.client.get_node(self.node_id(path))

    async def read(self, paths: Sequence[str]) -> dict[str, Value]:
        """The values of many variables, in requests that the server accepts."""
        found: dict[str, Value] = {}
        for start in range(0, len(paths), READ_AT_ONCE):
            part = paths[start : start + READ_AT_ONCE]
            params = ua.ReadParameters()
            params.TimestampsToReturn = ua.TimestampsToReturn.Both
            params.NodesToRead = [ua.ReadValueId(self.node_id(p), ua.AttributeIds.Value) for p in part]
            for path, dv in zip(part, await self.client.uaclient.read(params), strict=True):
                found[path] = _value(dv)
        return found

    async def read_one(self, path: str) -> Value:
        """The value of one variable."""
        return (await self.read([path]))[path]

    async def children(self, path: str) -> list[str]:
        """Names of the components below a path."""
        nodes = await self.node(path).get_children(ua.ObjectIds.HasComponent)
        return [str(n.nodeid.Identifier).rpartition("/")[2] for n in nodes]

    async def write(self, path: str, value: Any, kind: str = "Double") -> int:
        """Writes one value; the status with which the server answered."""
        item = ua.WriteValue()
        item.NodeId, item.AttributeId = self.node_id(path), ua.AttributeIds.Value
        item.Value = ua.DataValue(ua.Variant(value, getattr(ua.VariantType, kind)))
        params = ua.WriteParameters()
        params.NodesToWrite = [item]
        return int((await self.client.uaclient.write(params))[0].value)

    async def call(self, method: str, *arguments: Any) -> CallResult:
        """Calls a method of Control; a Bad status is raised as UaStatusCodeError."""
        result = await self.node("Control").call_method(self.node_id(f"Control/{method}"), *arguments)
        accepted, reason, *rest = result
        return CallResult(bool(accepted), str(reason), str(rest[0]) if rest else "")


async def _secure(client: Client, endpoint: str, login: Login) -> None:
    if login.folder is None:
        return
    identity = own_identity(login.folder / "own", "Cellwarden client", CLIENT_URI)
    client.application_uri = CLIENT_URI
    if login.user:
        client.set_user(login.user)
        client.set_password(login.password)
    pinned = login.server_certificate or _pin_path(login.folder, endpoint)
    if not pinned.exists():
        pinned.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        pinned.write_bytes(await _server_certificate(endpoint, client))
    try:
        await client.set_security(
            SecurityPolicyBasic256Sha256, identity.certificate, identity.key, server_certificate=str(pinned)
        )
    except ValueError as error:
        raise WrongServer(f"the pinned certificate {pinned} cannot be read: {error}") from error


def _pin_path(folder: Path, endpoint: str) -> Path:
    host = endpoint.removeprefix("opc.tcp://").partition("/")[0].replace(":", "_")
    return folder / "servers" / f"{host}.der"


async def _server_certificate(endpoint: str, client: Client) -> bytes:
    """The certificate a server shows on first contact; from then on it is pinned."""
    probe = Client(endpoint, timeout=client.uaclient._timeout)
    endpoints = await probe.connect_and_get_server_endpoints()
    found = next((bytes(e.ServerCertificate) for e in endpoints if e.ServerCertificate), b"")
    if not found:
        raise WrongServer(f"{endpoint} offers no encryption")
    return found


def own_thumbprint(folder: Path) -> str:
    """The thumbprint of this client's certificate, for `cellwarden cert trust`."""
    return thumbprint(own_identity(folder / "own", "Cellwarden client", CLIENT_URI).der)


def _value(dv: Any) -> Value:
    status = int(dv.StatusCode.value) if dv.StatusCode is not None else 0
    stamp = dv.SourceTimestamp
    source = int(stamp.timestamp() * 1000) if stamp is not None and stamp.tzinfo is not None else None
    return Value(None if status >> 30 >= 2 or dv.Value is None else dv.Value.Value, status, source)
