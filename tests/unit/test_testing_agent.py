"""The kit's `run_agent`: an agent alone, in virtual time or in a loop."""

import asyncio
import logging
import re
from contextlib import suppress
from typing import Any

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    AgentRegistry,
    Message,
    MessageType,
    Run,
)
from agent_messaging.compat import adapt_service
from agent_messaging.testing import (
    RecordingTransport,
    UnexpectedError,
    counted_ids,
    run_agent,
    run_agent_async,
    run_virtual,
)
from support import chat


async def count(run: Run) -> int:
    """Count the words, within an hour."""
    await run.thinking("Counting")
    async with run.tool("split", run.request) as call:
        await asyncio.sleep(3600)
        call.result = run.request.split()
    await run.chunk("Done")
    return len(run.request.split())


async def fail(run: Run) -> None:
    await run.thinking("Failing")
    raise ValueError("what the author reads")


async def wait(run: Run) -> None:
    await asyncio.Event().wait()


# What is given back.


def test_the_transcript_is_what_the_client_saw() -> None:
    run = run_agent(count, "one two three")
    run.assert_golden_path(strict=True)
    assert (run.result, run.text, run.thoughts) == (3, "Done", ("Counting",))
    assert (run.user_id, run.thread_id, run.message_id) == ("user-1", "thread-1", "message-1")


def test_the_same_agent_gives_the_same_transcript() -> None:
    first, second = run_agent(count, "one"), run_agent(count, "one")
    assert [frame.text for frame in first.frames] == [frame.text for frame in second.frames]


def test_an_agent_that_waits_for_an_hour_takes_none() -> None:
    run = run_agent(count, "one")
    assert run.frames[-1].timestamp == 3600.0
    assert run.tools["split"][0].duration_ms == 3_600_000


def test_the_agent_gets_what_a_host_would_give_it() -> None:
    async def agent(run: Run) -> list[object]:
        return [run.context.user_id, run.message.payload["page"], run.context.metadata["token"]]

    run = run_agent(agent, "x", user_id="ada", payload={"page": 7}, metadata={"token": "t"})
    assert run.result == ["ada", 7, "t"]


def test_a_message_may_start_an_agent_by_its_name() -> None:
    agents = AgentRegistry()
    agents.register("counter", count)
    agents.register("failer", fail)
    run = run_agent(agents, "one", type=MessageType.START_AGENT, payload={"agent": "counter"})
    assert (run.agent, run.result) == ("counter", 1)


def test_the_order_in_which_tasks_go_on_is_repeated_by_its_seed() -> None:
    async def agent(run: Run) -> None:
        async with asyncio.TaskGroup() as group:
            for name in "abcdef":
                group.create_task(say(run, name))

    async def say(run: Run, name: str) -> None:
        await asyncio.sleep(0)
        await run.chunk(name)

    texts = [run_agent(agent, "x", seed=seed).text for seed in range(5)]
    assert texts == [run_agent(agent, "x", seed=seed).text for seed in range(5)]
    assert len(set(texts)) > 1
    assert run_agent(agent, "x").text == "abcdef"


def test_what_a_client_that_goes_away_saw_ends_there() -> None:
    run = run_agent(count, "one", transport=RecordingTransport(fails_at=3), expect=None)
    assert [frame.type for frame in run.frames] == ["agent_started", "agent_thinking"]
    assert run.outcome is None


def test_a_transport_may_serve_one_run_after_the_other() -> None:
    transport = RecordingTransport()
    run_agent(count, "one", transport=transport)
    run = run_agent(count, "one two", transport=transport)
    assert run.result == 2
    assert len(transport.frames) == 2 * len(run.frames)


# What was not expected is raised.


def test_what_an_agent_raises_is_raised_with_the_run_as_a_note() -> None:
    with pytest.raises(ValueError, match="what the author reads") as raised:
        run_agent(fail, "x")
    (note,) = raised.value.__notes__
    assert "agent_thinking text='Failing'" in note


