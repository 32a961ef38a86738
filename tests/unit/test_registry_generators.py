"""Async generator functions as agents: what they yield, how they end, how they are closed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from agent_messaging import (
    AgentCompleted,
    AgentError,
    AgentEvent,
    AgentMessageHandler,
    AgentResponseChunk,
    AgentThinking,
    Limits,
    Run,
    ToolCompleted,
    ToolExecuting,
)
from agent_messaging.testing import RecordingTransport, run_agent, run_virtual
from support import chat
from support.clients import Client
from support.loop import steps

SMALL = Limits(outbox_frames=1)


async def narrator(run: Run) -> AsyncGenerator[AgentEvent | AgentCompleted, None]:
    yield AgentThinking(text="Looking")
    yield ToolExecuting(tool_call_id="c1", tool_name="search")
    yield ToolCompleted(tool_call_id="c1", tool_name="search", result=[1])
    yield AgentResponseChunk(text="Three")
    yield AgentCompleted(result=run.request)


def test_a_generator_yields_its_events_and_its_result_last() -> None:
    run = run_agent(narrator, "Rome")
    assert [event.type for event in run.events] == [
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_response_chunk",
        "agent_completed",
    ]
    assert run.result == "Rome"


def test_a_generator_that_yields_no_result_completes_with_none() -> None:
    async def quiet(run: Run) -> AsyncGenerator[AgentEvent, None]:
        yield AgentThinking(text="Looking")

    assert run_agent(quiet, "hello").result is None


def test_a_generator_is_closed_once_it_gave_its_result() -> None:
    past: list[str] = []

    async def chatty(run: Run) -> AsyncGenerator[AgentEvent | AgentCompleted, None]:
        try:
            yield AgentCompleted(result="early")
            past.append("went on")
        finally:
            past.append("closed")

    assert run_agent(chatty, "hello").result == "early"
    assert past == ["closed"]


def test_a_generator_may_raise_an_agent_error() -> None:
    async def failing(run: Run) -> AsyncGenerator[AgentEvent, None]:
        yield AgentThinking(text="Looking")
        raise AgentError("No flights today", code="no_flights")

    run = run_agent(failing, "hello", expect="failed")
    run.assert_ended("failed", code="no_flights")


def test_a_generator_that_yields_what_is_no_event_is_closed_and_fails() -> None:
    closed: list[bool] = []

    async def wrong(run: Run) -> AsyncGenerator[AgentEvent, None]:
        try:
            yield "Looking"  # type: ignore[misc] # pyright: ignore[reportReturnType]
        finally:
            closed.append(True)

    run = run_agent(wrong, "hello", expect="failed")
    run.assert_ended("failed", code="agent_error")
    assert closed == [True]


def test_a_cancelled_generator_cleans_up_before_the_run_ends() -> None:
    async def main() -> list[str]:
        cleaned: list[str] = []

        async def slow(run: Run) -> AsyncGenerator[AgentEvent, None]:
            try:
                yield AgentThinking(text="Looking")
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(1)
                cleaned.extend(client.types)

        client = Client(AgentMessageHandler(slow))
        task = client.start(chat())
        await steps()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert client.types == [*cleaned, "agent_cancelled"]
        return cleaned

    assert run_virtual(main()) == ["agent_started", "agent_thinking"]


def test_a_generator_at_a_yield_is_closed_when_its_run_is_cancelled() -> None:
    async def main() -> None:
        closed = asyncio.Event()

        async def endless(run: Run) -> AsyncGenerator[AgentEvent, None]:
            try:
                while True:
                    yield AgentResponseChunk(text="again")
            finally:
                closed.set()

        client = Client(AgentMessageHandler(endless, limits=SMALL), RecordingTransport(hangs_at=2))
        task = client.start(chat())
        await steps()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert closed.is_set()

    run_virtual(main())


def test_a_generators_own_task_group_that_failed_is_no_cancellation() -> None:
    async def fail() -> None:
        raise ValueError

    async def grouping(run: Run) -> AsyncGenerator[AgentEvent, None]:
        with suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        yield AgentThinking(text="went on")

    run = run_agent(grouping, "hello")
    assert [event.type for event in run.events] == [
        "agent_started",
        "agent_thinking",
        "agent_completed",
    ]
