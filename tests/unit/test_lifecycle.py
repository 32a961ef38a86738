"""The lifecycle of a run: which event may come where, and what the report says of it."""

from dataclasses import FrozenInstanceError

import pytest

from agent_messaging import (
    TRANSITIONS,
    GoldenPathReport,
    LifecycleError,
    MessageType,
    RunLifecycle,
    RunState,
)

QUEUED = MessageType.AGENT_QUEUED
STARTED = MessageType.AGENT_STARTED
THINKING = MessageType.AGENT_THINKING
CHUNK = MessageType.AGENT_RESPONSE_CHUNK
PROGRESS = MessageType.AGENT_PROGRESS
TOOL_EXECUTING = MessageType.TOOL_EXECUTING
TOOL_COMPLETED = MessageType.TOOL_COMPLETED
COMPLETED = MessageType.AGENT_COMPLETED
FAILED = MessageType.AGENT_FAILED
CANCELLED = MessageType.AGENT_CANCELLED

#: The table as the documentation has it: state, event, and the state after it; x is an error.
TABLE = """
state    agent_queued  agent_started  agent_thinking  agent_response_chunk  agent_progress
new      queued        running        x               x                     x
queued   x             running        x               x                     x
running  x             x              running         running               running
done     x             x              x               x                     x

state    tool_executing  tool_completed  agent_completed  agent_failed  agent_cancelled
new      x               x               x                done          done
queued   x               x               x                done          done
running  running         running         done             done          done
done     x               x               x                x             x
"""


def documented() -> dict[tuple[RunState, MessageType], RunState | None]:
    """Every state and every type on the wire, and where it leads; None is an error."""
    table: dict[tuple[RunState, MessageType], RunState | None] = {
        (state, kind): None for state in RunState for kind in MessageType
    }
    for block in TABLE.strip().split("\n\n"):
        header, *rows = [line.split() for line in block.splitlines()]
        for state, *successors in rows:
            for kind, successor in zip(header[1:], successors, strict=True):
                key = (RunState(state), MessageType(kind))
                table[key] = None if successor == "x" else RunState(successor)
    return table


#: Every way into a state, as the events that lead there.
WAYS: dict[RunState, tuple[tuple[MessageType, ...], ...]] = {
    RunState.NEW: ((),),
    RunState.QUEUED: ((QUEUED,),),
    RunState.RUNNING: ((STARTED,), (QUEUED, STARTED), (STARTED, THINKING)),
    RunState.DONE: (
        (STARTED, COMPLETED),
        (STARTED, FAILED),
        (STARTED, CANCELLED),
        (QUEUED, FAILED),
        (QUEUED, CANCELLED),
        (FAILED,),
        (CANCELLED,),
    ),
}


def lifecycle_after(*kinds: MessageType) -> RunLifecycle:
    lifecycle = RunLifecycle()
    for kind in kinds:
        lifecycle.advance(kind, 0.0)
    return lifecycle


def running_with_open(*tool_call_ids: str) -> RunLifecycle:
    lifecycle = lifecycle_after(STARTED)
    for tool_call_id in tool_call_ids:
        lifecycle.advance(TOOL_EXECUTING, 0.0, tool_call_id, "search")
    return lifecycle


def refuse(lifecycle: RunLifecycle, kind: MessageType, tool_call_id: str | None = None) -> str:
    """See that the event is an error that changes nothing; what the error says."""
    before = (lifecycle.state, lifecycle.seq, dict(lifecycle.open_tools), lifecycle.report())
    with pytest.raises(LifecycleError) as caught:
        lifecycle.advance(kind, 99.0, tool_call_id, "search")
    after = (lifecycle.state, lifecycle.seq, dict(lifecycle.open_tools), lifecycle.report())
    assert after == before
    return str(caught.value)


def test_the_documented_table_speaks_of_every_state_and_event() -> None:
    table = documented()
    assert len(table) == len(RunState) * len(MessageType)
    assert sum(successor is not None for successor in table.values()) == 15


def test_the_public_table_is_the_documented_one() -> None:
    allowed = {key: successor for key, successor in documented().items() if successor is not None}
    assert {
        (state, kind): successor
        for state, row in TRANSITIONS.items()
        for kind, successor in row.items()
    } == allowed
    assert list(TRANSITIONS) == list(RunState)


@pytest.mark.parametrize(
    ("state", "kind", "successor"),
    [(*key, successor) for key, successor in documented().items()],
    ids=str,
)
def test_every_event_in_every_state(
    state: RunState, kind: MessageType, successor: RunState | None
) -> None:
    for way in WAYS[state]:
        lifecycle = lifecycle_after(*way)
        assert lifecycle.state is state
        if kind is TOOL_COMPLETED and successor is not None:
            lifecycle.advance(TOOL_EXECUTING, 0.0, "call_1", "search")
        seq = lifecycle.seq
        if successor is None:
            refuse(lifecycle, kind, "call_1")
        else:
            assert lifecycle.advance(kind, 0.0, "call_1", "search") == seq + 1
            assert lifecycle.state is successor
            assert lifecycle.seq == seq + 1
            assert lifecycle.outcome is (kind if successor is RunState.DONE else None)