def test_an_agents_own_words_are_raised_too() -> None:
    async def agent(run: Run) -> None:
        raise AgentError("Not today.", code="closed")

    with pytest.raises(AgentError, match=r"Not today\."):
        run_agent(agent, "x")
    run_agent(agent, "x", expect="failed").assert_ended("failed", code="closed")


def test_a_failure_that_is_expected_is_in_the_transcript() -> None:
    run = run_agent(fail, "x", expect="failed")
    run.assert_ended("failed", code="agent_error")
    assert isinstance(run.error, ValueError)


def test_a_run_that_is_expected_to_fail_has_to() -> None:
    with pytest.raises(UnexpectedError, match="expected a run that ended as failed"):
        run_agent(count, "one", expect="failed")


def test_any_end_will_do_where_any_is_expected() -> None:
    assert [run_agent(agent, "x", expect=None).outcome for agent in (count, fail)] == [
        "completed",
        "failed",
    ]


def test_a_message_that_is_refused_is_an_error() -> None:
    with pytest.raises(UnexpectedError, match="missing_content"):
        run_agent(count, "   ")


def test_a_message_that_is_refused_is_an_error_though_nothing_arrives() -> None:
    with pytest.raises(UnexpectedError, match="refused"):
        run_agent(count, "  ", expect=None, transport=RecordingTransport(fails_at=1))


def test_a_message_that_is_refused_is_an_error_though_it_is_cancelled_then() -> None:
    slow = RecordingTransport(seconds=2)
    with pytest.raises(UnexpectedError, match="refused"):
        run_agent(count, "  ", transport=slow, cancel_after=1, expect=None)


def test_a_run_is_cancelled_at_its_first_step() -> None:
    assert run_agent(count, "one", cancel_after=0, expect="cancelled").events


def test_the_transcript_is_of_one_run_though_another_has_the_same_transport() -> None:
    transport = RecordingTransport()

    async def share(run: Run) -> str:
        message = Message(type="chat", payload={"text": "go"}, thread_id="thread-1")
        await AgentMessageHandler(echo, new_id=counted_ids("inner-")).handle_message(
            "user-1", transport, message
        )
        return "outer"

    run = run_agent(share, "go", transport=transport)
    assert run.result == "outer"
    run.assert_golden_path()


async def echo(run: Run) -> str:
    return run.request


def test_a_payload_may_not_say_another_text() -> None:
    with pytest.raises(ValueError, match="payload has 'content'"):
        run_agent(count, "one", payload={"content": "two"})


async def delegate(run: Run) -> None:
    """Has a handler of its own work on what fails, and fails otherwise if it is told to."""
    message = Message(type="chat", payload={"text": "go"})
    await AgentMessageHandler(fail).handle_message("inner", RecordingTransport(), message)
    if run.request == "fail":
        raise KeyError("the outer one")


def test_the_failed_run_of_a_handler_within_the_agent_is_raised() -> None:
    with pytest.raises(UnexpectedError, match=r"logged run_finished .*; converse") as raised:
        run_agent(delegate, "go")
    assert isinstance(raised.value.__cause__, ValueError)


def test_what_the_agent_itself_raises_is_raised_before_that() -> None:
    with pytest.raises(KeyError, match="the outer one"):
        run_agent(delegate, "fail")


def test_a_cancellation_that_an_agent_makes_itself_does_not_cancel_its_test() -> None:
    async def work_for_somebody_else(run: Run) -> None:
        task = asyncio.create_task(asyncio.sleep(3600))
        await run.thinking("waiting")
        task.cancel()
        await task

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_agent_async(work_for_somebody_else, "one"))

    with pytest.RaisesGroup(pytest.RaisesExc(UnexpectedError, match="ended as completed")):
        run_virtual(main())


def test_what_the_library_logs_as_an_error_is_one() -> None:
    class Service:
        async def handle_user_message(self, websocket: Any, **_: object) -> None:
            await websocket.send_text("{")

        handle_start_agent = handle_user_message

    with pytest.raises(UnexpectedError, match=r"the library logged frame_dropped .*expect_log"):
        run_agent(adapt_service(Service()), "x")


