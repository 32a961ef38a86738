"""One run: what an agent holds, and the code around it that decides the end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Final, NamedTuple, Self, cast, final

from agent_messaging._cancellation import Cancellation
from agent_messaging._emitter import RunEmitter
from agent_messaging._errors import AgentError, ErrorCode, LifecycleError, PayloadError
from agent_messaging._events import (
    AgentCancelled,
    AgentCompleted,
    AgentEvent,
    AgentFailed,
    AgentProgress,
    AgentResponseChunk,
    AgentThinking,
    CancelReason,
    TerminalEvent,
    ToolCompleted,
    ToolExecuting,
)
from agent_messaging._lifecycle import GoldenPathReport, RunState
from agent_messaging._messages import Message, MessageType
from agent_messaging._outbox import ACCEPTED
from agent_messaging._timeouts import timeout_after

__all__ = [
    "NO_METADATA",
    "Agent",
    "Run",
    "RunContext",
    "RunOutcome",
    "ToolCall",
    "cancel_run",
    "execute",
]

_THINKING: Final = MessageType.AGENT_THINKING
_CHUNK: Final = MessageType.AGENT_RESPONSE_CHUNK
_FAILED: Final = MessageType.AGENT_FAILED

_TOOL_FAILED: Final = "The tool failed."

NO_METADATA: Final[Mapping[str, object]] = MappingProxyType({})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """Whose run it is; every id in it comes from the host or the library, never from a guess.

    Attributes:
        user_id: the host's authenticated user.
        thread_id: the conversation, the client's or a new one.
        run_id: this run, new for each accepted message.
        message_id: the message that is worked on, the client's or a new one.
        connection_id: the connection that it came by; None in a handler that is called directly.
        metadata: whatever the host handed in with the message.
    """

    user_id: str
    thread_id: str
    run_id: str
    message_id: str
    connection_id: str | None = None
    metadata: Mapping[str, object] = field(default_factory=lambda: NO_METADATA)


@final
class Run:
    """What an agent holds: the request, and the only way to emit to its user.

    Emitting happens when the method is called, so that ``seq`` is the order of the calls, also
    from sub-tasks. Awaiting the result waits while the connection's outbox is full; always do.

    Every method that emits raises `LifecycleError`, the event may not come here;
    `PayloadError`, it will not encode; `OutboxFullError`, too many events were emitted without
    awaiting them; `TransportError`, the connection is gone and the run ends as cancelled. After
    each of them the run is as it was before the call, and usable.

    Attributes:
        context: whose run it is.
        message: the message that started it.
        request: the text that the user sent.
    """

    __slots__ = ("_emitter", "context", "message", "request")

    def __init__(
        self, context: RunContext, message: Message, request: str, emitter: RunEmitter
    ) -> None:
        self.context: Final[RunContext] = context
        self.message: Final[Message] = message
        self.request: Final[str] = request
        self._emitter = emitter

    @property
    def report(self) -> GoldenPathReport:
        """What the run decided and the transport accepted up to now."""
        return self._emitter.lifecycle.report()

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the run started."""
        return self._emitter.elapsed_ms

    @property
    def websocket(self) -> object:
        """The host's websocket, for what it has beside sending, as Starlette's ``app.state``.

        What is sent on it past the run is in no one's order and no one's count. None in an
        `Endpoint`, where a run may outlive the session that it came by.
        """
        return self._emitter.websocket

    def thinking(self, text: str) -> Awaitable[None]:
        """Tell the user what the agent is about."""
        return self._emitter.emit_text(_THINKING, text)

    def chunk(self, text: str) -> Awaitable[None]:
        """Send the next piece of the answer."""
        return self._emitter.emit_text(_CHUNK, text)

    def progress(self, name: str, data: object = None) -> Awaitable[None]:
        """Send an event of your own: a name and any JSON data."""
        return self._emitter.emit(AgentProgress(name=name, data=data))

    def tool(
        self, name: str, arguments: object = None, *, tool_call_id: str | None = None
    ) -> "ToolCall":
        """A tool call for ``async with``: tool_executing at its start, tool_completed at its end.

        ``arguments`` is any JSON value. Without a ``tool_call_id`` it is ``call_1``, ``call_2``
        and so on, unique in the run.
        """
        if tool_call_id is None:
            tool_call_id = self._emitter.lifecycle.new_tool_call_id()
        return ToolCall(self, tool_call_id, name, arguments)

    def tool_executing(
        self, tool_call_id: str, tool_name: str, arguments: object = None
    ) -> Awaitable[None]:
        """Say that a tool call began, where `tool` does not fit; `tool_completed` ends it."""
        return self._emitter.emit(
            ToolExecuting(tool_call_id=tool_call_id, tool_name=tool_name, arguments=arguments)
        )

    def tool_completed(
        self, tool_call_id: str, result: object = None, *, error: str | None = None
    ) -> Awaitable[None]:
        """Say that a tool call ended: with ``result``, or with ``error``, a text for the client."""
        return self._emitter.complete_tool(
            tool_call_id, "ok" if error is None else "error", result, error
        )

    def emit(self, event: AgentEvent) -> Awaitable[None]:
        """Emit an event object; how a tool call is named and how long it took is filled in.

        The start and the end are the run's to decide: return, or raise `AgentError`.
        """
        if isinstance(event, ToolCompleted):
            return self._emitter.complete_tool(
                event.tool_call_id, event.status, event.result, event.error
            )
        if isinstance(event, AgentThinking | AgentResponseChunk):
            return self._emitter.emit_text(event.type, event.text)
        if not isinstance(event, _EMITTABLE):
            raise LifecycleError(f"{type(event).__name__} is not for an agent to emit")
        return self._emitter.emit(event)

    def relay(
        self, kind: MessageType, payload: Mapping[str, object], tool_call_id: str | None = None
    ) -> Awaitable[None]:
        """Emit an event whose payload is of another making, the start and the end included.

        For services that speak a vocabulary of their own: the payload goes out as it is, under
        the run's envelope. Where it ends the run, open tool calls are interrupted first.
        """
        return self._emitter.relay(MessageType(kind), payload, tool_call_id)


