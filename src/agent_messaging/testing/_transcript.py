"""One run as a client saw it, with what a test asks of it."""

from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, final

from agent_messaging._errors import LifecycleError
from agent_messaging._events import (
    GOLDEN_PATH,
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AgentQueued,
    AgentResponseChunk,
    AgentStarted,
    AgentThinking,
    RunEvent,
    TerminalEvent,
    ToolCompleted,
    ToolExecuting,
    ToolStatus,
)
from agent_messaging._lifecycle import GoldenPathReport, RunLifecycle
from agent_messaging._messages import MessageType
from agent_messaging.testing._received import ReceivedFrame, listed
from agent_messaging.testing._troubles import UnexpectedError

__all__ = ["Ending", "ToolUse", "Transcript", "check_ending"]

#: How a run ended.
Ending: TypeAlias = Literal["completed", "failed", "cancelled"]

_ENDINGS: Final[Mapping[type[TerminalEvent], Ending]] = {
    AgentCompleted: "completed",
    AgentFailed: "failed",
    AgentCancelled: "cancelled",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """One call of a tool.

    Attributes:
        tool_call_id: its id, once in a run.
        name: the tool's.
        arguments: what it was called with.
        status: how it ended; None where it did not.
        result: what it gave, if it ended as ``ok``.
        error: what the client reads, if it did not.
        duration_ms: how long it took, in milliseconds.
    """

    tool_call_id: str
    name: str
    arguments: object
    status: ToolStatus | None = None
    result: object = None
    error: str | None = None
    duration_ms: int = 0


@final
class Transcript:
    """One run as a client saw it: its events in their order, each once.

    Its ``assert_`` methods raise an AssertionError that shows the whole run.

    Args:
        frames: the run's frames.
        error: what its agent raised, where that is known.

    Attributes:
        frames: the frames.
        error: what the agent raised; None if it raised nothing, or that is not known.
    """

    def __init__(self, frames: Sequence[ReceivedFrame], error: BaseException | None = None) -> None:
        self.frames: Final = tuple(frames)
        self.error: Final = error

    @cached_property
    def events(self) -> tuple[RunEvent, ...]:
        """The events, with their types."""
        return tuple(event for frame in self.frames if (event := frame.event) is not None)

    @property
    def user_id(self) -> str | None:
        """Whose run it is."""
        return self.frames[0].user_id if self.frames else None

    @property
    def thread_id(self) -> str | None:
        """The conversation that it is part of."""
        return self.frames[0].thread_id if self.frames else None

    @property
    def run_id(self) -> str | None:
        """Which run it is."""
        return self.frames[0].run_id if self.frames else None

    @property
    def message_id(self) -> str | None:
        """The message that was worked on; None if the run never said."""
        for event in self.events:
            if isinstance(event, AgentStarted | AgentQueued):
                return event.message_id
        return None

    @property
    def agent(self) -> str | None:
        """The name of the agent that worked on it; None if the run never began."""
        return next((event.agent for event in self.events if isinstance(event, AgentStarted)), None)

    @property
    def end(self) -> TerminalEvent | None:
        """The terminal event; None while there is none."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, AgentCompleted | AgentFailed | AgentCancelled) else None

    @property
    def outcome(self) -> Ending | None:
        """How it ended; None while it has not."""
        return None if self.end is None else _ENDINGS[type(self.end)]

    @property
    def result(self) -> object:
        """What the agent returned; None if it did not complete, too."""
        return self.end.result if isinstance(self.end, AgentCompleted) else None

    @property
    def text(self) -> str:
        """The answer that was sent in pieces, joined."""
        return "".join(event.text for event in self.events if isinstance(event, AgentResponseChunk))

    @property
    def thoughts(self) -> tuple[str, ...]:
        """What the agent said it was thinking."""
        return tuple(event.text for event in self.events if isinstance(event, AgentThinking))

    @cached_property
    def tools(self) -> Mapping[str, tuple[ToolUse, ...]]:
        """The calls of each tool by its name, in the order in which they began."""
        uses: dict[str, ToolUse] = {}
        for event in self.events:
            if isinstance(event, ToolExecuting):
                uses[event.tool_call_id] = ToolUse(
                    tool_call_id=event.tool_call_id,
                    name=event.tool_name,
                    arguments=event.arguments,
                )
            elif isinstance(event, ToolCompleted) and event.tool_call_id in uses:
                use = uses[event.tool_call_id]
                uses[event.tool_call_id] = ToolUse(
                    tool_call_id=use.tool_call_id,
                    name=use.name,
                    arguments=use.arguments,
                    status=event.status,
                    result=event.result,
                    error=event.error,
                    duration_ms=event.duration_ms,
                )
        tools: dict[str, tuple[ToolUse, ...]] = {}
        for use in uses.values():
            tools[use.name] = (*tools.get(use.name, ()), use)
        return MappingProxyType(tools)

    @property
    def report(self) -> GoldenPathReport:
        """What a finish hook would be told of these events, all of them delivered.

        Raises:
            AssertionError: they are not the events of one run from its start, in their order.
        """
        lifecycle = RunLifecycle()
        for frame in self.frames:
            event = frame.event
            if event is None:
                raise self._failure(f"no event of a run: {frame}")
            try:
                seq = lifecycle.advance(event.type, frame.timestamp or 0.0, *_call_of(event))
            except LifecycleError as error:
                raise self._failure(str(error)) from None
            if frame.seq != seq:
                raise self._failure(f"{event.type} has seq {frame.seq}, and would be {seq}")
            lifecycle.deliver(event.type)
        return lifecycle.report()

    def assert_golden_path(self, *, strict: bool = False) -> None:
        """See that the run went the whole way: started, tools paired, completed, in order.

        Args:
            strict: whether the agent has to have said what it thinks, and used a tool, so that
                each of `GOLDEN_PATH` occurs.
        """
        self.assert_ended("completed")
        report = self.report
        order = tuple(kind for kind in GOLDEN_PATH if kind in report.order)
        if report.order != order:
            raise self._failure(f"the Golden Path is {_names(order)}, not {_names(report.order)}")
        missing = tuple(kind for kind in GOLDEN_PATH if kind not in report.order)
        if strict and missing:
            raise self._failure(f"the Golden Path lacks {_names(missing)}")

    def assert_tools_paired(self) -> None:
        """See that every tool that was begun has ended once, in order."""
        _ = self.report
        for name, uses in self.tools.items():
            for use in uses:
                if use.status is None:
                    raise self._failure(f"{name} ({use.tool_call_id}) did not end")

    def assert_ended(
        self, how: Ending, *, code: str | None = None, reason: str | None = None
    ) -> None:
        """See that the run has ended, and in this way.

        Args:
            how: in which.
            code: of a failed run.
            reason: of a cancelled run.
        """
        end = self.end
        if end is None:
            raise self._failure(f"expected a run that ended as {how}; it has not ended")
        if self.outcome != how:
            raise self._failure(f"expected a run that ended as {how}, not as {self.outcome}")
        was = end.code if isinstance(end, AgentFailed) else None
        if code is not None and was != code:
            raise self._failure(f"expected the code {code}, not {was}")
        was = end.reason if isinstance(end, AgentCancelled) else None
        if reason is not None and was != reason:
            raise self._failure(f"expected the reason {reason}, not {was}")

    def _failure(self, why: str) -> AssertionError:
        return AssertionError(f"{why}\n{self!r}")

    def __repr__(self) -> str:
        """The run, a line for each event."""
        whose = f"{self.run_id} ({self.user_id}, {self.thread_id})"
        return f"<Transcript of {whose}, {self.outcome or 'not ended'}:\n{listed(self.frames)}>"


def check_ending(run: Transcript, how: Ending | None) -> None:
    """See that a run has ended as the test expects; None for any way.

    Raises:
        BaseException: what its agent raised, with the run as a note.
        UnexpectedError: it raised nothing, or a CancelledError, which would have the test pass for
            cancelled.
        ValueError: no run ends like that.
    """
    if how not in (None, *_ENDINGS.values()):
        raise ValueError(f"a run ends as one of {', '.join(_ENDINGS.values())}, not as {how}")
    if how in (None, run.outcome):
        return
    if run.error is None or isinstance(run.error, CancelledError):
        raise UnexpectedError(f"expected a run that ended as {how}\n{run!r}") from run.error
    run.error.add_note(repr(run))
    raise run.error


def _call_of(event: RunEvent) -> tuple[str | None, str]:
    """The call that a tool event opens or closes, and its tool."""
    if isinstance(event, ToolExecuting | ToolCompleted):
        return event.tool_call_id, event.tool_name
    return None, ""


def _names(kinds: Sequence[MessageType]) -> str:
    return ", ".join(kinds) or "nothing"
