"""A stateful machine drives `RunLifecycle` against a model that knows only its history."""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent_messaging import LifecycleError, MessageType, RunLifecycle
from support.strategies import patient

WORDS = {"agent_thinking", "agent_response_chunk", "agent_progress"}
ENDS = {"agent_completed", "agent_failed", "agent_cancelled"}
PATH = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]

call_ids = st.sampled_from(["a", "b", "c", "d"])


@dataclass(frozen=True)
class Decided:
    """One event of the history."""

    name: str
    at: float
    call: str | None


class History:
    """What was decided so far; every answer is worked out from it anew."""

    def __init__(self) -> None:
        self.events: list[Decided] = []
        self.delivered = 0

    def has(self, *names: str) -> bool:
        return any(event.name in names for event in self.events)

    def calls(self, name: str) -> list[str | None]:
        """The calls of the tool events of this name, in their order."""
        return [event.call for event in self.events if event.name == name]

    def open_calls(self) -> list[str | None]:
        ended = self.calls("tool_completed")
        return [call for call in self.calls("tool_executing") if call not in ended]

    def state(self) -> str:
        if self.has(*ENDS):
            return "done"
        if self.has("agent_started"):
            return "running"
        return "queued" if self.events else "new"

    def allows(self, name: str, call: str | None) -> bool:
        if self.has(*ENDS):
            return False
        runs = self.has("agent_started")
        if name in ENDS:
            return not self.open_calls() and (runs or name != "agent_completed")
        if name == "agent_queued":
            return not self.events
        if name == "agent_started":
            return not runs
        if name == "tool_completed":
            return call in self.open_calls()
        if name == "tool_executing" and (call is None or call in self.calls(name)):
            return False
        return runs and (name in WORDS or name == "tool_executing")

    def firsts(self) -> dict[str, float]:
        times: dict[str, float] = {}
        for event in self.events:
            times.setdefault(event.name, event.at)
        return times


class LifecycleMachine(RuleBasedStateMachine):
    """Any event at any moment, and the transport's receipts in between."""

    ends: ClassVar[Counter[str]] = Counter()
    refusals: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.lifecycle = RunLifecycle()
        self.history = History()
        self.now = 0.0

    def advance(self, kind: MessageType, call: str | None = None) -> None:
        lifecycle, history = self.lifecycle, self.history
        if history.allows(kind.value, call):
            assert lifecycle.advance(kind, self.now, call, "tool") == len(history.events) + 1
            history.events.append(Decided(kind.value, self.now, call))
        else:
            self.refusals[history.state()] += 1
            try:
                lifecycle.advance(kind, self.now, call, "tool")
            except LifecycleError:
                return
            raise AssertionError(f"{kind} was let through")

    # Times are multiples of 1/8 s, so that milliseconds come out exact.
    @rule(eighths=st.integers(0, 100))
    def time_passes(self, eighths: int) -> None:
        self.now += eighths / 8

    @rule()
    def queue(self) -> None:
        self.advance(MessageType.AGENT_QUEUED)

    @rule()
    def start(self) -> None:
        self.advance(MessageType.AGENT_STARTED)

    @rule(
        kind=st.sampled_from(
            [
                MessageType.AGENT_THINKING,
                MessageType.AGENT_RESPONSE_CHUNK,
                MessageType.AGENT_PROGRESS,
            ]
        )
    )
    def speak(self, kind: MessageType) -> None:
        self.advance(kind)

    @rule(call=call_ids)
    def open_call(self, call: str) -> None:
        self.advance(MessageType.TOOL_EXECUTING, call)

    @rule(call=call_ids)
    def close_call(self, call: str) -> None:
        self.advance(MessageType.TOOL_COMPLETED, call)

    @rule(kind=st.sampled_from(MessageType), call=st.none() | call_ids)
    def anything(self, kind: MessageType, call: str | None) -> None:
        self.advance(kind, call)

    @precondition(lambda self: len(self.history.events) > 4)
    @rule(
        kind=st.sampled_from(
            [
                MessageType.AGENT_COMPLETED,
                MessageType.AGENT_FAILED,
                MessageType.AGENT_CANCELLED,
            ]
        )
    )
    def end(self, kind: MessageType) -> None:
        self.advance(kind)

    @precondition(lambda self: self.history.delivered < len(self.history.events))
    @rule()
    def deliver_the_next(self) -> None:
        event = self.history.events[self.history.delivered]
        self.lifecycle.deliver(MessageType(event.name))
        self.history.delivered += 1

    @invariant()
    def it_is_where_the_history_says(self) -> None:
        lifecycle, history = self.lifecycle, self.history
        assert lifecycle.state == history.state()
        assert lifecycle.seq == len(history.events)
        assert lifecycle.undelivered == len(history.events) - history.delivered
        assert list(lifecycle.open_tools.items()) == [
            (event.call, ("tool", event.at))
            for event in history.events
            if event.name == "tool_executing" and event.call in history.open_calls()
        ]
        ended = history.events[-1].name if history.has(*ENDS) else None
        assert lifecycle.outcome == ended

    @invariant()
    def the_report_is_a_recount_of_the_history(self) -> None:
        report, history = self.lifecycle.report(), self.history
        names = [event.name for event in history.events]
        decided = Counter(names)
        delivered = Counter(names[: history.delivered])
        assert dict(report.decided) == decided
        assert dict(report.delivered) == delivered
        assert report.undelivered == len(names) - history.delivered
        assert report.outcome == self.lifecycle.outcome
        start = history.events[0].at if names else 0.0
        firsts = {name: (at - start) * 1000 for name, at in history.firsts().items()}
        assert dict(report.first_at_ms) == firsts
        last = history.events[-1].at if names else 0.0
        assert report.duration_ms == (last - start) * 1000
        order = [name for name in dict.fromkeys(names) if name in PATH]
        assert list(report.order) == order
        due = [name for name in PATH if "tool_" not in name or "tool_executing" in names]
        assert list(report.missing) == [name for name in due if name not in decided]
        assert list(report.undelivered_kinds) == [name for name in due if name not in delivered]
        assert report.is_complete == (order == due and all(name in delivered for name in due))

    def teardown(self) -> None:
        last = self.history.events[-1:]
        self.ends[last[0].name if last and last[0].name in ENDS else "unended"] += 1


def test_the_lifecycle_agrees_with_its_history() -> None:
    LifecycleMachine.ends.clear()
    LifecycleMachine.refusals.clear()
    run_state_machine_as_test(
        LifecycleMachine, settings=settings(patient, max_examples=600, stateful_step_count=40)
    )
    # The machine went everywhere: to each end, and to refusals in each state.
    assert set(LifecycleMachine.ends) >= ENDS
    assert set(LifecycleMachine.refusals) == {"new", "queued", "running", "done"}
