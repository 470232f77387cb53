"""What the library leaves open, closed: transport, channel, session and request, each at the first place that knows.

Facts and attacks: `facts/opcua.md` section 3 and `facts/reliability.md` section 4; every class here has a test that
shows the attack fail. Written against asyncua 2.1 (pinned below 2.2).
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import Any, Final

from asyncua.common.utils import ServiceError
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary, uatcp_to_binary
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from opcua_model.library import UaProcessor, ua
from opcua_model.pki import application_uri
from opcua_model.session import InnerServer, Session

log = logging.getLogger(__name__)

CHUNK_BYTES: Final = 65_535
MESSAGE_BYTES: Final = 2 * 1024 * 1024
OUTPUT_BYTES: Final = 16 * 1024 * 1024
HELLO_S: Final = 10.0
LEAST_NONCE: Final = 32
KINDS: Final = (b"HEL", b"OPN", b"MSG", b"CLO", b"ERR")

MOST_READ: Final = 1000
MOST_WRITE: Final = 100
MOST_CALL: Final = 10
MOST_BROWSE: Final = 100
MOST_PATHS: Final = 100
MOST_ITEMS: Final = 1000

_IDS: Final = ua.ObjectIds


def _service(name: str) -> int:
    return int(getattr(_IDS, f"{name}Request_Encoding_DefaultBinary"))


CREATE_SESSION: Final = _service("CreateSession")
ACTIVATE_SESSION: Final = _service("ActivateSession")
BROWSE: Final = _service("Browse")
OPEN: Final = frozenset(_service(n) for n in ("GetEndpoints", "FindServers", "CloseSecureChannel"))
"""Services without a session; nothing else is answered on an unencrypted channel outside the demo."""

COUNTED: Final[dict[int, tuple[int, int]]] = {
    _service("Read"): (12, MOST_READ),
    _service("Write"): (0, MOST_WRITE),
    _service("Call"): (0, MOST_CALL),
    _service("TranslateBrowsePathsToNodeIds"): (0, MOST_PATHS),
    _service("CreateMonitoredItems"): (8, MOST_ITEMS),
    _service("ModifyMonitoredItems"): (8, MOST_ITEMS),
    _service("DeleteMonitoredItems"): (4, MOST_ITEMS),
    _service("SetMonitoringMode"): (8, MOST_ITEMS),
    _service("DeleteSubscriptions"): (0, MOST_BROWSE),
    _service("TransferSubscriptions"): (0, MOST_BROWSE),
    _service("SetPublishingMode"): (1, MOST_BROWSE),
    _service("RegisterNodes"): (0, MOST_READ),
    _service("UnregisterNodes"): (0, MOST_READ),
    _service("Publish"): (0, MOST_READ),
}
"""Where a request's count lies behind its header, and the most it may be: judged before anything is decoded."""

UNCOUNTED: Final = frozenset(
    _service(n) for n in ("CloseSession", "CreateSubscription", "ModifySubscription", "Republish")
)
"""The other services of a session. What is in no set is refused: node management, registration, history."""