def test_the_levels_of_the_log_are_as_they_were() -> None:
    logger = logging.getLogger("agent_messaging")
    before = (logger.level, list(logger.handlers))
    run_agent(count, "x")
    assert (logger.level, logger.handlers) == before


# Its end from outside.


def test_a_run_is_cancelled_after_the_seconds_that_are_asked_for() -> None:
    run = run_agent(wait, "x", cancel_after=5.0, expect="cancelled")
    run.assert_ended("cancelled", reason="cancelled")
    assert run.frames[-1].timestamp == 5.0


def test_a_run_that_ends_before_its_cancellation_has_ended() -> None:
    assert run_agent(count, "one", cancel_after=7200.0).result == 1


def test_an_agent_may_take_too_long() -> None:
    run = run_agent(wait, "x", run_timeout=5.0, expect="failed")
    run.assert_ended("failed", code="timeout")


def test_a_run_without_an_end_is_an_error_that_lists_what_came() -> None:
    with pytest.raises(
        AssertionError, match=r"(?s)no end of the run in 86400 s.*agent_started"
    ) as raised:
        run_agent(wait, "x")
    assert re.search(r"waiting:\n.* at .*test_testing_agent\.py:\d+", str(raised.value), re.DOTALL)


def test_another_end_than_a_run_can_have_is_no_expectation() -> None:
    ending: Any = "complete"
    with pytest.raises(ValueError, match="completed, failed, cancelled, not as complete"):
        run_agent(count, "x", expect=ending)


def test_an_agent_that_will_not_end_does_not_hold_up_its_test() -> None:
    async def agent(run: Run) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1e6)
        await asyncio.sleep(1e6)  # until the loop is closed

    with pytest.raises(AssertionError, match="no end of the run in 10 s"):
        run_virtual(run_agent_async(agent, "x", timeout=10.0))


def test_what_is_no_exception_leaves_the_agent_as_it_would_in_production() -> None:
    class StopAllError(BaseException):
        pass

    async def agent(run: Run) -> None:
        raise StopAllError

    with pytest.raises(StopAllError):
        run_agent(agent, "x", expect="failed")


# In a loop.


def test_runs_at_once_have_what_their_own_agents_raised() -> None:
    async def fail_as_well(run: Run) -> None:
        await run.thinking("Failing")
        raise KeyError(run.request)

    async def main() -> None:
        failed, other, completed = await asyncio.gather(
            run_agent_async(fail, "x", expect="failed"),
            run_agent_async(fail_as_well, "x", expect="failed"),
            run_agent_async(count, "x", timeout=7200),
        )
        assert isinstance(failed.error, ValueError)
        assert isinstance(other.error, KeyError)
        assert completed.error is None

    run_virtual(main())


def test_a_run_that_was_left_behind_elsewhere_and_is_collected_is_nothing_unexpected() -> None:
    async def main() -> None:
        left = AgentMessageHandler(count).handle_message("ann", RecordingTransport(), chat())
        left.send(None)

        async def collect(run: Run) -> None:
            left.close()

        assert (await run_agent_async(collect, "x")).error is None

    run_virtual(main())


def test_within_a_loop_the_other_function_is_named() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="await run_agent_async there"):
            run_agent(count, "x")

    run_virtual(main())


def test_it_runs_in_a_loop_that_is_there() -> None:
    async def main() -> object:
        return (await run_agent_async(count_at_once, "one two")).result

    async def count_at_once(run: Run) -> int:
        return len(run.request.split())

    assert asyncio.run(main()) == 2


def test_the_cancellation_of_its_call_is_one_of_the_run() -> None:
    ends: list[str] = []

    async def agent(run: Run) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cleaned up")

    async def main() -> None:
        call = asyncio.create_task(run_agent_async(agent, "x"))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    run_virtual(main())
    assert ends == ["cleaned up"]
