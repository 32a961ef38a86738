"""What the kit raises in a conversation since no test has said that it expects it."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from agent_messaging import (
    AgentMessageHandler,
    Endpoint,
    Limits,
    Message,
    MessageRouter,
    Run,
    RunFinished,
    WebSocketLike,
    as_transport,
)
from agent_messaging.compat import adapt_service
from agent_messaging.testing import (
    Client,
    ReceivedFrame,
    RecordingTransport,
    UnexpectedError,
    converse,
    converse_async,
    counted_ids,
    run_agent,
    run_virtual,
)


async def agent(run: Run) -> str:
    """Works for an hour."""
    await run.thinking(run.request)
    await asyncio.sleep(3600)
    if run.request == "fail":
        raise ValueError("what the author reads")
    return run.request


HANDLER = AgentMessageHandler(agent)


def test_a_wait_that_comes_upon_an_error_raises_it() -> None:
    with (
        pytest.raises(UnexpectedError, match="the library answered error_message code='malformed"),
        converse(HANDLER) as client,
    ):
        client.send_frame("{")
        client.expect("pong")


def test_an_error_that_is_left_is_raised_at_the_end() -> None:
    with pytest.raises(UnexpectedError, match="malformed_frame"), converse(HANDLER) as client:
        client.send_frame("{")


#: For a client that hangs: its session ends half a minute later, and it cannot be told why.
TOO_SLOW = "ended the connection as slow_consumer; expect_closed"


def test_a_connection_that_ended_with_an_error_is_raised_at_the_end() -> None:
    with pytest.raises(UnexpectedError, match=TOO_SLOW), converse(HANDLER) as client:
        client.transport.hang()
        client.send("one")
        client.wait(60)


def test_a_connection_that_ended_with_an_error_is_raised_by_a_wait_at_once() -> None:
    with pytest.raises(UnexpectedError, match=TOO_SLOW), converse(HANDLER) as client:
        client.transport.hang()
        client.send("one")
        client.expect_run()


def test_a_connection_that_ended_with_an_error_is_not_forgotten_with_the_next_one() -> None:
    with (
        pytest.raises(UnexpectedError, match=TOO_SLOW),
        converse(Endpoint(HANDLER, on_disconnect="detach")) as client,
    ):
        client.transport.hang()
        client.send("one")
        client.wait(60)
        client.reconnect()
        client.wait(2 * 3600)


def test_of_two_connections_that_ended_with_an_error_each_is_to_be_expected() -> None:
    with pytest.raises(UnexpectedError, match=TOO_SLOW), converse(HANDLER) as client:
        for _ in range(2):
            client.transport.hang()
            client.send("one")
            client.wait(60)
            client.reconnect()
        client.transport.hang()
        client.send("one")
        client.expect_closed("slow_consumer")


def by_its_code(client: Client) -> ReceivedFrame:
    return client.expect_error("slow_consumer")


def by_its_type(client: Client) -> ReceivedFrame:
    return client.expect("error_message")


@pytest.mark.parametrize("expect", [by_its_code, by_its_type])
def test_a_connection_that_ended_with_an_error_is_expected_by_the_error_that_said_so(
    expect: Callable[[Client], ReceivedFrame],
) -> None:
    async def talk(run: Run) -> None:
        for _ in range(300):
            await run.chunk("x" * 10_000)

    with converse(
        Endpoint(AgentMessageHandler(talk), limits=Limits(lag_events=10), on_disconnect="detach")
    ) as client:
        client.transport.hang()
        client.send("go")
        client.wait(0.1)
        client.transport.read_on()
        expect(client)


def test_what_the_agent_of_an_expected_run_raised_is_raised() -> None:
    with (
        pytest.raises(ValueError, match="what the author reads") as raised,
        converse(HANDLER) as client,
    ):
        client.send("fail")
        client.expect_run()
    assert "agent_failed" in raised.value.__notes__[0]


def test_a_failed_run_that_is_left_is_raised_at_the_end() -> None:
    with pytest.raises(ValueError, match="what the author reads"), converse(HANDLER) as client:
        client.send("fail")
        client.expect("agent_failed")


def test_a_failed_run_that_no_client_saw_is_raised_at_the_end() -> None:
    with (
        pytest.raises(UnexpectedError, match="the library logged run_finished") as raised,
        converse(Endpoint(HANDLER, on_disconnect="detach")) as client,
    ):
        client.transport.hang()
        client.send("fail")
    assert isinstance(raised.value.__cause__, ValueError)


def failing_hook(finished: RunFinished) -> None:
    raise LookupError("what the author reads")


def test_a_run_that_fails_once_its_client_is_gone_is_raised_at_the_end() -> None:
    with (
        pytest.raises(UnexpectedError, match="the library logged run_finished") as raised,
        converse(Endpoint(HANDLER, on_disconnect="detach")) as client,
    ):
        client.send("fail")
        client.disconnect()
        client.wait(2 * 3600)
    assert isinstance(raised.value.__cause__, ValueError)


def test_what_is_logged_as_an_error_is_raised_at_the_end() -> None:
    handler = AgentMessageHandler(agent, on_run_finished=failing_hook)
    with (
        pytest.raises(UnexpectedError, match="the library logged hook_failed") as raised,
        converse(handler) as client,
    ):
        client.send("one")
        client.expect_run()
    assert isinstance(raised.value.__cause__, LookupError)


def test_what_is_logged_is_raised_in_the_place_of_a_wait_that_fails() -> None:
    handler = AgentMessageHandler(agent, on_run_finished=failing_hook)
    with pytest.raises(UnexpectedError, match="hook_failed"), converse(handler) as client:
        client.send("one")
        client.expect("pong")


def test_what_is_logged_is_expected_by_its_name() -> None:
    handler = AgentMessageHandler(agent, on_run_finished=failing_hook)
    with pytest.raises(UnexpectedError, match="hook_failed"), converse(handler) as client:
        client.send("one")
        client.expect_run()
        client.expect_log("handler_failed")


def test_where_logging_is_switched_off_what_an_agent_raises_is_raised_all_the_same() -> None:
    logging.disable()
    try:
        with pytest.raises(ValueError, match="what the author reads"), converse(HANDLER) as client:
            client.send("fail")
            client.expect_run()
    finally:
        logging.disable(logging.NOTSET)


def test_where_logging_is_switched_off_what_is_logged_is_still_unexpected() -> None:
    logging.disable()
    try:
        handler = AgentMessageHandler(agent, on_run_finished=failing_hook)
        with pytest.raises(UnexpectedError, match="hook_failed"), converse(handler) as client:
            client.send("one")
            client.expect_run()
    finally:
        logging.disable(logging.NOTSET)


def test_conversations_of_one_task_keep_apart() -> None:
    async def main() -> None:
        async with (
            converse_async(HANDLER, timeout=7200) as one,
            converse_async(HANDLER, timeout=7200) as other,
        ):
            await one.send("fail")
            await other.send("two")
            assert isinstance((await one.expect_run("failed")).error, ValueError)
            assert (await other.expect_run()).error is None

    run_virtual(main())


def test_a_conversation_hears_nothing_of_another_within_it() -> None:
    with converse(HANDLER) as client:
        run_agent(agent, "fail", expect="failed")
        with converse(HANDLER) as other:
            other.send("fail")
            other.expect_run("failed")
        client.send("one")
        assert client.expect_run().error is None


def test_what_is_logged_may_be_expected() -> None:
    handler = AgentMessageHandler(agent, on_run_finished=failing_hook)
    with converse(handler) as client:
        client.send("one")
        trouble = client.expect_log("hook_failed")
        client.expect_run()
        with pytest.raises(AssertionError, match="no log line hook_failed came"):
            client.expect_log("hook_failed")
    assert trouble.event == "hook_failed"
    assert trouble.fields["error"] == "LookupError"
    assert isinstance(trouble.error, LookupError)


def test_what_a_test_raises_itself_is_not_hidden_by_what_was_left() -> None:
    with pytest.raises(KeyError), converse(HANDLER) as client:
        client.send_frame("{")
        raise KeyError


def test_runs_that_the_end_of_the_conversation_cancels_are_nothing_unexpected() -> None:
    handler = AgentMessageHandler(agent)
    with converse(handler) as client:
        client.send("one")
    assert handler.get_stats()["runs_cancelled"] == 1


# Runs of which no client is told.


async def orchestrate(run: Run) -> str:
    """Has a handler of its own work on what it is asked."""
    message = Message(type="chat", payload={"text": run.request})
    await HANDLER.handle_message("inner", RecordingTransport(), message)
    return "done"


async def ask_nothing(run: Run) -> str:
    """Has a handler of its own work on a message without a text."""
    message = Message(type="chat", payload={"text": " "})
    await HANDLER.handle_message("inner", RecordingTransport(), message)
    return "done"


def test_the_failed_run_of_a_handler_within_an_agent_is_raised() -> None:
    with (
        pytest.raises(UnexpectedError, match=r"logged run_finished .*; expect_log") as raised,
        converse(AgentMessageHandler(orchestrate)) as client,
    ):
        client.send("fail")
        client.expect_run()
    assert isinstance(raised.value.__cause__, ValueError)


def test_the_failed_run_of_a_handler_within_an_agent_may_be_expected() -> None:
    with converse(AgentMessageHandler(orchestrate)) as client:
        client.send("fail")
        trouble = client.expect_log("run_finished")
        client.expect_run()
    assert trouble.fields["user_id"] == "inner"
    assert isinstance(trouble.error, ValueError)


def test_a_failed_run_that_was_expected_is_not_in_the_log_for_another_test_to_expect() -> None:
    with converse(HANDLER) as client:
        client.send("fail")
        client.expect_run("failed")
        with pytest.raises(AssertionError, match="no log line run_finished came"):
            client.expect_log("run_finished")


def test_a_run_that_one_tab_expects_to_fail_is_expected_in_the_other() -> None:
    with converse(HANDLER) as client:
        client.send("fail", message_id="m", thread_id="t")
        client.another().send("fail", message_id="m", thread_id="t")
        client.expect_run("failed")


class Audited:
    """A handler of the host's around the canonical one."""

    supported_types = HANDLER.supported_types

    def can_handle(self, message_type: str) -> bool:
        return HANDLER.can_handle(message_type)

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        return await HANDLER.handle_message(user_id, websocket, message)

    def get_stats(self) -> Mapping[str, object]:
        return {}


