"""Tool calls: by block, by hand, overlapping, and what the end of the run does to open ones."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from agent_messaging import (
    AgentError,
    AgentFailed,
    AgentMessageHandler,
    AgentMessagingError,
    LifecycleError,
    Limits,
    Run,
    ToolCompleted,
)
from agent_messaging.testing import RecordingTransport, run_agent
from support import chat
from support.clients import Client


def test_a_completed_tool_as_an_event_object_gets_its_name_and_its_measured_duration() -> None:
    async def agent(run: Run) -> None:
        await run.tool_executing("c1", "search")
        await asyncio.sleep(0.25)
        await run.emit(
            ToolCompleted(tool_call_id="c1", tool_name="?", result=[1], duration_ms=999_999)
        )

    completed = run_agent(agent, "hello").frames[2]
    assert (completed.type, completed.payload) == (
        "tool_completed",
        {
            "tool_call_id": "c1",
            "tool_name": "search",
            "status": "ok",
            "result": [1],
            "duration_ms": 250,
        },
    )


def test_a_completed_tool_with_an_error_says_so() -> None:
    async def agent(run: Run) -> None:
        for name in ("c1", "c2", "c3"):
            await run.tool_executing(name, "search")
        await run.tool_completed("c1", "ignored", error="No index")
        await run.tool_completed("c2", error="")
        await run.emit(
            ToolCompleted(tool_call_id="c3", tool_name="?", status="error", error="No index")
        )

    run = run_agent(agent, "hello")
    told = [(use.status, use.error) for use in run.tools["search"]]
    assert told == [("error", "No index"), ("error", ""), ("error", "No index")]
    completed = [frame for frame in run.frames if frame.type == "tool_completed"]
    assert not [frame for frame in completed if "result" in frame.payload]


def test_a_tool_block_is_executing_and_then_completed_with_what_it_found() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("search", {"q": 1}) as call:
            assert (call.tool_call_id, call.tool_name, call.arguments) == (
                "call_1",
                "search",
                {"q": 1},
            )
            call.result = {"hits": 2}
        async with run.tool("nothing"):
            pass

    run = run_agent(agent, "hello")
    assert [event.type for event in run.events[1:-1]] == ["tool_executing", "tool_completed"] * 2
    assert [frame.payload for frame in run.frames if frame.type == "tool_executing"] == [
        {"tool_call_id": "call_1", "tool_name": "search", "arguments": {"q": 1}},
        {"tool_call_id": "call_2", "tool_name": "nothing", "arguments": None},
    ]
    (search,), (nothing,) = run.tools["search"], run.tools["nothing"]
    assert (search.tool_call_id, search.result) == ("call_1", {"hits": 2})
    assert (nothing.tool_call_id, nothing.result) == ("call_2", None)


def test_a_tool_block_takes_the_models_own_call_id() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("search", tool_call_id="toolu_7"):
            pass

    assert run_agent(agent, "hello").tools["search"][0].tool_call_id == "toolu_7"


def test_a_tool_blocks_own_id_is_one_that_the_run_has_not_used() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("search", tool_call_id="call_1"), run.tool("fetch"):
            pass

    run = run_agent(agent, "hello")
    assert run.tools["search"][0].tool_call_id != run.tools["fetch"][0].tool_call_id


def test_tools_may_overlap_and_nest() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("outer"):
            async with run.tool("inner"):
                pass
            await run.tool_executing("late", "late")
        await run.tool_completed("late")

    run = run_agent(agent, "hello")
    assert [(frame.type, frame.payload["tool_name"]) for frame in run.frames[1:-1]] == [
        ("tool_executing", "outer"),
        ("tool_executing", "inner"),
        ("tool_completed", "inner"),
        ("tool_executing", "late"),
        ("tool_completed", "outer"),
        ("tool_completed", "late"),
    ]


def test_a_tool_block_measures_its_time_on_the_monotonic_clock() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("slow"):
            await asyncio.sleep(1.5)

    assert run_agent(agent, "hello").tools["slow"][0].duration_ms == 1500


def test_a_block_whose_result_will_not_encode_is_interrupted_at_the_end() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("search") as call:
            call.result = object()

    run = run_agent(agent, "hello", expect="failed")
    assert [event.type for event in run.events[1:-1]] == ["tool_executing", "tool_completed"]
    assert run.tools["search"][0].status == "interrupted"


def test_a_block_whose_error_is_too_long_to_tell_keeps_it_for_the_end() -> None:
    async def agent(run: Run) -> None:
        with suppress(AgentError):
            async with run.tool("search"):
                raise AgentError("x" * Limits().payload_bytes)

    assert run_agent(agent, "hello").tools["search"][0].error == "The tool failed."


def test_two_blocks_made_before_either_is_entered_are_two_calls() -> None:
    async def agent(run: Run) -> None:
        first, second = run.tool("a"), run.tool("b")
        async with first, second:
            pass

    run = run_agent(agent, "hello")
    assert [run.tools[name][0].tool_call_id for name in "ab"] == ["call_1", "call_2"]


def test_a_tool_is_paired_when_its_type_is_relayed_as_a_plain_string() -> None:
    async def agent(run: Run) -> None:
        kind: Any = "tool_executing"
        await run.relay(kind, {"tool_name": "search"}, "c1")

    client = Client(AgentMessageHandler(agent))
    assert client.say(chat())
    assert client.payload("tool_completed")["status"] == "interrupted"


def test_a_block_left_by_a_cancellation_stays_open_until_the_run_ends() -> None:
    async def agent(run: Run) -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), run.tool("slow"):
                await asyncio.Event().wait()
        await run.chunk("went on")
        return "done"

    run = run_agent(agent, "hello")
    assert [event.type for event in run.events] == [
        "agent_started",
        "tool_executing",
        "agent_response_chunk",
        "tool_completed",
        "agent_completed",
    ]
    assert run.tools["slow"][0].status == "interrupted"


def test_open_tools_are_interrupted_at_the_end_the_oldest_first() -> None:
    async def agent(run: Run) -> None:
        await run.tool_executing("b", "second letter")
        await asyncio.sleep(1)
        await run.tool_executing("a", "first letter")
        await asyncio.sleep(2)

    *_, first, second, _ = run_agent(agent, "hello").frames
    assert [first.payload, second.payload] == [
        {
            "tool_call_id": name,
            "tool_name": tool,
            "status": "interrupted",
            "error": "The run ended before the tool did.",
            "duration_ms": duration,
        }
        for name, tool, duration in [("b", "second letter", 3000), ("a", "first letter", 2000)]
    ]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AgentError("No index today", code="no_index"), "No index today"),
        (ExceptionGroup("one", [AgentError("No index today")]), "No index today"),
        (ValueError("password=hunter2"), "The tool failed."),
        (ExceptionGroup("two", [AgentError("a"), AgentError("b")]), "The tool failed."),
    ],
)
def test_an_exception_in_a_block_is_an_error_of_the_tool_and_goes_on(
    error: Exception, words: str
) -> None:
    async def search(run: Run) -> None:
        async with run.tool("search") as call:
            call.result = "half"
            raise error

    async def agent(run: Run) -> str:
        with pytest.raises(type(error)) as seen:
            await search(run)
        assert seen.value is error
        return "done without it"

    run = run_agent(agent, "hello")
    (completed,) = run.tools["search"]
    assert (completed.status, completed.error) == ("error", words)
    assert "result" not in run.frames[2].payload
    assert run.result == "done without it"


def test_an_agent_error_in_a_tool_chooses_what_the_client_reads_of_the_run_too() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("search"):
            raise AgentError("No index today", code="no_index", retryable=True)

    run = run_agent(agent, "hello", expect="failed")
    assert run.tools["search"][0].error == "No index today"
    assert isinstance(run.end, AgentFailed)
    assert (run.end.code, run.end.message) == ("no_index", "No index today")
    assert run.end.retryable is True


def test_a_block_that_was_completed_by_hand_keeps_the_error_that_leaves_it() -> None:
    async def agent(run: Run) -> None:
        async with run.tool("search") as call:
            await run.tool_completed(call.tool_call_id, "early")
            raise AgentError("No index today", code="no_index")

    run = run_agent(agent, "hello", expect="failed")
    assert run.tools["search"][0].result == "early"
    run.assert_ended("failed", code="no_index")


def test_a_block_whose_start_is_refused_is_not_entered() -> None:
    entered: list[str] = []

    async def agent(run: Run) -> None:
        async with run.tool("search", tool_call_id="c1"):
            pass
        with pytest.raises(LifecycleError):
            async with run.tool("search", tool_call_id="c1"):
                entered.append("again")

    run = run_agent(agent, "hello")
    assert [event.type for event in run.events[1:-1]] == ["tool_executing", "tool_completed"]
    assert entered == []


def test_a_block_left_by_a_base_exception_stays_open_for_the_end_to_interrupt() -> None:
    class Stop(BaseException):
        pass

    async def agent(run: Run) -> None:
        async with run.tool("search"):
            raise Stop

    client = Client(AgentMessageHandler(agent))
    with pytest.raises(Stop):
        client.say(chat())
    assert client.payload("tool_completed")["status"] == "interrupted"
    assert client.types[-1] == "agent_failed"


def test_a_tool_that_began_can_be_ended_whatever_the_payload_bound() -> None:
    async def agent(run: Run) -> None:
        for less in range(0, 200, 10):
            with suppress(AgentMessagingError):
                await run.tool_executing(f"c{less}", "x" * (Limits().payload_bytes - less))

    run = run_agent(agent, "hello")
    run.assert_golden_path()
    run.assert_tools_paired()


def test_entering_and_leaving_a_block_waits_while_the_outbox_is_full() -> None:
    waiting: list[int] = []

    async def agent(run: Run) -> None:
        for _ in range(5):
            async with run.tool("search"):
                waiting.append(run.report.undelivered)
            waiting.append(run.report.undelivered)
        with suppress(LookupError):
            async with run.tool("search"):
                raise LookupError
        waiting.append(run.report.undelivered)

    limits = Limits(outbox_frames=2)
    client = Client(AgentMessageHandler(agent, limits=limits), RecordingTransport(seconds=0.1))
    assert client.say(chat())
    assert max(waiting) == 2


def test_a_tool_that_is_open_when_the_result_will_not_encode_is_interrupted() -> None:
    async def agent(run: Run) -> object:
        await run.tool_executing("c1", "search")
        return object()

    run = run_agent(agent, "hello", expect="failed")
    assert [event.type for event in run.events[1:-1]] == ["tool_executing", "tool_completed"]
    assert run.tools["search"][0].status == "interrupted"