#: A tuple of plain classes: what a caller without a type checker may hand to `Run.emit`.
_EMITTABLE: Final[tuple[type, ...]] = (AgentProgress, ToolExecuting)


@final
class ToolCall:
    """One tool call, as ``async with run.tool(...) as call``.

    Left normally it is ``ok`` with ``result``, which is None unless the block sets it. Left by an
    exception it is an ``error``, which the client reads as the text of an `AgentError` or as a
    neutral sentence; the exception goes on. Left by a cancellation it stays open, and the end of
    the run interrupts it.
    """

    __slots__ = ("_run", "arguments", "result", "tool_call_id", "tool_name")

    def __init__(self, run: Run, tool_call_id: str, tool_name: str, arguments: object) -> None:
        self._run = run
        self.tool_call_id: Final[str] = tool_call_id
        self.tool_name: Final[str] = tool_name
        self.arguments: Final[object] = arguments
        self.result: object = None

    async def __aenter__(self) -> Self:
        posted = self._run.tool_executing(self.tool_call_id, self.tool_name, self.arguments)
        if posted is not ACCEPTED:
            await posted
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            # A result that will not encode raises, and leaves the call open as it was.
            posted = self._run.tool_completed(self.tool_call_id, self.result)
        elif isinstance(error, Exception):
            words = _words(error)
            text = _TOOL_FAILED if words is None else words.message
            try:
                posted = self._run.tool_completed(self.tool_call_id, error=text)
            except LifecycleError:
                return  # completed in the block already, and the error is what matters
            except PayloadError:
                posted = self._run.tool_completed(self.tool_call_id, error=_TOOL_FAILED)
        else:
            return
        if posted is not ACCEPTED:
            await posted


class Agent(NamedTuple):
    """An agent as it is run: ``call`` returns the run's result.

    One that ``starts_itself`` relays its start; where it does not, the start is supplied.
    """

    name: str
    call: Callable[[Run], Awaitable[object]]
    starts_itself: bool = False


@final
class RunOutcome:
    """How a run ended; filled in by `execute`.

    Attributes:
        kind: the terminal event's type.
        duration_ms: from the start to the end.
        code: a failed run's code.
        reason: a cancelled run's reason; set before the end by whoever cancels it for one.
        error: what the agent raised.
        raised: what the caller is to raise once the frames are out.
        is_counted: whether the handler's statistics have it.
    """

    __slots__ = ("code", "duration_ms", "error", "is_counted", "kind", "raised", "reason")

    @property
    def is_fault(self) -> bool:
        """Whether the agent raised what it did not mean the client to read, and was not ended."""
        return (
            self.error is not None
            and self.kind is not MessageType.AGENT_CANCELLED
            and self.code != ErrorCode.TIMEOUT
            and _words(self.error) is None
        )

    def __init__(self) -> None:
        self.kind: MessageType = _FAILED
        self.duration_ms: int = 0
        self.code: str | None = None
        self.reason: CancelReason | None = None
        self.error: BaseException | None = None
        self.raised: BaseException | None = None
        self.is_counted: bool = False