def test_a_refusal_by_a_handler_within_the_hosts_is_expected_by_its_code() -> None:
    with converse(Audited()) as client:
        client.send(" ")
        client.expect_error("missing_content")
    with pytest.raises(UnexpectedError, match="missing_content"), converse(Audited()) as client:
        client.send(" ")


def test_a_failed_run_that_the_log_told_of_is_expected_when_its_client_comes_back() -> None:
    with converse(Endpoint(HANDLER, on_disconnect="detach")) as client:
        client.send("fail")
        client.disconnect()
        client.wait(7200)
        client.expect_log("run_finished")
        client.reconnect()
        assert client.expect("agent_failed").payload["code"] == "agent_error"


def test_the_refused_message_of_a_handler_within_an_agent_is_raised() -> None:
    with (
        pytest.raises(UnexpectedError, match=r"logged message_refused .* code=missing_content"),
        converse(AgentMessageHandler(ask_nothing)) as client,
    ):
        client.send("one")
        client.expect_run()
    with converse(AgentMessageHandler(ask_nothing)) as client:
        client.send("one")
        client.expect_run()
        client.expect_log("message_refused")


def test_runs_of_two_handlers_with_the_same_ids_are_apart() -> None:
    async def within(run: Run) -> str:
        inner = AgentMessageHandler(agent, new_id=counted_ids())
        message = Message(type="chat", payload={"text": "fail"}, thread_id="t")
        await inner.handle_message("inner", RecordingTransport(), message)
        return "done"

    handler = AgentMessageHandler(within, new_id=counted_ids())
    with converse(Endpoint(handler, new_id=counted_ids())) as client:
        for _ in range(2):
            client.send("one")
            assert client.expect_run().error is None
        assert {client.expect_log("run_finished").fields["user_id"] for _ in range(2)} == {"inner"}


