"""The counters: each moves for one reason, and a snapshot is detached."""

import json

import pytest

from agent_messaging import ErrorCode, MessageType
from agent_messaging._events import RUN_EVENTS
from agent_messaging._stats import Statistics


def counts(statistics: Statistics) -> dict[str, object]:
    """The counters that are not at their start."""
    start, live = Statistics().live, statistics.live
    return {name: value for name, value in live.items() if value != start[name]}  # type: ignore[literal-required]


def test_nothing_is_counted_at_the_start() -> None:
    assert json.loads(json.dumps(Statistics().live)) == {
        "messages_processed": 0,
        "start_agent_requests": 0,
        "user_messages": 0,
        "chat_messages": 0,
        "errors": 0,
        "last_processed_time": None,
        "golden_path_events_sent": 0,
        "v3_pattern_usage": 0,
        "user_isolation_instances": 0,
        "runs_in_flight": 0,
        "runs_completed": 0,
        "runs_failed": 0,
        "runs_cancelled": 0,
        "events_sent": {
            "agent_started": 0,
            "agent_thinking": 0,
            "tool_executing": 0,
            "tool_completed": 0,
            "agent_completed": 0,
            "agent_queued": 0,
            "agent_response_chunk": 0,
            "agent_progress": 0,
            "agent_failed": 0,
            "agent_cancelled": 0,
        },
        "undelivered_events": 0,
        "refusals": {},
        "hook_errors": 0,
        "durations": {"count": 0, "total_ms": 0, "max_ms": 0},
    }


def test_a_refusal_is_one_error_of_its_code() -> None:
    statistics = Statistics()
    statistics.refused(ErrorCode.MISSING_CONTENT)
    statistics.refused(ErrorCode.MISSING_CONTENT)
    statistics.refused(ErrorCode.UNKNOWN_AGENT)
    assert counts(statistics) == {
        "errors": 3,
        "refusals": {"missing_content": 2, "unknown_agent": 1},
    }


def test_a_run_that_starts_is_in_flight() -> None:
    statistics = Statistics()
    statistics.started()
    assert counts(statistics) == {
        "runs_in_flight": 1,
        "v3_pattern_usage": 1,
        "user_isolation_instances": 1,
    }


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (MessageType.AGENT_COMPLETED, {"runs_completed": 1}),
        (MessageType.AGENT_FAILED, {"runs_failed": 1, "errors": 1}),
        (MessageType.AGENT_CANCELLED, {"runs_cancelled": 1}),
    ],
)
def test_a_run_that_ended_counts_as_its_outcome(
    outcome: MessageType, counted: dict[str, object]
) -> None:
    statistics = Statistics()
    statistics.started()
    statistics.ended(outcome, 7)
    assert counts(statistics) == {
        "v3_pattern_usage": 1,
        "user_isolation_instances": 1,
        "durations": {"count": 1, "total_ms": 7, "max_ms": 7},
        **counted,
    }


def test_durations_keep_their_sum_and_their_longest() -> None:
    statistics = Statistics()
    for duration_ms in (5, 9, 2):
        statistics.started()
        statistics.ended(MessageType.AGENT_COMPLETED, duration_ms)
    assert statistics.live["durations"] == {"count": 3, "total_ms": 16, "max_ms": 9}


@pytest.mark.parametrize(
    ("message_type", "counter"),
    [
        (MessageType.START_AGENT, "start_agent_requests"),
        (MessageType.USER_MESSAGE, "user_messages"),
        (MessageType.CHAT, "chat_messages"),
    ],
)
@pytest.mark.parametrize("as_plain_string", [False, True])
def test_a_processed_message_counts_by_its_type(
    message_type: MessageType, counter: str, as_plain_string: bool
) -> None:
    statistics = Statistics()
    statistics.processed(message_type.value if as_plain_string else message_type, 1700.5)
    assert counts(statistics) == {
        "messages_processed": 1,
        "last_processed_time": 1700.5,
        counter: 1,
    }


def test_a_processed_message_of_another_type_counts_as_processed_alone() -> None:
    statistics = Statistics()
    statistics.processed("acme.refund", 1700.5)
    assert counts(statistics) == {"messages_processed": 1, "last_processed_time": 1700.5}


@pytest.mark.parametrize("kind", RUN_EVENTS)
def test_an_event_that_was_sent_counts_by_its_type(kind: MessageType) -> None:
    golden = {"agent_started", "agent_thinking", "tool_executing", "tool_completed"}
    statistics = Statistics()
    statistics.sent(kind)
    statistics.sent(kind)
    is_golden = kind.value in {*golden, "agent_completed"}
    assert statistics.live["golden_path_events_sent"] == (2 if is_golden else 0)
    sent = {name: count for name, count in statistics.live["events_sent"].items() if count}
    assert sent == {kind.value: 2}


def test_an_undelivered_event_counts() -> None:
    statistics = Statistics()
    statistics.undelivered()
    assert counts(statistics) == {"undelivered_events": 1}


def test_no_enum_member_gets_into_the_counters() -> None:
    statistics = Statistics()
    for kind in RUN_EVENTS:
        statistics.sent(kind)
    statistics.refused(ErrorCode.TIMEOUT)
    assert all(type(name) is str for name in statistics.live["events_sent"])
    assert all(type(name) is str for name in statistics.live["refusals"])


def test_a_snapshot_shares_nothing_with_the_live_counters() -> None:
    statistics = Statistics()
    snapshot = statistics.snapshot()
    assert snapshot == statistics.live
    statistics.sent(MessageType.AGENT_STARTED)
    statistics.refused(ErrorCode.TIMEOUT)
    statistics.started()
    statistics.ended(MessageType.AGENT_COMPLETED, 5)
    assert snapshot == Statistics().live
    snapshot["refusals"]["mine"] = 1
    snapshot["events_sent"].clear()
    snapshot["durations"]["count"] = 99
    assert "mine" not in statistics.live["refusals"]
    assert statistics.live["events_sent"]["agent_started"] == 1
    assert statistics.live["durations"]["count"] == 1
