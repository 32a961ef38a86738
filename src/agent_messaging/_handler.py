"""Messages in, runs out: the handler protocol and the canonical handler."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar, final

from agent_messaging._checks import check_seconds, check_user
from agent_messaging._emitter import Clock, Encode, RunEmitter, Sink
from agent_messaging._errors import ConfigurationError, ErrorCode, RemoteError
from agent_messaging._events import CancelReason
from agent_messaging._ids import made_id, new_id
from agent_messaging._lifecycle import GoldenPathReport
from agent_messaging._limits import DEFAULT_LIMITS, Limits
from agent_messaging._log import is_heard, log, raised_at
from agent_messaging._messages import AGENT_MESSAGES, Message, MessageType
from agent_messaging._outbox import Outbox, OutboxPool, WebSocketLike, as_transport
from agent_messaging._registry import AgentLike, is_coroutine_function, resolver
from agent_messaging._replies import Replies
from agent_messaging._run import NO_METADATA, Agent, Run, RunContext, RunOutcome, execute
from agent_messaging._stats import HandlerStats, ProcessingStats, Statistics
from agent_messaging.dialects.native import NativeDialect, NativeRunEncoder

__all__ = [
    "AgentMessageHandler",
    "MessageHandler",
    "RunFinished",
]

_logger: Final = logging.getLogger("agent_messaging.handler")

_COMPLETED: Final = MessageType.AGENT_COMPLETED

T = TypeVar("T")


class MessageHandler(Protocol):
    """What a `MessageRouter` routes to."""

    @property
    def supported_types(self) -> Collection[str]:
        """The message types that it handles."""
        ...

    def can_handle(self, message_type: str, /) -> bool:
        """Whether it handles messages of this type."""
        ...

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message, /
    ) -> bool:
        """Handle one message; whether that succeeded and was delivered."""
        ...

    def get_stats(self) -> Mapping[str, object]:
        """A detached copy of its counters."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """What a finish hook is told.

    Attributes:
        context: whose run it was.
        message: the message that started it.
        report: what was decided and delivered; ``report.outcome`` is how it ended.
        code: a failed run's code; None for other outcomes.
        reason: a cancelled run's reason; None for other outcomes.
        error: what the agent raised, if it did; not for the client.
    """

    context: RunContext
    message: Message
    report: GoldenPathReport
    code: str | None
    reason: CancelReason | None
    error: BaseException | None


#: Called after each run; what it raises is logged and counted, and changes nothing else.
FinishHook: TypeAlias = Callable[[RunFinished], None]


@final
class AgentMessageHandler:
    """The canonical handler of START_AGENT, USER_MESSAGE and CHAT.

    Each message is one isolated run of the agent, whose events go to the websocket it came by.
    One handler serves any number of users and connections at once.

    Args:
        message_handler_service: the agent: a coroutine function, an async generator function, an
            `AgentRegistry` or a `MessageHandlerService`.
        websocket: serves the calls of `handle_message` that pass None, and no others.
        dialect: decodes nothing here, and encodes the frames.
        run_timeout: seconds after which a run fails with ``timeout``; None for no bound.
        final_send_timeout: seconds that a call waits at its end for its frames to go out.
        on_run_finished: told of each run once its frames are out.
        limits: the bounds of the dialect made here, and of the outboxes of direct calls; behind a
            router the router's hold.
        clock: where times come from.
        new_id: makes thread, run and message ids.

    Raises:
        ConfigurationError: an argument is not what it has to be.
    """

    def __init__(
        self,
        message_handler_service: AgentLike,
        websocket: WebSocketLike | None = None,
        *,
        dialect: NativeDialect | None = None,
        run_timeout: float | None = None,
        final_send_timeout: float = 5.0,
        on_run_finished: FinishHook | None = None,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock | None = None,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        if websocket is not None:
            as_transport(websocket)
        if run_timeout is not None:
            check_seconds("run_timeout", run_timeout)
        check_seconds("final_send_timeout", final_send_timeout)
        if on_run_finished is not None:
            _check_hook(on_run_finished)
        self._resolve = resolver(message_handler_service)
        self._websocket = websocket
        self._dialect = dialect or NativeDialect(limits=limits)
        self._run_timeout = run_timeout
        self._final_send_timeout = final_send_timeout
        self._on_run_finished = on_run_finished
        self._clock = clock or Clock()
        self._new_id = new_id
        self._statistics = Statistics()
        self._outboxes = OutboxPool(limits)
        self._replies = Replies(self._dialect, self._statistics, self._clock, final_send_timeout)

    @property
    def supported_types(self) -> frozenset[str]:
        """START_AGENT, USER_MESSAGE and CHAT."""
        return AGENT_MESSAGES

    def can_handle(self, message_type: str) -> bool:
        """Whether it is one of `supported_types`."""
        return message_type in AGENT_MESSAGES

    @property
    def processing_stats(self) -> ProcessingStats:
        """The live counters."""
        return self._statistics.live

    def get_stats(self) -> HandlerStats:
        """A detached copy of the counters, and what the handler is."""
        return {
            **self._statistics.snapshot(),
            "handler_type": "SSOT_CANONICAL",
            "consolidation_issue": "#1093",
            "supported_message_types": len(AGENT_MESSAGES),
        }

    async def handle_message(
        self,
        user_id: str,
        websocket: WebSocketLike | None,
        message: Message,
        *,
        metadata: Mapping[str, object] | None = None,
    ) -> bool:
        """Run the agent for one message, or answer why not.

        Args:
            user_id: the authenticated user, from the host and never from a frame.
            websocket: where the events go: anything that `as_transport` knows, or None for the
                constructor's.
            message: the client's message.
            metadata: for the run's context, as the host likes.

        Returns:
            True when the run completed and every event was delivered; False when the message was
            refused, the run failed, or the transport did.

        Raises:
            ConfigurationError: ``user_id`` or what ``new_id`` returns is no id, or there is no
                usable websocket. Nothing was sent or counted.
            CancelledError: the call was cancelled; the run has its terminal event.
            BaseException: what the agent raised that is no Exception, after the terminal event.

        The handler is usable after each of them.
        """
        check_user(user_id)
        if websocket is None:
            websocket = self._websocket
        if websocket is None:
            raise ConfigurationError("handle_message needs a websocket, or the constructor does")
        outbox = self._outboxes.acquire(websocket)
        try:
            return await self.handle_on(outbox, user_id, message, metadata or NO_METADATA)
        finally:
            outbox.leave()

    async def aclose(self) -> None:
        """Wait for the frames that cancelled calls left behind, at most ``final_send_timeout``.

        What is then still unsent is given up. Idempotent; the handler is usable afterwards.
        """
        await self._outboxes.aclose(self._final_send_timeout)

    async def handle_on(
        self, outbox: Outbox, user_id: str, message: Message, metadata: Mapping[str, object]
    ) -> bool:
        """`handle_message` for a router, which holds the connection's outbox already."""
        try:
            check_identity(user_id, message)
            request, agent = self.prepare(message)
        except RemoteError as refusal:
            return await self._replies.refuse(user_id, outbox, refusal)
        context = RunContext(
            user_id=user_id,
            thread_id=message.thread_id or made_id(self._new_id),
            run_id=made_id(self._new_id),
            message_id=message.message_id or made_id(self._new_id),
            metadata=metadata,
        )
        encoder = NativeRunEncoder(context.user_id, context.thread_id, context.run_id)
        run, emitter = self.route(context, message, request, encoder.encode, outbox)
        return await self._run(run, emitter, agent, outbox)

    # The steps of a run, for this class and for an endpoint.

    def prepare(self, message: Message) -> tuple[str, Agent]:
        """What the user asks, and who is to answer.

        Raises:
            RemoteError: the message starts no run.
        """
        if message.type not in AGENT_MESSAGES:
            raise unsupported(message)
        return message.request, self._resolve(message)

    def route(
        self,
        context: RunContext,
        message: Message,
        request: str,
        encode: Encode[T],
        sink: Sink[T],
        clock: Clock | None = None,
    ) -> tuple[Run, RunEmitter]:
        """The isolated run of a message, whose events go to ``sink`` as ``encode`` makes them."""
        self._statistics.started()
        emitter = RunEmitter(encode, self._dialect, sink, self._statistics, clock or self._clock)
        return Run(context, message, request, emitter), emitter

    async def conduct(
        self, run: Run, emitter: RunEmitter, agent: Agent, outcome: RunOutcome
    ) -> None:
        """Run the agent to its terminal event, and count the run."""
        try:
            await execute(run, emitter, agent, self._run_timeout, outcome)
        finally:
            # A coroutine that is closed goes no further than here, and counts all the same.
            self.count_end(run, outcome)

    def count_end(self, run: Run, outcome: RunOutcome) -> None:
        """Count a run that has decided its end, once."""
        if outcome.is_counted:
            return
        outcome.is_counted = True
        self._statistics.ended(outcome.kind, outcome.duration_ms)
        if outcome.kind is _COMPLETED:
            self._count(run.message.type)

    async def _run(self, run: Run, emitter: RunEmitter, agent: Agent, outbox: Outbox) -> bool:
        outcome = RunOutcome()
        try:
            await self.conduct(run, emitter, agent, outcome)
            cancelled = await outbox.settle(self._final_send_timeout)
        finally:
            self.report(run, outcome)
        if outcome.raised is not None:
            raise outcome.raised
        if cancelled is not None:
            raise cancelled
        return outcome.kind is _COMPLETED and not emitter.lifecycle.undelivered

    def _count(self, message_type: str) -> None:
        self._statistics.processed(message_type, self._clock.wall())

    def report(self, run: Run, outcome: RunOutcome) -> None:
        """Log a run that has ended, and tell the finish hook."""
        # An agent that chose its words meant to fail; any other exception is a fault to look into.
        level = logging.ERROR if outcome.is_fault else logging.INFO
        error = outcome.error
        outcome.error = None  # whose traceback holds the outcome
        if is_heard(_logger, level):
            context = run.context
            fields: dict[str, object] = {
                "user_id": context.user_id,
                "thread_id": context.thread_id,
                "run_id": context.run_id,
                "outcome": str(outcome.kind),
                "code": outcome.code,
                "reason": outcome.reason,
                "duration_ms": outcome.duration_ms,
            }
            if error is not None:
                fields |= {"error": type(error).__name__, "raised_at": raised_at(error)}
                log(_logger, logging.DEBUG, "run_error", fields, error)
            log(_logger, level, "run_finished", fields)
        if self._on_run_finished is None:
            return
        finished = RunFinished(
            context=run.context,
            message=run.message,
            report=run.report,
            code=outcome.code,
            reason=outcome.reason,
            error=error,
        )
        try:
            self._on_run_finished(finished)
        except Exception as raised:  # noqa: BLE001 - a hook's failure is not the run's
            self._statistics.hook_failed()
            fields = {"error": type(raised).__name__, "raised_at": raised_at(raised)}
            log(_logger, logging.DEBUG, "hook_error", fields, raised)
            log(_logger, logging.ERROR, "hook_failed", fields)

    # The names that the steps had in the former handlers; what they take is today's.
    _handle_message_v3_clean_ssot = handle_on
    _route_ssot_agent_message_v3 = route
    _handle_ssot_message_v3 = _run
    _update_ssot_processing_stats = _count


def check_identity(user_id: str, message: Message) -> None:
    """Refuse a message that names another user than its connection's."""
    if message.user_id is not None and message.user_id != user_id:
        raise RemoteError(
            ErrorCode.IDENTITY_MISMATCH,
            "user_id is not the user of this connection; leave it out",
            message_id=message.message_id,
        )


def unsupported(message: Message) -> RemoteError:
    """The answer to a type that nothing handles."""
    return RemoteError(
        ErrorCode.UNSUPPORTED_TYPE,
        "no handler takes messages of this type",
        message_id=message.message_id,
    )


def _check_hook(hook: object) -> None:
    if not callable(hook) or is_coroutine_function(hook):
        raise ConfigurationError(
            f"on_run_finished must be a plain function of one argument, not {hook!r}"
        )
