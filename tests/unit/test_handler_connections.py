"""Runs and their connections: which websocket, one writer for each, failing and slow ones."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    ConfigurationError,
    MessageType,
    Run,
    RunFinished,
    TransportError,
    WebSocketLike,
)
from agent_messaging.testing import RecordingTransport, run_virtual
from support import chat, runs_of, tasks_left, user_message
from support.clients import Client
from support.loop import steps

AgentBody = Callable[[Run], Awaitable[object]]


async def echo(run: Run) -> str:
    return run.request


async def talkative(run: Run) -> None:
    for number in range(5):
        await run.chunk(f"{run.request}{number}")
        await asyncio.sleep(0)


# Which websocket.


class WithSendText:
    def __init__(self) -> None:
        self.recorder = RecordingTransport(turns=2)

    async def send_text(self, frame: str) -> None:
        await self.recorder(frame)

    async def send(self, message: dict[str, object]) -> None:
        raise AssertionError("this one takes dictionaries")


class WithSendStr:
    def __init__(self) -> None:
        self.recorder = RecordingTransport()

    async def send_str(self, frame: str) -> None:
        await self.recorder(frame)


class WithSend:
    def __init__(self) -> None:
        self.recorder = RecordingTransport()

    async def send(self, frame: str) -> None:
        await self.recorder(frame)


@pytest.mark.parametrize("make", [WithSendText, WithSendStr, WithSend])
def test_a_websocket_is_anything_with_a_known_method(
    make: Callable[[], WithSendText | WithSendStr | WithSend],
) -> None:
    websocket = make()
    assert run_virtual(AgentMessageHandler(echo).handle_message("u1", websocket, chat()))
    assert len(websocket.recorder.frames) == 2


def test_the_constructors_websocket_serves_only_the_calls_that_pass_none() -> None:
    own, passed = RecordingTransport(), RecordingTransport()
    handler = AgentMessageHandler(echo, own)
    assert run_virtual(handler.handle_message("u1", passed, chat("to the call's")))
    assert run_virtual(handler.handle_message("u1", None, chat("to the constructor's")))
    (for_own,) = runs_of(own.frames).values()
    (for_passed,) = runs_of(passed.frames).values()
    assert for_own[-1]["payload"]["result"] == "to the constructor's"
    assert for_passed[-1]["payload"]["result"] == "to the call's"


def test_a_call_without_any_websocket_is_a_configuration_error() -> None:
    handler = AgentMessageHandler(echo)
    before = handler.get_stats()
    with pytest.raises(ConfigurationError, match="needs a websocket"):
        run_virtual(handler.handle_message("u1", None, chat()))
    assert handler.get_stats() == before


@pytest.mark.parametrize("websocket", [object(), "socket", 5, WithSendText])
def test_a_websocket_that_is_none_is_a_configuration_error_at_once(websocket: object) -> None:
    with pytest.raises(ConfigurationError, match="websocket"):
        AgentMessageHandler(echo, websocket)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    handler = AgentMessageHandler(echo)
    before = handler.get_stats()
    with pytest.raises(ConfigurationError, match="websocket"):
        run_virtual(handler.handle_message("u1", websocket, chat()))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert handler.get_stats() == before


# One writer for each connection.


async def client_sends(client: Client, *texts: str) -> list[bool]:
    return await asyncio.gather(*(client.send(chat(text)) for text in texts))


def test_two_runs_on_one_connection_never_send_at_once_and_each_keeps_its_order() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(talkative), RecordingTransport(turns=2))
        assert await client_sends(client, "a", "b") == [True, True]
        runs = runs_of(client.transport.frames)
        assert len(runs) == 2
        for frames in runs.values():
            assert [frame["seq"] for frame in frames] == list(range(1, 8))

    run_virtual(main())


def test_a_socket_and_its_bound_methods_are_one_connection() -> None:
    async def main() -> None:
        websocket = WithSendText()
        handler = AgentMessageHandler(talkative)
        ways: list[WebSocketLike] = [websocket, websocket.send_text, websocket.send_text]
        calls = (handler.handle_message("u1", way, chat()) for way in ways)
        assert await asyncio.gather(*calls) == [True, True, True]

    run_virtual(main())


def test_one_handler_serves_many_connections_at_once_and_each_gets_its_own() -> None:
    async def main() -> None:
        handler = AgentMessageHandler(talkative)
        clients = [
            Client(handler, RecordingTransport(turns=at % 3), f"user-{at}") for at in range(12)
        ]
        results = await asyncio.gather(*(c.send(chat(c.user_id)) for c in clients))
        assert results == [True] * 12
        for client in clients:
            assert {frame["user_id"] for frame in client.frames} == {client.user_id}
            texts = [payload["text"] for payload in client.payloads("agent_response_chunk")]
            assert texts == [f"{client.user_id}{number}" for number in range(5)]

    run_virtual(main())


def test_nothing_is_left_of_a_connection_once_its_messages_are_done() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(talkative), RecordingTransport(turns=1))
        await client.send(chat())
        assert tasks_left() == []
        await client.send(user_message())
        assert client.types.count("agent_completed") == 2

    run_virtual(main())


#: Loops whose tasks start at once have these from Python 3.12 on.
EAGER: object = getattr(asyncio, "eager_task_factory", None)


@pytest.mark.parametrize("yields", [0, 1])
def test_a_loop_that_starts_tasks_at_once_changes_nothing(yields: int) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(cast("Any", EAGER))
        client = Client(AgentMessageHandler(talkative), RecordingTransport(turns=yields))
        assert await client_sends(client, "a", "b") == [True, True]
        assert client.types.count("agent_completed") == 2

    run_virtual(main())


# Connections that fail.


async def ignores_it(run: Run) -> str:
    for _ in range(5):
        await steps(3)
        with suppress(TransportError):
            await run.thinking("still here")
    return "done all the same"


async def never_looks(run: Run) -> str:
    await steps()
    return "done all the same"


async def raises_it(run: Run) -> None:
    for _ in range(5):
        await steps(3)
        await run.thinking("still here")


async def words_it(run: Run) -> None:
    try:
        await raises_it(run)
    except TransportError as error:
        raise AgentError("They hung up", code="hung_up") from error


async def leaves_a_tool_open(run: Run) -> None:
    await run.tool_executing("c1", "search")
    await steps()


async def times_out(run: Run) -> None:
    await asyncio.sleep(100)


@pytest.mark.parametrize(
    "agent", [ignores_it, never_looks, raises_it, words_it, leaves_a_tool_open, times_out]
)
@pytest.mark.parametrize("yields", [0, 2])
def test_a_run_whose_transport_failed_is_cancelled_as_disconnected_whatever_the_agent_does(
    agent: AgentBody, yields: int
) -> None:
    told: list[RunFinished] = []
    handler = AgentMessageHandler(agent, run_timeout=10, on_run_finished=told.append)
    client = Client(handler, RecordingTransport(turns=yields, fails_at=1))
    assert client.say(chat()) is False
    assert client.frames == []
    (finished,) = told
    assert finished.report.outcome is MessageType.AGENT_CANCELLED
    assert finished.reason == "disconnected"
    assert finished.report.delivered == {}
    assert finished.report.undelivered == sum(finished.report.decided.values()) > 0
    stats = handler.get_stats()
    assert (stats["runs_cancelled"], stats["errors"], stats["messages_processed"]) == (1, 0, 0)
    assert stats["undelivered_events"] == finished.report.undelivered
    assert sum(stats["events_sent"].values()) == 0


def test_what_was_accepted_before_the_transport_failed_is_counted_and_no_more() -> None:
    client = Client(AgentMessageHandler(raises_it), RecordingTransport(fails_at=3))
    assert client.say(chat()) is False
    assert client.types == ["agent_started", "agent_thinking"]
    stats = client.handler.get_stats()
    assert stats["golden_path_events_sent"] == 2


def test_a_run_that_is_cancelled_over_a_failed_transport_is_disconnected_and_raises_on() -> None:
    async def main() -> None:
        told: list[RunFinished] = []
        handler = AgentMessageHandler(times_out, on_run_finished=told.append)
        client = Client(handler, RecordingTransport(fails_at=1))
        task = client.start(chat())
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [details.reason for details in told] == ["disconnected"]

    run_virtual(main())


def test_a_transport_that_fails_after_the_end_was_decided_leaves_it_undelivered() -> None:
    client = Client(AgentMessageHandler(echo), RecordingTransport(fails_at=2))
    assert client.say(chat()) is False
    assert client.types == ["agent_started"]
    stats = client.handler.get_stats()
    assert (stats["runs_completed"], stats["undelivered_events"], stats["errors"]) == (1, 1, 0)


def test_a_failed_connection_is_tried_anew_by_the_next_message() -> None:
    transport = RecordingTransport(fails_at=1)
    client = Client(AgentMessageHandler(echo), transport)
    assert client.say(chat()) is False
    assert client.say(chat()) is False
    assert transport.sends == 2


# Slow connections, and the wait at the end.


def test_a_call_returns_when_its_frames_are_out() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(echo), RecordingTransport(seconds=1))
        assert await client.send(chat()) is True
        assert client.types == ["agent_started", "agent_completed"]

    run_virtual(main())


def test_the_wait_at_the_end_is_bounded_and_then_the_message_was_not_delivered() -> None:
    async def main() -> None:
        handler = AgentMessageHandler(echo, final_send_timeout=3)
        client = Client(handler, RecordingTransport(seconds=2))
        assert await client.send(chat()) is False
        assert asyncio.get_running_loop().time() == 3
        await handler.aclose()
        assert client.types == ["agent_started", "agent_completed"]
        assert handler.get_stats()["golden_path_events_sent"] == 2
        assert await client.send(chat()) is False, "the handler is usable after aclose"

    run_virtual(main())


def test_the_wait_at_the_end_is_five_seconds_unless_the_host_says_otherwise() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(echo), RecordingTransport(hangs_at=1))
        assert await client.send(chat()) is False
        assert asyncio.get_running_loop().time() == 5
        await client_closed(client)

    run_virtual(main())


async def client_closed(client: Client) -> None:
    handler = client.handler
    assert isinstance(handler, AgentMessageHandler)
    await handler.aclose()
    assert tasks_left() == []


def test_a_cancellation_during_the_wait_is_raised_once_the_frames_are_out() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(echo), RecordingTransport(seconds=1))
        task = client.start(chat())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.types == ["agent_started", "agent_completed"]
        assert client.handler.get_stats()["messages_processed"] == 1

    run_virtual(main())


def test_a_second_cancellation_ends_the_wait_and_not_the_sending() -> None:
    async def main() -> None:
        client = Client(AgentMessageHandler(echo), RecordingTransport(seconds=1))
        task = client.start(chat())
        await asyncio.sleep(0.5)
        task.cancel()
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.types == []
        await client_closed(client)
        assert client.types == ["agent_started", "agent_completed"]

    run_virtual(main())


def test_no_cancellation_of_a_run_cuts_a_send() -> None:
    async def main() -> None:
        handler = AgentMessageHandler(talkative, final_send_timeout=60)
        client = Client(handler, RecordingTransport(seconds=1))
        task = client.start(chat())
        await steps(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.transport.sends == len(client.frames)
        seqs = [frame["seq"] for frame in client.frames]
        assert seqs == list(range(1, len(seqs) + 1))
        assert client.types[-1] == "agent_cancelled"

    run_virtual(main())