class Refused(Exception):
    """A channel that is closed with an error message to the peer."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Processor(UaProcessor):  # type: ignore[misc]
    """One channel. Certificate judged at OPN, one session per channel, the token of every request checked."""

    iserver: InnerServer
    session: Session | None

    @property
    def address(self) -> str:
        """The peer as host:port."""
        return f"{self.name[0]}:{self.name[1]}" if self.name else ""

    @property
    def secure(self) -> bool:
        """True on a signed and encrypted channel."""
        return bool(self._connection.security_policy.Mode == ua.MessageSecurityMode.SignAndEncrypt)

    @property
    def certificate(self) -> bytes | None:
        """The certificate with which the peer opened this channel: the only one that was proven."""
        found: bytes | None = self._connection.security_policy.peer_certificate
        return found

    async def process(self, header: Any, body: Any) -> bool:
        """As the library, but a refused channel is told why and closed."""
        try:
            return bool(await super().process(header, body))
        except Refused as refused:
            message = ua.ErrorMessage(ua.StatusCode(refused.code), refused.reason)
            self._transport.write(uatcp_to_binary(ua.MessageType.Error, message))
            return False

    def open_secure_channel(self, algohdr: Any, seqhdr: Any, body: Any) -> None:
        """Opens or renews a channel for a trusted certificate, and renews it only for the one that opened it."""
        if self._connection.security_policy.Mode != ua.MessageSecurityMode.None_:
            if self._connection.is_open() and algohdr.SenderCertificate != self.certificate:
                raise Refused(ua.StatusCodes.BadSecurityChecksFailed, "another certificate than before")
            reason = self.iserver.gate.judge_certificate(algohdr.SenderCertificate, self.address)
            if reason:
                raise Refused(ua.StatusCodes.BadSecurityChecksFailed, reason)
        super().open_secure_channel(algohdr, seqhdr, body)

    def send_response(
        self, requesthandle: Any, seqhdr: Any, response: Any, msgtype: Any = ua.MessageType.SecureMessage
    ) -> None:
        """As the library, but a peer that never reads is cut off before its answers fill the memory."""
        super().send_response(requesthandle, seqhdr, response, msgtype)
        if self._transport.get_write_buffer_size() > OUTPUT_BYTES:
            log.warning("%s does not read its answers; cut off", self.address)
            self._transport.abort()

    async def _process_message(self, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> bool:
        service = typeid.Identifier if typeid.NamespaceIndex == 0 else -1
        if service in OPEN:
            return bool(await super()._process_message(typeid, requesthdr, seqhdr, body))
        if not self.secure and not self.iserver.gate.rules.demo:
            raise ServiceError(ua.StatusCodes.BadSecurityModeInsufficient)
        if service == CREATE_SESSION:
            return await self._create(typeid, requesthdr, seqhdr, body)
        if service == ACTIVATE_SESSION:
            return await self._activate(requesthdr, seqhdr, body)
        if service not in COUNTED and service not in UNCOUNTED and service != BROWSE:
            self.iserver.gate.refused += 1
            raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
        session = self.session
        if session is None or requesthdr.AuthenticationToken != session.auth_token:
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        if count_of(service, body) > (COUNTED[service][1] if service in COUNTED else MOST_BROWSE):
            self.iserver.gate.refused += 1
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)
        return bool(await super()._process_message(typeid, requesthdr, seqhdr, body))

    async def _create(self, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> bool:
        """CreateSession: one live session per channel, for the application that owns the channel's certificate."""
        if self.session is not None and not self.session.is_closed():
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        if self.iserver.session_count() >= self.iserver.gate.rules.max_sessions:
            self.iserver.gate.refuse("", self.address, "too many sessions")
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        if self.secure:
            params = struct_from_binary(ua.CreateSessionParameters, body.copy())
            if params.ClientCertificate != self.certificate:
                self.iserver.gate.refuse("", self.address, "session with another certificate than the channel's")
                raise ServiceError(ua.StatusCodes.BadCertificateInvalid)
            certificate = x509.load_der_x509_certificate(params.ClientCertificate)
            if params.ClientDescription.ApplicationUri != application_uri(certificate):
                self.iserver.gate.refuse("", self.address, "application URI is not the certificate's")
                raise ServiceError(ua.StatusCodes.BadCertificateUriInvalid)
            if len(params.ClientNonce or b"") < LEAST_NONCE:
                raise ServiceError(ua.StatusCodes.BadNonceInvalid)
        done = bool(await super()._process_message(typeid, requesthdr, seqhdr, body))
        session = self.session
        if session is not None:
            session.certificate, session.processor = self.certificate, self
        return done

    async def _activate(self, requesthdr: Any, seqhdr: Any, body: Any) -> bool:
        """ActivateSession: whatever fails closes the channel, so that a token can be tried once per connection."""
        try:
            params = struct_from_binary(ua.ActivateSessionParameters, body)
            response = ua.ActivateSessionResponse()
            response.Parameters = await self._admit(requesthdr.AuthenticationToken, params)
        except ServiceError as error:
            fault = ua.ServiceFault()
            fault.ResponseHeader.ServiceResult = ua.StatusCode(error.code)
            self.send_response(requesthdr.RequestHandle, seqhdr, fault)
            return False
        self.send_response(requesthdr.RequestHandle, seqhdr, response)
        return True

    async def _admit(self, token: Any, params: Any) -> Any:
        session = self.session if self.session is not None else self._resumable(token)
        if session is None or session.auth_token != token or session.is_closed():
            self.iserver.gate.refuse("", self.address, "unknown session")
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        policy = self._connection.security_policy
        try:
            policy.asymmetric_cryptography.verify(
                (policy.host_certificate or b"") + (session.nonce or b""), params.ClientSignature.Signature
            )
        except InvalidSignature:
            self.iserver.gate.refuse("", self.address, "wrong signature at log-in")
            raise ServiceError(ua.StatusCodes.BadApplicationSignatureInvalid) from None
        caller = await self.iserver.gate.identify(params.UserIdentityToken, session, self.secure, self.address)
        if session is not self.session:
            if (caller.name, caller.role) != (session.caller.name, session.caller.role) or session.is_closed():
                self.iserver.gate.refuse(caller.name, self.address, "session of another user")
                raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
            self._take_over(session)
        return session.admit(caller, len(params.ClientSoftwareCertificates))

    def _resumable(self, token: Any) -> Session | None:
        """A live session of the same certificate; without certificate nothing can be resumed."""
        session = self.iserver.session_with(token)
        if session is None or not self.secure or not session.is_activated():
            return None
        return session if session.certificate == self.certificate else None

    def _take_over(self, session: Session) -> None:
        """Moves a session to this channel; the old channel loses it at once."""
        if session.processor is not None and session.processor is not self:
            session.processor.session = None
            session.processor._transport.close()
        self.session, session.processor = session, self
        self._closing = False
        self._session_watchdog_task = asyncio.create_task(self._session_watchdog_loop())
        for sub in self.iserver.subscription_service.subscriptions.values():
            if sub.session_id == session.session_id:
                sub.pub_result_callback = self.forward_publish_response
                sub.pub_request_callback = self.get_publish_request


