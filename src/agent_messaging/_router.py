"""Messages to handlers, by their type."""

import inspect
from collections.abc import Mapping
from typing import Final, final

from typing_extensions import Buffer

from agent_messaging._checks import check_seconds, check_user
from agent_messaging._emitter import Clock
from agent_messaging._errors import ConfigurationError, RemoteError
from agent_messaging._handler import (
    AgentMessageHandler,
    MessageHandler,
    check_identity,
    unsupported,
)
from agent_messaging._limits import DEFAULT_LIMITS, Limits
from agent_messaging._messages import Message
from agent_messaging._outbox import Outbox, OutboxPool, WebSocketLike
from agent_messaging._registry import is_coroutine_function
from agent_messaging._replies import Replies
from agent_messaging._run import NO_METADATA
from agent_messaging._stats import RouterStats, Statistics
from agent_messaging.dialects.native import NativeDialect

__all__ = ["MessageRouter"]


@final
class MessageRouter:
    """Handlers by message type, the first registered first; itself a `MessageHandler`.

    Args:
        handlers: registered in this order.
        dialect: decodes the frames and encodes the router's own replies.
        final_send_timeout: seconds that a call waits for a reply of the router to go out.
        limits: the bounds of the dialect made here, and of the outboxes.
        clock: where times come from.

    Raises:
        ConfigurationError: an argument is not what it has to be.
    """

    def __init__(
        self,
        *handlers: MessageHandler,
        dialect: NativeDialect | None = None,
        final_send_timeout: float = 5.0,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock | None = None,
    ) -> None:
        check_seconds("final_send_timeout", final_send_timeout)
        self._handlers: list[MessageHandler] = []
        self._dialect = dialect or NativeDialect(limits=limits)
        self._statistics = Statistics()
        self._outboxes = OutboxPool(limits)
        self._final_send_timeout = final_send_timeout
        self._replies = Replies(
            self._dialect, self._statistics, clock or Clock(), final_send_timeout
        )
        for handler in handlers:
            self.register(handler)

    def register(self, handler: MessageHandler) -> None:
        """Add a handler behind those that are there.

        Raises:
            ConfigurationError: it is registered already, or is no `MessageHandler`.
        """
        name = type(handler).__name__
        if inspect.isclass(handler):
            raise ConfigurationError(f"a handler is an object, not {handler!r}")
        if isinstance(handler, MessageRouter) and handler.reaches(self):
            raise ConfigurationError("a router cannot route to itself")
        if any(handler is known for known in self._handlers):
            raise ConfigurationError(f"this {name} is registered already")
        for method in ("can_handle", "handle_message", "get_stats"):
            if not callable(getattr(handler, method, None)):
                raise ConfigurationError(f"handler {name} has no method {method}")
        if not is_coroutine_function(handler.handle_message):
            raise ConfigurationError(f"{name}.handle_message must be a coroutine function")
        if is_coroutine_function(handler.can_handle):
            raise ConfigurationError(f"{name}.can_handle must be a plain function")
        if not getattr(handler, "supported_types", None):
            raise ConfigurationError(f"{name}.supported_types names no message type")
        self._handlers.append(handler)

    def reaches(self, router: "MessageRouter") -> bool:
        """Whether a message can come to ``router`` from here."""
        return router is self or any(
            handler.reaches(router)
            for handler in self._handlers
            if isinstance(handler, MessageRouter)
        )

    @property
    def supported_types(self) -> frozenset[str]:
        """The types that any of its handlers supports."""
        return frozenset(kind for handler in self._handlers for kind in handler.supported_types)

    def can_handle(self, message_type: str) -> bool:
        """Whether a handler is there for it."""
        return any(handler.can_handle(message_type) for handler in self._handlers)

    def get_stats(self) -> RouterStats:
        """A detached copy of the router's refusals and its handlers' counters, in their order."""
        return {
            "errors": self._statistics.live["errors"],
            "refusals": dict(self._statistics.live["refusals"]),
            "handlers": [dict(handler.get_stats()) for handler in self._handlers],
        }

    async def handle_frame(
        self,
        user_id: str,
        websocket: WebSocketLike,
        frame: str | Buffer,
        *,
        metadata: Mapping[str, object] | None = None,
    ) -> bool:
        """Decode one frame and handle its message; a frame that does not decode is answered.

        As `handle_message` otherwise.
        """
        check_user(user_id)
        outbox = self._outboxes.acquire(websocket)
        try:
            try:
                message = self._dialect.decode(frame)
            except RemoteError as refusal:
                return await self._replies.refuse(user_id, outbox, refusal)
            return await self.handle_on(outbox, user_id, message, metadata or NO_METADATA)
        finally:
            outbox.leave()

    async def handle_message(
        self,
        user_id: str,
        websocket: WebSocketLike | None,
        message: Message,
        *,
        metadata: Mapping[str, object] | None = None,
    ) -> bool:
        """Hand the message to the first handler for its type; False, answered, if there is none.

        Without a websocket the handler uses its own, and what the router refuses is only counted.

        Raises:
            ConfigurationError: ``user_id`` is no id, or ``websocket`` cannot be used.
            Exception: whatever a handler that is not of this package raises.
            CancelledError: as the handler's. The router is usable after each of them.
        """
        check_user(user_id)
        if websocket is None:
            try:
                handler = self.handler_for(user_id, message)
            except RemoteError as refusal:
                return await self._replies.refuse(user_id, None, refusal)
            if isinstance(handler, _OWN):
                return await handler.handle_message(user_id, None, message, metadata=metadata)
            return await handler.handle_message(user_id, None, message) is True
        outbox = self._outboxes.acquire(websocket)
        try:
            return await self.handle_on(outbox, user_id, message, metadata or NO_METADATA)
        finally:
            outbox.leave()

    async def handle_on(
        self, outbox: Outbox, user_id: str, message: Message, metadata: Mapping[str, object]
    ) -> bool:
        """`handle_message` for another router, which holds the connection's outbox already."""
        try:
            handler = self.handler_for(user_id, message)
        except RemoteError as refusal:
            return await self._replies.refuse(user_id, outbox, refusal)
        if isinstance(handler, _OWN):
            return await handler.handle_on(outbox, user_id, message, metadata)
        # A handler of the host's that falls through has not handled it; and it takes no metadata.
        return await handler.handle_message(user_id, outbox.websocket, message) is True

    async def aclose(self) -> None:
        """Wait for the frames that cancelled calls left behind, as `AgentMessageHandler.aclose`."""
        await self._outboxes.aclose(self._final_send_timeout)

    def handler_for(self, user_id: str, message: Message) -> MessageHandler:
        """The first handler for the message.

        Raises:
            RemoteError: there is none, or the message names another user.
        """
        check_identity(user_id, message)
        for handler in self._handlers:
            if handler.can_handle(message.type):
                return handler
        raise unsupported(message)


#: The handlers that post to an outbox, which they can share.
_OWN: Final = (AgentMessageHandler, MessageRouter)
