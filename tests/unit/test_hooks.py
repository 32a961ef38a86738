"""The finish hook: told of each run once its frames are out, and unable to change anything."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import FrozenInstanceError

import pytest

from agent_messaging import (
    GOLDEN_PATH,
    AgentError,
    AgentMessageHandler,
    ConfigurationError,
    Message,
    MessageType,
    Run,
    RunFinished,
)
from agent_messaging.testing import RecordingTransport, run_virtual
from support import chat, start_agent
from support.clients import Client
from support.lines import own_records
from support.loop import steps

AgentBody = Callable[[Run], Awaitable[object]]


async def golden(run: Run) -> str:
    await run.thinking("Looking")
    async with run.tool("search"):
        pass
    return "done"


def finished(
    agent: AgentBody, message: Message, transport: RecordingTransport | None = None
) -> RunFinished:
    told: list[RunFinished] = []
    Client(AgentMessageHandler(agent, on_run_finished=told.append), transport).say(message)
    (details,) = told
    return details


def test_it_is_told_whose_run_it_was_and_how_it_ended() -> None:
    message = start_agent("Rome", thread_id="t1", message_id="m1")
    details = finished(golden, message)
    assert details.message is message
    assert (details.context.user_id, details.context.thread_id) == ("user-1", "t1")
    assert details.context.message_id == "m1"
    assert (details.code, details.reason, details.error) == (None, None, None)
    report = details.report
    assert report.outcome is MessageType.AGENT_COMPLETED
    assert report.decided == dict.fromkeys(GOLDEN_PATH, 1)
    assert report.delivered == report.decided
    assert report.order == GOLDEN_PATH
    assert (report.missing, report.undelivered, report.is_complete) == ((), 0, True)


def test_the_details_are_frozen() -> None:
    details = finished(golden, chat())
    with pytest.raises(FrozenInstanceError):
        details.code = "x"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


def test_it_is_told_once_the_frames_are_out() -> None:
    async def main() -> None:
        types: list[str] = []
        handler = AgentMessageHandler(golden, on_run_finished=lambda _: types.extend(client.types))
        client = Client(handler, RecordingTransport(seconds=0.5))
        await client.send(chat())
        assert types == [str(kind) for kind in GOLDEN_PATH]

    run_virtual(main())


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("x"), "agent_error"), (AgentError("x", code="own"), "own")]
)
def test_it_is_told_what_a_failed_run_raised_and_its_code(error: Exception, code: str) -> None:
    async def agent(run: Run) -> None:
        raise error

    details = finished(agent, chat())
    assert details.report.outcome is MessageType.AGENT_FAILED
    assert (details.code, details.reason) == (code, None)
    assert details.error is error


def test_it_is_told_of_a_time_out() -> None:
    async def main() -> None:
        async def agent(run: Run) -> None:
            await asyncio.Event().wait()

        told: list[RunFinished] = []
        handler = AgentMessageHandler(agent, run_timeout=1, on_run_finished=told.append)
        assert await Client(handler).send(chat()) is False
        assert [(each.code, type(each.error)) for each in told] == [("timeout", TimeoutError)]

    run_virtual(main())


def test_it_is_told_of_a_result_that_would_not_encode() -> None:
    async def agent(run: Run) -> object:
        return object()

    details = finished(agent, chat())
    assert details.code == "agent_error"
    assert type(details.error).__name__ == "PayloadError"


def test_it_is_told_of_a_cancelled_run_before_the_cancellation_is_raised_on() -> None:
    async def main() -> None:
        async def agent(run: Run) -> None:
            await asyncio.Event().wait()

        told: list[RunFinished] = []
        task = Client(AgentMessageHandler(agent, on_run_finished=told.append)).start(chat())
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (details,) = told
        assert details.report.outcome is MessageType.AGENT_CANCELLED
        assert (details.code, details.reason) == (None, "cancelled")
        assert isinstance(details.error, asyncio.CancelledError)

    run_virtual(main())


def test_it_is_told_what_was_not_delivered() -> None:
    report = finished(golden, chat(), RecordingTransport(fails_at=5)).report
    assert report.outcome is MessageType.AGENT_COMPLETED
    assert report.undelivered == 1
    assert report.missing == ()
    assert report.undelivered_kinds == (MessageType.AGENT_COMPLETED,)
    assert not report.is_complete


def test_it_is_not_told_of_a_refused_message() -> None:
    told: list[RunFinished] = []
    client = Client(AgentMessageHandler(golden, on_run_finished=told.append))
    client.say(Message(type="ping"))
    assert told == []


def test_it_is_told_of_each_run_once_and_after_its_own_end() -> None:
    async def main() -> None:
        async def agent(run: Run) -> None:
            await asyncio.sleep(float(run.request))

        told: list[str] = []
        handler = AgentMessageHandler(
            agent, on_run_finished=lambda details: told.append(details.context.message_id)
        )
        client = Client(handler)
        await asyncio.gather(
            client.send(chat("3", message_id="slow")), client.send(chat("1", message_id="fast"))
        )
        assert told == ["fast", "slow"]

    run_virtual(main())


def failing_hook(details: RunFinished) -> None:
    raise LookupError("hunter2")


@pytest.mark.parametrize("agent_fails", [False, True])
def test_a_hook_that_raises_is_logged_and_counted_and_changes_nothing_else(
    agent_fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def agent(run: Run) -> None:
        if agent_fails:
            raise AgentError("No", code="own")

    handler = AgentMessageHandler(agent, on_run_finished=failing_hook)
    quiet = AgentMessageHandler(agent)
    with caplog.at_level(logging.INFO, "agent_messaging"):
        assert Client(handler).say(chat()) is not agent_fails
        assert Client(quiet).say(chat()) is not agent_fails
    stats, expected = handler.get_stats(), quiet.get_stats()
    assert stats["hook_errors"] == 1
    assert (stats["errors"], stats["runs_completed"], stats["runs_failed"]) == (
        expected["errors"],
        expected["runs_completed"],
        expected["runs_failed"],
    )
    (record,) = [
        each for each in own_records(caplog) if each.__dict__.get("event") == "hook_failed"
    ]
    assert record.levelno == logging.ERROR
    assert record.__dict__["error"] == "LookupError"
    assert record.__dict__["raised_at"].startswith("test_hooks.py:")
    assert "hunter2" not in caplog.text


def test_a_hook_that_raises_leaves_a_cancellation_a_cancellation() -> None:
    async def main() -> None:
        async def agent(run: Run) -> None:
            await asyncio.Event().wait()

        handler = AgentMessageHandler(agent, on_run_finished=failing_hook)
        task = Client(handler).start(chat())
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert handler.processing_stats["hook_errors"] == 1

    run_virtual(main())


async def async_hook(details: RunFinished) -> None: ...


class AsyncHook:
    async def __call__(self, details: RunFinished) -> None: ...


@pytest.mark.parametrize("hook", [async_hook, AsyncHook(), 5, "print"])
def test_a_hook_that_cannot_be_called_as_one_is_refused_at_once(hook: object) -> None:
    with pytest.raises(ConfigurationError, match="on_run_finished must be a plain function"):
        AgentMessageHandler(golden, on_run_finished=hook)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        ("agent_failed", "theirs", "theirs"),
        ("agent_failed", 5, None),
        ("agent_completed", "theirs", None),
        ("agent_cancelled", "theirs", None),
    ],
)
def test_it_is_told_the_code_of_a_failure_that_was_relayed(
    kind: str, code: object, told: str | None
) -> None:
    async def agent(run: Run) -> None:
        await run.relay(MessageType(kind), {"code": code})

    details = finished(agent, chat())
    assert details.report.outcome == kind
    assert details.code == told
