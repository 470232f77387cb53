"""The OPC UA server of a site: all it shows comes from the images, all it is asked for goes to the scan."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
from pathlib import Path
from typing import Any, Final

from asyncua.common.connection import TransportLimits
from asyncua.server.server import Server

from controller.core.event import Event
from controller.image.files import SiteFiles
from controller.image.release import release
from controller.image.status import OpcuaStatus
from opcua_model.catalog import AlarmNames, Catalog
from opcua_model.control import Control, Verdict
from opcua_model.gate import LOOPBACK, Gate, Rules
from opcua_model.hardening import (
    CHUNK_BYTES,
    HELLO_S,
    MESSAGE_BYTES,
    MOST_BROWSE,
    MOST_CALL,
    MOST_ITEMS,
    MOST_PATHS,
    MOST_READ,
    MOST_WRITE,
    Listener,
)
from opcua_model.library import ua, uacrypto
from opcua_model.model import Identity, Model, build_model
from opcua_model.naming import PATH, ROOT
from opcua_model.pki import Pki, own_identity
from opcua_model.push import Push
from opcua_model.session import MOST_CONNECTIONS_OVER, MOST_QUEUE, MOST_SESSION_MS, MOST_SUBSCRIPTIONS, InnerServer
from opcua_model.space import SpaceBuilder
from opcua_model.users import UserStore, users_file
from opcua_model.values import Values
from opcua_model.view import Clock, Grade, View
from opcua_model.why import Whys, as_text
from plc_config.compile import Compiled

MODEL_URI: Final = "urn:cellwarden:model"
NODESET: Final = Path(__file__).parent / "cellwarden.NodeSet2.xml"
STATUS_S: Final = 1.0
FULL_SERVICE: Final = 255
NO_DATA: Final = 1
SECURE: Final = (
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
)

_LIMIT: Final = "Server_ServerCapabilities_OperationLimits_Max"
OPERATION_LIMITS: Final = {
    f"{_LIMIT}NodesPerRead": MOST_READ,
    f"{_LIMIT}NodesPerWrite": MOST_WRITE,
    f"{_LIMIT}NodesPerMethodCall": MOST_CALL,
    f"{_LIMIT}NodesPerBrowse": MOST_BROWSE,
    f"{_LIMIT}NodesPerRegisterNodes": MOST_READ,
    f"{_LIMIT}NodesPerTranslateBrowsePathsToNodeIds": MOST_PATHS,
    f"{_LIMIT}NodesPerNodeManagement": 0,
    f"{_LIMIT}MonitoredItemsPerCall": MOST_ITEMS,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where the server listens; port 0 lets the system choose."""

    host: str
    port: int


def site_uri(site_id: str) -> str:
    """The namespace of a site's instances."""
    return f"urn:cellwarden:site:{site_id}"


def application_uri(site_id: str) -> str:
    """The URI under which the server's certificate speaks."""
    return f"urn:cellwarden:controller:{site_id}"


def model_of(compiled: Compiled, catalog: Catalog) -> Model:
    """The model of a checked site."""
    config = compiled.config
    identity = Identity(
        config.site.id,
        config.site.name,
        release(),
        config.cell_type,
        config.cycle,
        config.dispatch.rated_power,
        config.dispatch.rated_reactive_power,
    )
    plan = compiled.plan
    units = [(plan.buses[d.bus].name, f"U{d.unit:03d}", d.name) for d in plan.devices]
    return build_model(identity, compiled.topology, catalog, [b.name for b in plan.buses], units)


class _Outer(Server):
    """The library's server on our listener."""

    async def start(self) -> None:
        """Starts listening; an error is raised, nothing is left half started."""
        await self._setup_server_nodes()
        for endpoint in self.iserver.endpoints:
            if endpoint.SecurityMode == ua.MessageSecurityMode.None_:
                # A password is taken on encrypted channels only, so it is not offered elsewhere.
                tokens = endpoint.UserIdentityTokens
                endpoint.UserIdentityTokens = [t for t in tokens if t.TokenType == ua.UserTokenType.Anonymous]
        await self.iserver.start()
        host, port = self._get_bind_socket_info()
        self.bserver = Listener(self.iserver, host or LOOPBACK[0], port or 0, self.limits)
        self.bserver.set_policies(self._policies)
        try:
            await self.bserver.start()
        except OSError:
            await self.iserver.stop()
            raise