# What an agent raises.


async def work_for_somebody_else(run: Run) -> None:
    """Waits for a task of its own that is cancelled, though nobody cancels the run."""
    task = asyncio.create_task(asyncio.sleep(3600))
    await run.thinking("waiting")
    task.cancel()
    await task


def test_a_cancellation_that_an_agent_makes_itself_does_not_cancel_its_test() -> None:
    with (
        pytest.raises(UnexpectedError, match="a run that ended as completed") as raised,
        converse(AgentMessageHandler(work_for_somebody_else)) as client,
    ):
        client.send("one")
        client.expect_run()
    assert isinstance(raised.value.__cause__, asyncio.CancelledError)


def test_a_run_that_was_stopped_is_not_why_a_wait_fails() -> None:
    with converse(HANDLER) as client:
        client.send("one")
        client.stop()
        with pytest.raises(AssertionError, match="no pong came") as raised:
            client.expect("pong", timeout=1)
    assert raised.value.__cause__ is None


def test_what_an_agent_raised_is_why_a_wait_fails_whatever_failed_before() -> None:
    class GivingUp:
        async def handle_user_message(self, websocket: Any, **_: object) -> None:
            await websocket.send_json({"type": "agent_failed", "code": "no", "message": "no"})

        handle_start_agent = handle_user_message

    async def delegate(run: Run) -> None:
        message = Message(type="chat", payload={"text": run.request})
        await AgentMessageHandler(adapt_service(GivingUp())).handle_message(
            "inner", RecordingTransport(), message
        )
        raise ValueError("what the author reads")

    with converse(AgentMessageHandler(delegate)) as client:
        client.send("one")
        with pytest.raises(AssertionError, match="no pong came") as raised:
            client.expect("pong")
        client.expect_run("failed")
        client.expect_log("run_finished")
    assert isinstance(raised.value.__cause__, ValueError)


