"""What a handler counts: key by key, and only what happened."""

import asyncio
import gc
from collections.abc import Mapping
from weakref import ref

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    Message,
    MessageType,
    ProcessingStats,
    Run,
)
from agent_messaging.testing import RecordingTransport, loop_clock, run_virtual
from support import chat, start_agent, user_message
from support.clients import Client
from support.loop import steps

ALL_KEYS = {
    "messages_processed",
    "start_agent_requests",
    "user_messages",
    "chat_messages",
    "errors",
    "last_processed_time",
    "golden_path_events_sent",
    "v3_pattern_usage",
    "user_isolation_instances",
    "runs_in_flight",
    "runs_completed",
    "runs_failed",
    "runs_cancelled",
    "events_sent",
    "undelivered_events",
    "refusals",
    "hook_errors",
    "durations",
}


async def golden(run: Run) -> str:
    """Walks the path when the request is ``work``; else does what the request says."""
    if run.request == "fail":
        raise ValueError
    if run.request == "words":
        raise AgentError("No")
    if run.request == "hang":
        await asyncio.Event().wait()
    await run.thinking("Looking")
    await run.chunk("Three")
    async with run.tool("search"):
        pass
    return "done"


def moved(before: ProcessingStats, after: ProcessingStats) -> dict[str, object]:
    """The keys whose value changed, with the new value."""
    old: Mapping[str, object] = {**before}
    return {key: value for key, value in after.items() if old[key] != value}


def test_every_counter_starts_at_nothing() -> None:
    live = AgentMessageHandler(golden).processing_stats
    assert set(live) == ALL_KEYS
    assert live["last_processed_time"] is None
    assert live["refusals"] == {}
    assert live["durations"] == {"count": 0, "total_ms": 0, "max_ms": 0}
    assert set(live["events_sent"].values()) == {0}
    numbers = ALL_KEYS - {"last_processed_time", "refusals", "durations", "events_sent"}
    live_by_key: Mapping[str, object] = {**live}
    assert {key: live_by_key[key] for key in numbers} == dict.fromkeys(numbers, 0)


@pytest.mark.parametrize(
    ("message", "own_key"),
    [
        (start_agent("work"), "start_agent_requests"),
        (user_message("work"), "user_messages"),
        (chat("work"), "chat_messages"),
    ],
)
def test_a_message_that_completed_moves_these_and_no_others(message: Message, own_key: str) -> None:
    handler = AgentMessageHandler(golden, clock=loop_clock(1_700_000_000.5))
    before = handler.get_stats()
    assert Client(handler).say(message)
    sent = {
        "agent_started": 1,
        "agent_thinking": 1,
        "tool_executing": 1,
        "tool_completed": 1,
        "agent_completed": 1,
        "agent_response_chunk": 1,
        "agent_queued": 0,
        "agent_progress": 0,
        "agent_failed": 0,
        "agent_cancelled": 0,
    }
    assert moved(before, handler.processing_stats) == {
        "messages_processed": 1,
        own_key: 1,
        "last_processed_time": 1_700_000_000.5,
        "golden_path_events_sent": 5,
        "v3_pattern_usage": 1,
        "user_isolation_instances": 1,
        "runs_completed": 1,
        "events_sent": sent,
        "durations": {"count": 1, "total_ms": 0, "max_ms": 0},
    }


@pytest.mark.parametrize("request_text", ["fail", "words"])
def test_a_run_that_failed_is_one_error(request_text: str) -> None:
    handler = AgentMessageHandler(golden, clock=loop_clock())
    before = handler.get_stats()
    assert not Client(handler).say(chat(request_text))
    changes = moved(before, handler.processing_stats)
    assert changes.pop("events_sent") == {
        **before["events_sent"],
        "agent_started": 1,
        "agent_failed": 1,
    }
    assert changes == {
        "errors": 1,
        "runs_failed": 1,
        "golden_path_events_sent": 1,
        "v3_pattern_usage": 1,
        "user_isolation_instances": 1,
        "durations": {"count": 1, "total_ms": 0, "max_ms": 0},
    }


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Message(type="ping"), "unsupported_type"),
        (Message(type="chat"), "missing_content"),
        (Message(type="chat", payload={"text": 5}), "invalid_message"),
        (chat(user_id="another"), "identity_mismatch"),
        (start_agent(agent="nobody"), "unknown_agent"),
    ],
)
def test_a_refused_message_is_one_error_under_its_code_and_no_run(
    message: Message, code: str
) -> None:
    handler = AgentMessageHandler(golden)
    before = handler.get_stats()
    client = Client(handler)
    assert not client.say(message)
    assert moved(before, handler.processing_stats) == {"errors": 1, "refusals": {code: 1}}
    assert not client.say(message)
    assert moved(before, handler.processing_stats) == {"errors": 2, "refusals": {code: 2}}


def test_a_cancelled_run_has_a_counter_of_its_own_and_is_no_error() -> None:
    async def main() -> None:
        handler = AgentMessageHandler(golden, clock=loop_clock())
        before = handler.get_stats()
        task = Client(handler).start(chat("hang"))
        await steps()
        assert handler.processing_stats["runs_in_flight"] == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        changes = moved(before, handler.processing_stats)
        del changes["events_sent"]
        assert changes == {
            "runs_cancelled": 1,
            "golden_path_events_sent": 1,
            "v3_pattern_usage": 1,
            "user_isolation_instances": 1,
            "durations": {"count": 1, "total_ms": 0, "max_ms": 0},
        }

    run_virtual(main())