def test_a_new_run_has_decided_nothing() -> None:
    lifecycle = RunLifecycle()
    assert lifecycle.state is RunState.NEW
    assert lifecycle.seq == 0
    assert lifecycle.outcome is None
    assert not lifecycle.open_tools
    assert lifecycle.undelivered == 0


def test_the_error_names_the_event_and_the_state() -> None:
    assert refuse(lifecycle_after(STARTED, COMPLETED), THINKING) == (
        "agent_thinking is not allowed while the run is done"
    )


# Tool calls.


def test_an_open_call_has_its_name_and_its_start() -> None:
    lifecycle = lifecycle_after(STARTED)
    lifecycle.advance(TOOL_EXECUTING, 1.5, "a", "search")
    lifecycle.advance(TOOL_EXECUTING, 2.5, "b", "book")
    assert dict(lifecycle.open_tools) == {"a": ("search", 1.5), "b": ("book", 2.5)}
    assert list(lifecycle.open_tools) == ["a", "b"]


def test_a_call_of_which_no_name_is_given_has_an_empty_one() -> None:
    lifecycle = lifecycle_after(STARTED)
    lifecycle.advance(TOOL_EXECUTING, 1.5, "a")
    assert dict(lifecycle.open_tools) == {"a": ("", 1.5)}


def test_calls_overlap_and_close_in_any_order() -> None:
    lifecycle = running_with_open("a", "b", "c")
    for tool_call_id in ("b", "a", "c"):
        lifecycle.advance(TOOL_COMPLETED, 0.0, tool_call_id)
    assert not lifecycle.open_tools


def test_an_id_is_opened_once_in_a_run() -> None:
    lifecycle = running_with_open("a")
    refusal = "tool_executing needs an id that is new in this run, not 'a'"
    assert refuse(lifecycle, TOOL_EXECUTING, "a") == refusal
    lifecycle.advance(TOOL_COMPLETED, 0.0, "a")
    assert "'a'" in refuse(lifecycle, TOOL_EXECUTING, "a")


def test_a_call_needs_an_id() -> None:
    refuse(running_with_open(), TOOL_EXECUTING, None)
    refuse(running_with_open("a"), TOOL_COMPLETED, None)


def test_only_an_open_id_is_completed() -> None:
    lifecycle = running_with_open("a")
    assert "'b'" in refuse(lifecycle, TOOL_COMPLETED, "b")
    lifecycle.advance(TOOL_COMPLETED, 0.0, "a")
    assert "'a'" in refuse(lifecycle, TOOL_COMPLETED, "a")


def test_the_same_id_in_another_run_is_another_call() -> None:
    running_with_open("a")
    assert list(running_with_open("a").open_tools) == ["a"]


def test_a_new_id_is_one_that_no_call_of_the_run_has_had() -> None:
    lifecycle = lifecycle_after(STARTED)
    for expected in ("call_1", "call_2", "call_3"):
        assert lifecycle.new_tool_call_id() == expected
        lifecycle.advance(TOOL_EXECUTING, 0.0, expected, "search")
        lifecycle.advance(TOOL_COMPLETED, 0.0, expected)


def test_a_new_id_is_none_that_the_agent_has_given_itself() -> None:
    lifecycle = running_with_open("call_2", "call_4", "other", "call_5")
    given = [lifecycle.new_tool_call_id() for _ in range(3)]
    assert given == ["call_1", "call_3", "call_6"]


@pytest.mark.parametrize("terminal", [COMPLETED, FAILED, CANCELLED])
def test_a_run_with_open_calls_does_not_end(terminal: MessageType) -> None:
    lifecycle = running_with_open("a", "b", "c")
    assert refuse(lifecycle, terminal) == f"{terminal} must wait for the open tool calls a, b, c"
    for tool_call_id in ("a", "c"):
        lifecycle.advance(TOOL_COMPLETED, 0.0, tool_call_id)
    assert refuse(lifecycle, terminal).endswith("the open tool calls b")
    lifecycle.advance(TOOL_COMPLETED, 0.0, "b")
    lifecycle.advance(terminal, 0.0)
    assert lifecycle.outcome is terminal


# Counts and the report.


def walk(lifecycle: RunLifecycle, *events: tuple[MessageType, float, str | None]) -> None:
    for kind, at, tool_call_id in events:
        lifecycle.advance(kind, at, tool_call_id, "search")