# Answers that do not arrive.


@pytest.mark.parametrize("frame", ["{", '{"type": "nonsense"}'])
def test_a_refusal_that_did_not_arrive_is_raised_at_the_end(frame: str) -> None:
    with (
        pytest.raises(UnexpectedError, match="did not arrive; expect_log"),
        converse(MessageRouter(HANDLER)) as client,
    ):
        client.transport.hang()
        client.send_frame(frame)
        client.disconnect()


def test_of_two_refusals_the_one_that_did_not_arrive_is_raised() -> None:
    with (
        pytest.raises(UnexpectedError, match="malformed_frame, which did not"),
        converse(HANDLER) as client,
    ):
        client.send_frame("{")
        client.expect_error("malformed_frame")
        client.transport.hang()
        client.send_frame("{")
        client.disconnect()


def test_a_refusal_that_did_not_arrive_may_be_expected() -> None:
    with converse(HANDLER) as client:
        client.transport.hang()
        client.send_frame("{")
        assert client.expect_log("frame_refused").fields["code"] == "malformed_frame"
        client.disconnect()


def test_a_refusal_that_arrived_is_not_in_the_log_to_expect() -> None:
    with converse(HANDLER) as client:
        client.send_frame("{")
        client.expect_error("malformed_frame")
        client.transport.hang()
        client.send_frame({"type": "nonsense"})
        assert client.expect_log("frame_refused").fields["code"] == "unsupported_type"
        with pytest.raises(AssertionError, match="no log line frame_refused"):
            client.expect_log("frame_refused", timeout=1)
        client.disconnect()


def test_a_refusal_that_did_not_arrive_is_not_made_up_for_by_last_words() -> None:
    async def main() -> None:
        endpoint = Endpoint(HANDLER)
        async with converse_async(endpoint) as client:
            client.transport.hang()
            await client.send_frame({"type": "ping"})  # whose answer is being sent
            endpoint.start_draining()
            await client.send_frame({"type": "chat", "payload": {"text": "one"}})
            async with asyncio.TaskGroup() as group:
                group.create_task(endpoint.__aexit__(None, None, None))
                await client.wait(7)  # once what waited was dropped, and the last words wait
                client.transport.read_on()
            await client.expect_closed("shutdown")
            assert [frame.type for frame in client.frames][1:] == ["pong", "error_message"]

    with pytest.raises(UnexpectedError, match="the error shutting_down, which did not arrive"):
        run_virtual(main())