def test_runs_in_flight_are_those_between_their_start_and_their_end() -> None:
    async def main() -> None:
        handler = AgentMessageHandler(golden)
        clients = [Client(handler) for _ in range(3)]
        tasks = [client.start(chat("hang")) for client in clients]
        await steps()
        assert handler.processing_stats["runs_in_flight"] == 3
        for left, task in zip((2, 1, 0), tasks, strict=True):
            task.cancel()
            await asyncio.wait([task])
            assert handler.processing_stats["runs_in_flight"] == left

    run_virtual(main())


def test_an_event_counts_when_the_transport_accepted_it_and_not_before() -> None:
    async def main() -> None:
        handler = AgentMessageHandler(golden)
        client = Client(handler, RecordingTransport(seconds=1))
        task = client.start(chat("hang"))
        await asyncio.sleep(0.5)
        assert client.transport.sends == 1
        assert handler.processing_stats["golden_path_events_sent"] == 0
        await asyncio.sleep(1)
        assert handler.processing_stats["golden_path_events_sent"] == 1
        assert handler.processing_stats["events_sent"]["agent_started"] == 1
        task.cancel()
        await asyncio.wait([task])

    run_virtual(main())


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4, 5, 6, 7])
def test_the_counts_are_those_of_the_transport_wherever_it_fails(fails_at: int) -> None:
    handler = AgentMessageHandler(golden)
    client = Client(handler, RecordingTransport(fails_at=fails_at))
    client.say(chat("work"))
    live = handler.processing_stats
    assert {kind: count for kind, count in live["events_sent"].items() if count} == {
        kind: client.types.count(kind) for kind in set(client.types)
    }
    golden_path = set(client.types) - {"agent_response_chunk", "agent_failed", "agent_cancelled"}
    assert live["golden_path_events_sent"] == sum(client.types.count(k) for k in golden_path)


def test_durations_are_those_of_the_monotonic_clock() -> None:
    seconds = iter([1.0, 3.0, 2.0])

    async def agent(run: Run) -> None:
        await asyncio.sleep(next(seconds))

    handler = AgentMessageHandler(agent, clock=loop_clock())
    for _ in range(3):
        assert Client(handler).say(chat())
    durations = {"count": 3, "total_ms": 6000, "max_ms": 3000}
    assert handler.processing_stats["durations"] == durations


def test_the_last_processed_time_is_that_of_the_last_completed_message() -> None:
    async def main() -> None:
        handler = AgentMessageHandler(golden, clock=loop_clock(100.0))
        client = Client(handler)
        await client.send(chat("work"))
        await asyncio.sleep(50)
        await client.send(chat("fail"))
        assert handler.processing_stats["last_processed_time"] == 100.0
        await client.send(chat("work"))
        assert handler.processing_stats["last_processed_time"] == 150.0

    run_virtual(main())


# Handing them out.


def test_the_live_counters_are_always_the_same_dictionary() -> None:
    handler = AgentMessageHandler(golden)
    live = handler.processing_stats
    Client(handler).say(chat("work"))
    assert handler.processing_stats is live
    assert live["messages_processed"] == 1


def test_get_stats_is_detached_through_and_through() -> None:
    handler = AgentMessageHandler(golden)
    client = Client(handler)
    client.say(chat("work"))
    client.say(Message(type="ping"))
    stats = handler.get_stats()
    stats["messages_processed"] = 999
    stats["events_sent"]["agent_started"] = 999
    stats["refusals"].clear()
    stats["durations"]["count"] = 999
    fresh = handler.get_stats()
    assert fresh["messages_processed"] == 1
    assert fresh["events_sent"]["agent_started"] == 1
    assert fresh["refusals"] == {"unsupported_type": 1}
    assert fresh["durations"]["count"] == 1


def test_get_stats_does_not_move_with_the_live_counters() -> None:
    handler = AgentMessageHandler(golden)
    stats = handler.get_stats()
    Client(handler).say(chat("work"))
    assert (stats["messages_processed"], stats["events_sent"]["agent_started"]) == (0, 0)


def test_get_stats_says_what_the_handler_is_beside_its_counters() -> None:
    handler = AgentMessageHandler(golden)
    stats = handler.get_stats()
    assert stats["handler_type"] == "SSOT_CANONICAL"
    assert stats["consolidation_issue"] == "#1093"
    assert stats["supported_message_types"] == 3
    identity = {"handler_type", "consolidation_issue", "supported_message_types"}
    assert set(stats) == ALL_KEYS | identity
    assert set(handler.processing_stats) == ALL_KEYS


def test_each_handler_counts_its_own() -> None:
    first, second = AgentMessageHandler(golden), AgentMessageHandler(golden)
    Client(first).say(chat("work"))
    assert second.processing_stats["messages_processed"] == 0


def test_keys_are_plain_strings_with_the_values_of_the_wire() -> None:
    handler = AgentMessageHandler(golden)
    client = Client(handler)
    client.say(chat("work"))
    client.say(Message(type=MessageType.PING))
    live = handler.processing_stats
    names = [*live["events_sent"], *live["refusals"]]
    assert {type(name) for name in names} == {str}
    assert {"agent_started", "agent_completed", "unsupported_type"} <= set(names)
    assert "." not in "".join(names)


def test_a_failed_run_leaves_nothing_for_the_garbage_collector() -> None:
    class Payload: ...

    held: list[ref[Payload]] = []

    async def agent(run: Run) -> None:
        payload = Payload()
        held.append(ref(payload))
        raise ValueError

    gc.disable()
    try:
        assert Client(AgentMessageHandler(agent)).say(chat()) is False
        assert held[0]() is None
    finally:
        gc.enable()