GOLDEN_WALK = (
    (STARTED, 10.0, None),
    (THINKING, 10.25, None),
    (TOOL_EXECUTING, 10.5, "a"),
    (CHUNK, 10.75, None),
    (TOOL_COMPLETED, 11.0, "a"),
    (THINKING, 11.5, None),
    (COMPLETED, 12.0, None),
)


def golden(delivered: int) -> GoldenPathReport:
    """The report of a run on the Golden Path of which the first events were delivered."""
    lifecycle = RunLifecycle()
    walk(lifecycle, *GOLDEN_WALK)
    for kind, _, _ in GOLDEN_WALK[:delivered]:
        lifecycle.deliver(kind)
    return lifecycle.report()


def test_the_report_of_a_run_on_the_golden_path() -> None:
    report = golden(delivered=7)
    assert report.outcome is COMPLETED
    assert dict(report.decided) == {
        STARTED: 1,
        THINKING: 2,
        TOOL_EXECUTING: 1,
        CHUNK: 1,
        TOOL_COMPLETED: 1,
        COMPLETED: 1,
    }
    assert report.delivered == report.decided
    assert dict(report.first_at_ms) == {
        STARTED: 0,
        THINKING: 250,
        TOOL_EXECUTING: 500,
        CHUNK: 750,
        TOOL_COMPLETED: 1000,
        COMPLETED: 2000,
    }
    assert report.duration_ms == 2000
    assert report.order == (STARTED, THINKING, TOOL_EXECUTING, TOOL_COMPLETED, COMPLETED)
    assert report.missing == ()
    assert report.undelivered == 0
    assert report.undelivered_kinds == ()
    assert report.is_complete


def test_the_report_of_a_run_whose_last_events_were_not_delivered() -> None:
    report = golden(delivered=4)
    assert report.undelivered == 3
    assert report.undelivered_kinds == (TOOL_COMPLETED, COMPLETED)
    assert report.missing == ()
    assert not report.is_complete


def test_a_run_that_used_no_tool_is_complete_without_tool_events() -> None:
    lifecycle = lifecycle_after(STARTED, THINKING, COMPLETED)
    for kind in (STARTED, THINKING, COMPLETED):
        lifecycle.deliver(kind)
    report = lifecycle.report()
    assert report.missing == ()
    assert report.is_complete


def test_what_a_run_left_out_is_missing() -> None:
    report = lifecycle_after(QUEUED, STARTED, CHUNK, FAILED).report()
    assert report.order == (STARTED,)
    assert report.missing == (THINKING, COMPLETED)
    assert report.undelivered_kinds == (STARTED, THINKING, COMPLETED)
    assert not report.is_complete


def test_a_run_that_opened_a_tool_misses_its_end() -> None:
    report = running_with_open("a").report()
    assert report.missing == (THINKING, TOOL_COMPLETED, COMPLETED)


def test_a_path_out_of_order_is_not_complete() -> None:
    lifecycle = running_with_open("a")
    for kind, tool_call_id in ((TOOL_COMPLETED, "a"), (THINKING, None), (COMPLETED, None)):
        lifecycle.advance(kind, 0.0, tool_call_id)
    for kind in (STARTED, TOOL_EXECUTING, TOOL_COMPLETED, THINKING, COMPLETED):
        lifecycle.deliver(kind)
    report = lifecycle.report()
    assert report.missing == ()
    assert report.undelivered == 0
    assert report.order == (STARTED, TOOL_EXECUTING, TOOL_COMPLETED, THINKING, COMPLETED)
    assert not report.is_complete


def test_the_report_of_a_run_that_decided_nothing() -> None:
    report = RunLifecycle().report()
    assert report.outcome is None
    assert report.decided == report.delivered == report.first_at_ms == {}
    assert report.duration_ms == 0
    assert not report.is_complete


def test_a_report_is_of_its_moment_and_cannot_be_written_to() -> None:
    lifecycle = lifecycle_after(STARTED)
    report = lifecycle.report()
    lifecycle.advance(THINKING, 1.0)
    lifecycle.deliver(STARTED)
    assert dict(report.decided) == {STARTED: 1}
    assert dict(report.delivered) == {}
    assert report.duration_ms == 0
    for counts in (report.decided, report.delivered, report.first_at_ms):
        with pytest.raises(TypeError):
            counts[STARTED] = 5  # type: ignore[index] # pyright: ignore[reportIndexIssue]


def test_a_report_is_a_value() -> None:
    report = lifecycle_after(STARTED).report()
    assert report == lifecycle_after(STARTED).report()
    assert report != lifecycle_after(FAILED).report()
    with pytest.raises(FrozenInstanceError):
        report.duration_ms = 5  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


def test_undelivered_counts_down_as_events_are_delivered() -> None:
    lifecycle = lifecycle_after(STARTED, THINKING)
    assert lifecycle.undelivered == 2
    lifecycle.deliver(STARTED)
    assert lifecycle.undelivered == 1