def count_of(service: int, body: Any) -> int:
    """How many operations a request claims, read without decoding it."""
    peek = body.copy()
    if service == BROWSE:
        nodeid_from_binary(peek)
        offset = 8 + 4 + 4
    elif service in COUNTED:
        offset = COUNTED[service][0]
    else:
        return 0
    peek.skip(offset)
    return int(struct.unpack("<i", peek.read(4))[0])


class Protocol(OPCUAProtocol):
    """One connection. A chunk that claims too much, or is none, ends it before it is buffered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As the library, but silent strangers make room for a newcomer when all places are taken."""
        if len(self.clients) >= self.iserver.max_connections:
            for other in self.clients:
                session = other.processor.session if other.processor is not None else None
                if (session is None or not session.is_activated()) and other.transport is not None:
                    other.transport.abort()
                    self.clients.remove(other)
                    break
        super().connection_made(transport)
        if self.transport is not None:
            self.processor = Processor(self.iserver, self.transport, self.limits)
            self.processor.set_policies(self.policies)

    def data_received(self, data: bytes) -> None:
        """As the library, but what stays behind must be the beginning of an acceptable chunk."""
        super().data_received(data)
        rest = self._buffer
        wrong = len(rest) >= 3 and rest[:3] not in KINDS
        if len(rest) >= 8:
            size = int.from_bytes(rest[4:8], "little")
            wrong = wrong or size > CHUNK_BYTES or len(rest) >= size
        if wrong:
            self._drop("a chunk of wrong kind or size")

    async def _process_one_msg(self, header: Any, buf: Any) -> bool:
        try:
            return await super()._process_one_msg(header, buf)
        except Exception as error:  # noqa: BLE001  # the root of a connection: whatever a peer sends ends this connection only
            self._drop(f"{type(error).__name__}: {error}")
            return False

    def _drop(self, why: str) -> None:
        log.warning("closing %s: %s", self.peer_name, why)
        self._buffer = b""
        if self.transport is not None:
            self.transport.abort()


class Listener(BinaryServer):
    """The socket server, with our protocol."""

    def _make_protocol(self) -> OPCUAProtocol:
        return Protocol(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)
