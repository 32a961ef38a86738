"""How runs end: every accepted message in exactly one terminal event, and nothing after it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    LifecycleError,
    Run,
    TransportError,
)
from agent_messaging.testing import RecordingTransport, run_agent, run_virtual
from support import chat, tasks_left
from support.clients import Client
from support.loop import steps

AgentBody = Callable[[Run], Awaitable[object]]


async def forever() -> None:
    await asyncio.Event().wait()


async def hang(run: Run) -> None:
    await run.thinking("Looking")
    await forever()


async def swallow(run: Run) -> str:
    with suppress(asyncio.CancelledError):
        await forever()
    return "as if nothing had been"


async def swallow_and_work_on(run: Run) -> str:
    with suppress(asyncio.CancelledError):
        await forever()
    await asyncio.sleep(1)
    await run.chunk("more")
    return "as if nothing had been"


async def turn_into_an_error(run: Run) -> None:
    try:
        await forever()
    finally:
        raise ValueError("in the clean-up")


async def turn_into_words(run: Run) -> None:
    try:
        await forever()
    except asyncio.CancelledError:
        raise AgentError("I was cancelled", code="mine") from None


INTERRUPTED = [hang, swallow, swallow_and_work_on, turn_into_an_error, turn_into_words]


# Time-outs.


@pytest.mark.parametrize("agent", INTERRUPTED)
def test_a_run_that_takes_too_long_fails_with_timeout_whatever_the_agent_does_about_it(
    agent: AgentBody,
) -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(agent, run_timeout=3))
        assert await client.send(chat()) is False
        assert 3 <= asyncio.get_running_loop().time() <= 4
        failed = client.payload("agent_failed")
        assert (failed["code"], failed["message"]) == ("timeout", "The agent took too long.")
        assert client.types[-1] == "agent_failed"
        stats = client.handler.get_stats()
        assert (stats["runs_failed"], stats["runs_cancelled"], stats["errors"]) == (1, 0, 1)

    run_virtual(main())


def test_a_run_within_its_time_is_left_alone() -> None:
    async def agent(run: Run) -> str:
        await asyncio.sleep(2)
        return "in time"

    assert run_agent(agent, "hello", run_timeout=3).result == "in time"


def test_a_time_out_of_the_agents_own_is_no_time_out_of_the_run() -> None:
    async def agent(run: Run) -> None:
        async with asyncio.timeout(1):
            await forever()

    run = run_agent(agent, "hello", run_timeout=3, expect="failed")
    run.assert_ended("failed", code="agent_error")


def test_a_run_that_is_cancelled_while_it_times_out_is_cancelled() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(swallow_and_work_on, run_timeout=3))
        task = client.start(chat())
        await asyncio.sleep(3.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.types[-1] == "agent_cancelled"

    run_virtual(main())


# Cancellations.


@pytest.mark.parametrize("agent", INTERRUPTED)
def test_a_cancelled_run_ends_as_cancelled_whatever_the_agent_does_about_it(
    agent: AgentBody,
) -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(agent))
        task = client.start(chat())
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.payload("agent_cancelled")["reason"] == "cancelled"
        assert client.types[-1] == "agent_cancelled"
        assert {"agent_failed", "agent_completed"}.isdisjoint(client.types)
        stats = client.handler.get_stats()
        assert (stats["runs_cancelled"], stats["errors"], stats["messages_processed"]) == (1, 0, 0)
        assert tasks_left() == []

    run_virtual(main())


def test_a_cancellation_that_was_pending_before_the_first_step_ends_the_run_as_cancelled() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(hang))

        async def cancelled_at_once() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await client.send(chat())

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(cancelled_at_once())
        assert client.types[0] == "agent_started"
        assert client.types[-1] == "agent_cancelled"

    run_virtual(main())


def test_a_cancellation_that_comes_with_the_agents_last_step_counts() -> None:
    async def main() -> None:
        async def agent(run: Run) -> str:
            task.cancel()
            return "done"

        client = Client(AgentMessageHandler(agent))
        task = client.start(chat())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.types == ["agent_started", "agent_cancelled"]

    run_virtual(main())


def test_the_cancellation_that_is_raised_on_is_the_one_that_was_asked_for() -> None:
    async def main() -> None:
        reasons: list[object] = []

        async def host() -> None:
            try:
                await Client(AgentMessageHandler(hang)).send(chat())
            except asyncio.CancelledError as cancelled:
                reasons.extend(cancelled.args)

        task = asyncio.create_task(host())
        await steps()
        task.cancel("the server stops")
        await task
        assert reasons == ["the server stops"]

    run_virtual(main())


def test_a_caller_that_stops_waiting_cancels_the_run() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(hang))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send(chat()), timeout=1)
        assert client.types == ["agent_started", "agent_thinking", "agent_cancelled"]

    run_virtual(main())


# What is no Exception.


class Stop(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [Stop(), KeyboardInterrupt(), SystemExit(3), BaseExceptionGroup("g", [Stop()])]
)
def test_a_base_exception_is_raised_on_after_the_terminal_event(error: BaseException) -> None:
    async def agent(run: Run) -> None:
        await run.tool_executing("c1", "search")
        raise error

    client = Client(AgentMessageHandler(agent))
    with pytest.raises(type(error)) as raised:
        client.say(chat())
    assert raised.value is error
    assert client.types == ["agent_started", "tool_executing", "tool_completed", "agent_failed"]
    assert client.payload("agent_failed")["code"] == "agent_error"
    assert client.handler.get_stats()["errors"] == 1


def test_a_base_exception_in_answer_to_a_cancellation_is_raised_on_and_the_run_cancelled() -> None:
    async def main() -> None:
        async def agent(run: Run) -> None:
            try:
                await forever()
            finally:
                raise Stop

        client = Client(AgentMessageHandler(agent))
        task = client.start(chat())
        await steps()
        task.cancel()
        with pytest.raises(Stop):
            await task
        assert client.types[-1] == "agent_cancelled"

    run_virtual(main())


def test_the_handler_is_usable_after_whatever_was_raised_in_it() -> None:
    async def agent(run: Run) -> None:
        if run.request == "stop":
            raise Stop
        if run.request == "cancel":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await forever()

    client = Client(AgentMessageHandler(agent))
    with pytest.raises(Stop):
        client.say(chat("stop"))
    with pytest.raises(asyncio.CancelledError):
        client.say(chat("cancel"))
    assert client.say(chat("work")) is True
    assert client.types[1::2] == ["agent_failed", "agent_cancelled", "agent_completed"]
    assert client.handler.get_stats()["runs_in_flight"] == 0


# A coroutine that is closed.


def test_a_closed_coroutine_decides_its_end_and_what_is_left_goes_out() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(hang))
        coroutine = client.send(chat())
        coroutine.send(None)
        coroutine.close()
        await steps()
        assert client.types == ["agent_started", "agent_thinking", "agent_failed"]
        stats = client.handler.get_stats()
        assert (stats["runs_in_flight"], stats["runs_failed"]) == (0, 1)
        assert tasks_left() == []

    run_virtual(main())


def test_a_coroutine_that_is_closed_while_its_last_frames_go_out_has_ended_already() -> None:
    async def agent(run: Run) -> str:
        return "done"

    async def main() -> None:
        told: list[object] = []
        handler = AgentMessageHandler(agent, on_run_finished=told.append)
        client = Client(handler, RecordingTransport(turns=3))
        coroutine = client.send(chat())
        coroutine.send(None)
        coroutine.close()
        await steps()
        assert client.types == ["agent_started", "agent_completed"]
        assert handler.processing_stats["runs_completed"] == 1
        assert handler.processing_stats["runs_in_flight"] == 0
        assert len(told) == 1

    run_virtual(main())


# Sub-tasks that outlive their run.


def test_what_a_sub_task_emits_after_the_end_is_refused() -> None:
    async def main() -> None:
        refused: list[LifecycleError | TransportError] = []

        async def straggler(run: Run) -> None:
            await asyncio.sleep(5)
            for emit in (run.thinking, run.chunk, run.progress):
                with pytest.raises(LifecycleError) as refusal:
                    await emit("late")
                refused.append(refusal.value)
            with pytest.raises(LifecycleError) as refusal:
                async with run.tool("late"):
                    pass
            refused.append(refusal.value)

        stragglers: list[asyncio.Task[None]] = []

        async def agent(run: Run) -> None:
            stragglers.append(asyncio.create_task(straggler(run)))

        client = Client(AgentMessageHandler(agent))
        assert await client.send(chat()) is True
        await stragglers[0]
        assert len(refused) == 4
        assert client.types == ["agent_started", "agent_completed"]

    run_virtual(main())


def test_a_tool_of_a_sub_task_that_outlives_its_run_is_interrupted_once() -> None:
    async def main() -> None:
        stragglers: list[asyncio.Task[None]] = []

        async def straggler(run: Run) -> None:
            async with run.tool("search"):
                await asyncio.sleep(5)

        async def agent(run: Run) -> None:
            stragglers.append(asyncio.create_task(straggler(run)))
            await asyncio.sleep(1)

        client = Client(AgentMessageHandler(agent))
        assert await client.send(chat()) is True
        with pytest.raises(LifecycleError):
            await stragglers[0]
        assert client.payload("tool_completed")["status"] == "interrupted"
        assert client.types[-1] == "agent_completed"

    run_virtual(main())