class OpcuaServer:
    """Builds, runs and stops the server of one site."""

    def __init__(
        self,
        compiled: Compiled,
        catalog: Catalog,
        files: SiteFiles,
        state: Path,
        clock: Clock,
        demo: bool = False,
        place: Place | None = None,
    ) -> None:
        config = compiled.config
        self.compiled, self.files, self.clock = compiled, files, clock
        self.place = place or Place(config.opcua.bind, config.opcua.port)
        self.model = model_of(compiled, catalog)
        self._whys = Whys(compiled, self.model)
        self.pki = Pki(state / "pki")
        rules = Rules(demo, config.opcua.anonymous_read, config.opcua.max_sessions)
        self._events = files.event_writer("opcua")
        self._status = files.writer("status.opcua")
        users = UserStore(users_file(state), config.users)
        self.gate = Gate(rules, self.pki, users, clock, self._tell)
        self.view = View(files, clock, config.cycle)
        self.iserver = InnerServer(user_manager=None)
        self.server = _Outer(iserver=self.iserver)
        self._tasks: list[asyncio.Task[None]] = []
        self._pushed_before = 0

    @property
    def endpoint(self) -> str:
        """The URL at which clients find the server."""
        port = self.server.bserver.port if self.server.bserver is not None else self.place.port
        return f"opc.tcp://{self.place.host}:{port}{PATH}"

    async def start(self) -> None:
        """Builds the address space and listens. Collection is off meanwhile: half of the build would be spent in it."""
        gc.disable()
        try:
            await self._build()
        finally:
            gc.enable()
        await self.server.start()
        self._tasks = [asyncio.create_task(self.push.run()), asyncio.create_task(self._report())]

    async def stop(self) -> None:
        """Closes all sessions and the socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.control.stop()
        if self.server.bserver is not None:
            await self.server.stop()
        self._write_status(listening=False)

    async def wait(self) -> None:
        """Returns only by raising: when one of the server's own tasks failed."""
        await asyncio.gather(*self._tasks)

    async def _build(self) -> None:
        site = self.model.identity.site_id
        await self._configure(site)
        await self.server.init()
        await self.server.set_application_uri(application_uri(site))
        await self.server.import_xml(str(NODESET), auto_load_definitions=False)
        model_index = await self.server.get_namespace_index(MODEL_URI)
        site_index = await self.server.register_namespace(site_uri(site))
        values = Values(self.view, self.clock, {})
        self.control = Control(
            self.files,
            self.clock,
            self.model.identity.cycle_ms,
            site_index,
            AlarmNames(self.model.catalog),
            self._explain,
        )
        builder = SpaceBuilder(self.iserver.aspace, self.model, site_index, model_index, values.read)
        builder.build(self.control.points())
        values.variables = builder.variables
        self.push = Push(self.iserver.aspace, values, site_index, self.model.identity.cycle_ms)
        self.iserver.gate, self.iserver.control, self.iserver.push = self.gate, self.control, self.push
        await self._capabilities()

    async def _configure(self, site: str) -> None:
        server, inner, rules = self.server, self.iserver, self.gate.rules
        server.set_endpoint(f"opc.tcp://{self.place.host}:{self.place.port}{PATH}")
        server.set_server_name(f"Cellwarden {site}")
        server.product_uri, server.manufacturer_name = "urn:cellwarden:controller", "Cellwarden"
        server.application_type = ua.ApplicationType.Server
        server.limits = TransportLimits(CHUNK_BYTES, CHUNK_BYTES, MESSAGE_BYTES // CHUNK_BYTES + 1, MESSAGE_BYTES)
        policies = list(SECURE)
        if rules.demo:
            policies.append(ua.SecurityPolicyType.NoSecurity)
        server.set_security_policy(policies)
        tokens: list[type] = [ua.UserNameIdentityToken]
        if rules.demo or rules.anonymous_read:
            tokens.append(ua.AnonymousIdentityToken)
        server.set_identity_tokens(tokens)
        own = own_identity(self.pki.own, f"Cellwarden {site}", application_uri(site), (self.place.host,))
        inner.certificate = uacrypto.x509_from_der(own.der)
        inner.private_key = await uacrypto.load_private_key(own.key)
        inner.max_connections = rules.max_sessions + MOST_CONNECTIONS_OVER
        inner.max_pending_activation_seconds = HELLO_S
        inner.max_session_timeout_ms = MOST_SESSION_MS
        inner.max_subscriptions = rules.max_sessions * MOST_SUBSCRIPTIONS
        inner.max_monitored_item_queue_size = MOST_QUEUE
        inner.allow_remote_admin = False

    async def _capabilities(self) -> None:
        for name, most in OPERATION_LIMITS.items():
            node = self.server.get_node(ua.NodeId(getattr(ua.ObjectIds, name)))
            await node.write_value(ua.Variant(most, ua.VariantType.UInt32))

    def _explain(self, question: str) -> Verdict:
        """The answer to a why-question, as text and as data."""
        answers = self._whys.answer(question, self.view.process())
        chain = json.dumps([dataclasses.asdict(a) for a in answers])
        return Verdict(True, "\n\n".join(as_text(a) for a in answers), chain=chain)

    def _tell(self, event: Event) -> None:
        self._events.put(event.record(0, self.clock.monotonic_ms(), self.clock.utc_ms()))

    async def _report(self) -> None:
        node = self.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServiceLevel))
        while True:
            self._write_status(listening=True)
            # Redundant clients choose by this; without current data another server is better.
            level = FULL_SERVICE if self.view.process().grade is Grade.FRESH else NO_DATA
            await node.write_value(ua.Variant(level, ua.VariantType.Byte))
            await asyncio.sleep(STATUS_S)

    def _write_status(self, listening: bool) -> None:
        subs = self.iserver.subscription_service.subscriptions.values()
        pushed = self.push.pushed if hasattr(self, "push") else 0
        sessions = [s for s in self.iserver._external_sessions.values() if s.is_activated()]
        status: dict[str, Any] = {
            "alive_ms": self.clock.monotonic_ms(),
            "listening": int(listening),
            "sessions": len(sessions),
            "subscriptions": len(subs),
            "monitored_items": sum(len(s.monitored_item_srv._monitored_items) for s in subs),
            "items_pushed": pushed,
            "items_per_s": (pushed - self._pushed_before) / STATUS_S,
            "refused": self.gate.refused,
        }
        self._pushed_before = pushed
        self._status.write(OpcuaStatus(**status))


def node_path(path: str, site_index: int) -> Any:
    """The node id of a path below BatterySystem."""
    return ua.NodeId(f"{ROOT}/{path}" if path else ROOT, site_index)
