"""A session that owns what it made: random token, own subscriptions, writes and calls only through Control."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

from asyncua.common.utils import ServiceError, create_nonce
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession, SessionState

from opcua_model.caller import NOBODY, Caller
from opcua_model.control import Control
from opcua_model.gate import Gate
from opcua_model.library import ua
from opcua_model.push import Push
from opcua_model.values import status_code

TOKEN_BYTES: Final = 32
NONCE_BYTES: Final = 32
MOST_SUBSCRIPTIONS: Final = 10
MOST_MONITORED: Final = 10_000
MOST_QUEUE: Final = 100
MOST_HOPS: Final = 16
MOST_SESSION_MS: Final = 120_000
MOST_CONNECTIONS_OVER: Final = 40
STRANGER: Final = User(role=UserRole.Anonymous)
Code = ua.StatusCodes


class Session(InternalSession):
    """One client's session. `caller` is who logged in, `certificate` the channel's that created it."""

    iserver: InnerServer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.caller: Caller = NOBODY
        self.certificate: bytes | None = None
        self.processor: Any = None
        if self.external:
            # The library counts its tokens up; a token that can be guessed is no token.
            self.iserver.unregister_external_session(self)
            self.auth_token = ua.NodeId(secrets.token_bytes(TOKEN_BYTES), 0, ua.NodeIdType.ByteString)
            self.iserver.register_external_session(self)

    def is_closed(self) -> bool:
        """True once the session has ended."""
        return bool(self.state == SessionState.Closed)

    def admit(self, caller: Caller, software_certificates: int) -> Any:
        """Activates the session for an identified caller; who is identified is decided before."""
        if self.state == SessionState.Created:
            InternalSession._current_connections += 1
        self.caller, self.user = caller, User(role=UserRole.User, name=caller.name)
        self.nonce = create_nonce(NONCE_BYTES)
        self.state = SessionState.Activated
        self.touch()
        self._start_timeout_watchdog()
        result = ua.ActivateSessionResult()
        result.ServerNonce = self.nonce
        result.Results = [ua.StatusCode() for _ in range(software_certificates)]
        return result

    def activate_session(self, params: Any, peer_certificate: bytes | None) -> Any:
        """Never: `admit` is the only way in."""
        raise ServiceError(Code.BadUserAccessDenied)

    async def write(self, params: Any) -> list[Any]:
        """A client's write goes to Control and nowhere else; the server's own session writes as in the library."""
        if not self.external:
            return await super().write(params)
        results = [await self.iserver.control.write(w, self.caller) for w in params.NodesToWrite]
        self._count_refused([w.NodeId for w in params.NodesToWrite], results)
        return results

    async def call(self, params: list[Any]) -> list[Any]:
        """A client's call goes to Control and nowhere else."""
        results = [await self.iserver.control.call(c, self.caller) for c in params]
        self._count_refused([c.MethodId for c in params], [r.StatusCode for r in results])
        return results

    def _count_refused(self, nodes: list[Any], results: list[Any]) -> None:
        for node, code in zip(nodes, results, strict=True):
            if code.value == Code.BadUserAccessDenied:
                why = self.iserver.control.lacking(node, self.caller)
                self.iserver.gate.refuse(self.caller.name, self.caller.address, why)

    async def add_nodes(self, params: Any) -> Any:
        """Never, for a client."""
        self._only_internal()
        return await super().add_nodes(params)

    async def delete_nodes(self, params: Any) -> Any:
        """Never, for a client."""
        self._only_internal()
        return await super().delete_nodes(params)

    def _only_internal(self) -> None:
        if self.external:
            raise ServiceError(Code.BadServiceUnsupported)

    async def translate_browsepaths_to_nodeids(self, params: list[Any]) -> list[Any]:
        """As the library; a path longer than any of ours is not followed."""
        if any(len(p.RelativePath.Elements) > MOST_HOPS for p in params):
            raise ServiceError(Code.BadTooManyOperations)
        return await super().translate_browsepaths_to_nodeids(params)

    def _owned(self, subscription_id: int) -> Any:
        """The subscription, if this session has it; another's is as unknown as none."""
        sub = self.subscription_service.subscriptions.get(subscription_id)
        if sub is None or sub.session_id != self.session_id:
            raise ServiceError(Code.BadSubscriptionIdInvalid)
        return sub

    def _owns(self, subscription_id: int) -> bool:
        sub = self.subscription_service.subscriptions.get(subscription_id)
        return sub is not None and sub.session_id == self.session_id

    def _mine(self) -> list[Any]:
        return [s for s in self.subscription_service.subscriptions.values() if s.session_id == self.session_id]

    async def create_subscription(self, params: Any, callback: Callable[..., Any], request_callback: Any = None) -> Any:
        """As the library, with at most so many per session, and never published faster than the scan."""
        if self.external:
            if len(self._mine()) >= MOST_SUBSCRIPTIONS:
                raise ServiceError(Code.BadTooManySubscriptions)
            wanted = params.RequestedPublishingInterval
            params.RequestedPublishingInterval = self.iserver.push.sampling_ms(wanted, 0.0)
        return await super().create_subscription(params, callback, request_callback)

    def modify_subscription(self, params: Any) -> Any:
        """Answers with what is in force, for an own subscription."""
        self._owned(params.SubscriptionId)
        return super().modify_subscription(params)

    async def delete_subscriptions(self, ids: list[int]) -> list[Any]:
        """Deletes own subscriptions; another's is unknown."""
        own = [i for i in ids if self._owns(i)]
        done = dict(zip(own, await super().delete_subscriptions(own), strict=True))
        return [done.get(i, status_code(Code.BadSubscriptionIdInvalid)) for i in ids]

    async def create_monitored_items(self, params: Any) -> list[Any]:
        """Monitors values; a client's deadband is refused rather than mishandled, the sampling interval told truly."""
        sub = self._owned(params.SubscriptionId)
        items = params.ItemsToCreate
        if sum(len(s.monitored_item_srv._monitored_items) for s in self._mine()) + len(items) > MOST_MONITORED:
            raise ServiceError(Code.BadTooManyMonitoredItems)
        for item in items:
            # By the standard 0 means 1 for data; the library would take its longest queue.
            wanted = item.RequestedParameters
            wanted.QueueSize = min(max(wanted.QueueSize, 1), MOST_QUEUE)
        params.ItemsToCreate = [i for i in items if not _deadband(i.RequestedParameters)]
        done = iter(await super().create_monitored_items(params))
        results = []
        for item in items:
            if _deadband(item.RequestedParameters):
                results.append(ua.MonitoredItemCreateResult(status_code(Code.BadMonitoredItemFilterUnsupported)))
                continue
            result = next(done)
            results.append(result)
            if result.StatusCode.is_good() and item.ItemToMonitor.AttributeId == ua.AttributeIds.Value:
                interval = self.iserver.push.sampling_ms(
                    item.RequestedParameters.SamplingInterval, sub.data.RevisedPublishingInterval
                )
                result.RevisedSamplingInterval = interval
                self.iserver.push.watch(item.ItemToMonitor.NodeId, interval)
        return results

    async def modify_monitored_items(self, params: Any) -> list[Any]:
        """As the library for an own subscription; an unknown item is answered, not raised."""
        sub = self._owned(params.SubscriptionId)
        known = sub.monitored_item_srv._monitored_items
        results = []
        for item in params.ItemsToModify:
            mdata = known.get(item.MonitoredItemId)
            if mdata is None or _deadband(item.RequestedParameters):
                code = Code.BadMonitoredItemIdInvalid if mdata is None else Code.BadMonitoredItemFilterUnsupported
                results.append(ua.MonitoredItemModifyResult(status_code(code)))
                continue
            wanted = item.RequestedParameters
            mdata.queue_size = min(wanted.QueueSize or 1, MOST_QUEUE)
            mdata.client_handle = wanted.ClientHandle
            interval = self.iserver.push.sampling_ms(wanted.SamplingInterval, sub.data.RevisedPublishingInterval)
            self.iserver.push.watch(mdata.read_value_id.NodeId, interval)
            results.append(ua.MonitoredItemModifyResult(status_code(Code.Good), interval, mdata.queue_size))
        return results

    async def delete_monitored_items(self, params: Any) -> list[Any]:
        """As the library, for an own subscription."""
        self._owned(params.SubscriptionId)
        return await super().delete_monitored_items(params)

    async def set_monitoring_mode(self, params: Any) -> list[Any]:
        """As the library, for an own subscription."""
        self._owned(params.SubscriptionId)
        return await super().set_monitoring_mode(params)

    async def set_publishing_mode(self, params: Any) -> list[Any]:
        """As the library; another's subscription is unknown."""
        results: list[Any] = []
        for i in params.SubscriptionIds:
            one = ua.SetPublishingModeParameters(params.PublishingEnabled, [i])
            good = self._owns(i)
            results += await super().set_publishing_mode(one) if good else [status_code(Code.BadSubscriptionIdInvalid)]
        return results

    def republish(self, params: Any) -> Any:
        """As the library, for an own subscription."""
        self._owned(params.SubscriptionId)
        return super().republish(params)

    def publish(self, acks: Any = None) -> tuple[int, list[Any]]:
        """Acknowledges own notifications only; a session without subscription has nothing to publish."""
        mine = len(self._mine())
        if not mine:
            raise ServiceError(Code.BadNoSubscription)
        results = []
        for ack in acks or []:
            if self._owns(ack.SubscriptionId):
                self.subscription_service.subscriptions[ack.SubscriptionId].publish([ack.SequenceNumber])
                results.append(status_code(Code.Good))
            else:
                results.append(status_code(Code.BadSubscriptionIdInvalid))
        return mine, results

    async def transfer_subscriptions(  # type: ignore[override]  # the library's own override differs likewise
        self, params: Any, callback: Any
    ) -> list[Any]:
        """Takes over subscriptions of the same user with the same certificate; another's is unknown."""
        results = []
        for i in params.SubscriptionIds:
            sub = self.subscription_service.subscriptions.get(i)
            owner = self.iserver.session_of(sub.session_id) if sub is not None else None
            if sub is None or owner is None or not self.certificate or owner.certificate != self.certificate:
                results.append(ua.TransferResult(status_code(Code.BadSubscriptionIdInvalid)))
                continue
            if owner.caller.name != self.caller.name:
                results.append(ua.TransferResult(status_code(Code.BadUserAccessDenied)))
                continue
            one = ua.TransferSubscriptionsParameters([i], params.SendInitialValues)
            results += await super().transfer_subscriptions(one, callback)
            sub.pub_request_callback = self.processor.get_publish_request
        return results