async def execute(
    run: Run, emitter: RunEmitter, agent: Agent, timeout: float | None, outcome: RunOutcome
) -> None:
    """Run the agent from its start to its one terminal event, ``timeout`` in seconds.

    Raises nothing, so that the caller can see the frames out before it raises. The outcome is an
    argument since a coroutine that is closed gets nothing back from what it awaits.
    """
    cancellation = Cancellation()
    result: object = None
    timed_out = False
    if not agent.starts_itself:
        emitter.start(run.context.message_id, agent.name)
    try:
        if outcome.reason is not None:
            pass  # cancelled before its first step
        elif timeout is None:
            result = await cancellation.watch(agent.call(run))
        else:
            limit = timeout_after(timeout)
            try:
                async with limit:
                    result = await cancellation.watch(agent.call(run))
            finally:
                timed_out = limit.expired()
    except BaseException as caught:  # noqa: BLE001 - whatever an agent does, its run ends
        outcome.error = caught
    cancelled = cancellation.came(outcome.error)
    if emitter.lifecycle.state in _NOT_STARTED:
        emitter.start(run.context.message_id, agent.name)
    outcome.duration_ms = emitter.elapsed_ms
    if not _is_relayed(emitter, outcome):
        reason: CancelReason = "disconnected" if emitter.failed else "cancelled"
        if cancelled or emitter.failed or outcome.reason is not None:
            _conclude(emitter, outcome, AgentCancelled(reason=outcome.reason or reason))
        elif timed_out:
            _conclude(emitter, outcome, _TIMED_OUT)
        else:
            _conclude(emitter, outcome, _result_of(outcome.error, result))
    outcome.raised = _raised(outcome.error, cancelled)


_NOT_STARTED: Final = (RunState.NEW, RunState.QUEUED)
_TIMED_OUT: Final = AgentFailed(code=ErrorCode.TIMEOUT, message="The agent took too long.")


def cancel_run(run: Run, emitter: RunEmitter, agent: Agent, outcome: RunOutcome) -> None:
    """End a run from outside its agent, which never began or does not return."""
    if emitter.lifecycle.state is RunState.NEW:
        emitter.start(run.context.message_id, agent.name)
    outcome.duration_ms = emitter.elapsed_ms
    if not _is_relayed(emitter, outcome):
        _conclude(emitter, outcome, AgentCancelled(reason=outcome.reason or "cancelled"))


def _is_relayed(emitter: RunEmitter, outcome: RunOutcome) -> bool:
    """Whether the agent has relayed its end, which is then the run's."""
    relayed = emitter.lifecycle.outcome
    if relayed is None:
        return False
    outcome.kind = relayed
    outcome.code = emitter.relayed_code
    return True


def _conclude(emitter: RunEmitter, outcome: RunOutcome, event: TerminalEvent) -> None:
    """Decide the terminal event; one that will not encode becomes a failure that does."""
    try:
        emitter.end(event, outcome.duration_ms)
    except PayloadError as error:
        if isinstance(event, AgentCompleted) or _words(outcome.error) is not None:
            outcome.error = error
            event = _failure_of(error)
        emitter.end_plainly(event, outcome.duration_ms)
    outcome.kind = event.type
    if isinstance(event, AgentFailed):
        outcome.code = str.__str__(event.code)
    elif isinstance(event, AgentCancelled):
        outcome.reason = event.reason


def _raised(error: BaseException | None, cancelled: bool) -> BaseException | None:
    """What an agent's end raises on: a cancellation from outside, and what is no Exception."""
    if error is None or isinstance(error, Exception):
        return asyncio.CancelledError() if cancelled else None
    if isinstance(error, asyncio.CancelledError) and not cancelled:
        return None  # of something that the agent cancelled itself
    return error


def _result_of(error: BaseException | None, result: object) -> AgentCompleted | AgentFailed:
    return AgentCompleted(result=result) if error is None else _failure_of(error)


def _failure_of(error: BaseException) -> AgentFailed:
    """What the client reads of an agent's error: its own words if it has some, or neutral ones."""
    words = _words(error)
    if words is None:
        return AgentFailed(code=ErrorCode.AGENT_ERROR, message="The agent failed.")
    return AgentFailed(code=words.code, message=words.message, retryable=words.retryable)


def _words(error: BaseException | None) -> AgentError | None:
    """What the error says to the client, if it does; a task group wraps its only failure."""
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if len(group.exceptions) > 1:
            break
        error = next(iter(group.exceptions))
    return error if isinstance(error, AgentError) else None