def test_a_refusal_is_not_expected_with_last_words_of_the_same_code() -> None:
    async def main() -> None:
        endpoint = Endpoint(HANDLER)
        async with converse_async(endpoint) as client:
            endpoint.start_draining()
            await client.send("one")
            await endpoint.__aexit__(None, None, None)
            await client.expect_closed("shutdown")

    with pytest.raises(UnexpectedError, match=r"code='shutting_down' .* message_id='message-1'"):
        run_virtual(main())


def test_a_refusal_that_did_not_arrive_is_that_of_the_client_who_sent_it() -> None:
    with pytest.raises(UnexpectedError, match="bob got"), converse(HANDLER) as client:
        bob = client.another("bob")
        bob.transport.hang()
        bob.send_frame("{")
        client.send_frame("{")
        client.expect_error("malformed_frame")


# Ends of connections.


def test_the_end_of_a_connection_without_last_words_excuses_no_error() -> None:
    class Complaining:
        supported_types = frozenset({"complain"})

        def can_handle(self, message_type: str) -> bool:
            return message_type == "complain"

        async def handle_message(
            self, user_id: str, websocket: WebSocketLike | None, message: Message
        ) -> bool:
            assert websocket is not None
            frame = {"type": "error_message", "payload": {"text": "no code at all"}}
            await as_transport(websocket)(json.dumps(frame))
            return True

        def get_stats(self) -> Mapping[str, object]:
            return {}

    with (
        pytest.raises(UnexpectedError, match="no code at all"),
        converse(Endpoint(Complaining(), idle_timeout=60)) as client,
    ):
        client.send_frame({"type": "complain"})
        client.expect_closed("idle")


def test_an_error_that_tells_of_no_end_excuses_none() -> None:
    with pytest.raises(UnexpectedError, match=TOO_SLOW), converse(HANDLER) as client:
        client.send_frame("{")
        client.expect_error("malformed_frame")
        client.transport.hang()
        client.send("one")
        client.wait(60)


def test_an_error_that_tells_of_an_end_tells_of_that_of_its_own_connection() -> None:
    async def talk(run: Run) -> None:
        for _ in range(300):
            await run.chunk("x" * 10_000)

    endpoint = Endpoint(
        AgentMessageHandler(talk), limits=Limits(lag_events=10), on_disconnect="detach"
    )
    with pytest.raises(UnexpectedError, match=TOO_SLOW), converse(endpoint) as client:
        client.transport.hang()
        client.send("go")
        client.wait(60)  # which it cannot be told of
        client.reconnect()
        client.transport.hang()
        client.send("go", thread_id="another")
        client.wait(0.1)
        client.transport.read_on()
        client.expect_error("slow_consumer")


# What a failure shows.


def test_what_is_raised_shows_what_was_received() -> None:
    def shown(act: Callable[[Client], object]) -> None:
        with (
            pytest.raises(UnexpectedError, match="user-1 got:\n    1 connection_establ"),
            converse(Endpoint(HANDLER, idle_timeout=60)) as client,
        ):
            act(client)

    def other_error(client: Client) -> None:
        client.send_frame("{")
        client.expect_error("invalid_message")

    shown(other_error)
    shown(lambda client: client.send_frame("{"))
    shown(lambda client: client.expect_closed("shutdown"))


def test_heartbeats_do_not_hide_what_came() -> None:
    async def stuck(run: Run) -> None:
        await run.thinking("for ever")
        await asyncio.Event().wait()

    with converse(Endpoint(AgentMessageHandler(stuck))) as client:
        client.send("one")
        with pytest.raises(AssertionError) as raised:
            client.expect_run()
    _, *lines = str(raised.value).splitlines()
    assert [line.split()[1] for line in lines] == [
        "connection_established",
        "agent_started",
        "agent_thinking",
        "heartbeat",
    ]