class InnerServer(InternalServer):
    """The library's inner server, with our sessions. Gate, control and push are set before it listens."""

    gate: Gate
    control: Control
    push: Push

    def create_session(self, name: str, user: User = STRANGER, external: bool = False) -> Session:
        """A session of ours."""
        return Session(self, self.aspace, self.subscription_service, name, user=user, external=external)

    async def stop(self) -> None:
        """As the library, without waiting for its clock's next second."""
        if self.time_task is not None:
            self.time_task.cancel()
            await asyncio.gather(self.time_task, return_exceptions=True)
            self.time_task = None
        await super().stop()

    def session_count(self) -> int:
        """Live sessions of clients, logged in or about to."""
        return len(self._external_sessions)

    def session_with(self, token: Any) -> Session | None:
        """The live session of an authentication token."""
        found = self.lookup_external_session(token)
        return found if isinstance(found, Session) else None

    def session_of(self, session_id: Any) -> Session | None:
        """The live session of an id."""
        found = (s for s in self._external_sessions.values() if s.session_id == session_id)
        return next((s for s in found if isinstance(s, Session)), None)

    def register_server(self, server: Any, conf: Any = None) -> None:
        """Never: this is no discovery server."""
        raise ServiceError(Code.BadServiceUnsupported)


def _deadband(wanted: Any) -> bool:
    # By its field, not its class: the library decodes filters into twins of its public classes.
    return int(getattr(wanted.Filter, "DeadbandType", 0)) != 0
