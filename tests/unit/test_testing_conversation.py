"""The kit's conversations: a client's side of an endpoint, without a server."""

import asyncio
import json
from collections.abc import Mapping
from contextvars import ContextVar

import pytest

from agent_messaging import (
    AgentMessageHandler,
    ConfigurationError,
    Endpoint,
    Limits,
    Message,
    MessageRouter,
    MessageType,
    RemoteError,
    Run,
    RunFinished,
    WebSocketLike,
    as_transport,
)
from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing import (
    HangError,
    UnexpectedError,
    VirtualTimeLoop,
    check_stream,
    converse,
    converse_async,
    run_virtual,
)


async def agent(run: Run) -> object:
    """Does what the message says, within an hour."""
    await run.thinking(run.request)
    await asyncio.sleep(3600)
    if run.request == "fail":
        raise ValueError("what the author reads")
    return [run.context.user_id, run.request, dict(run.message.payload), dict(run.context.metadata)]


HANDLER = AgentMessageHandler(agent)


# Sending.


def test_a_message_is_a_run_of_the_agent() -> None:
    with converse(HANDLER) as client:
        message_id = client.send("hello")
        run = client.expect_run()
    run.assert_golden_path()
    assert (run.message_id, run.user_id) == (message_id, "user-1")
    assert run.result == ["user-1", "hello", {"text": "hello"}, {}]


def test_a_message_says_what_it_is_told_to() -> None:
    with converse(HANDLER, user_id="ada", metadata={"token": 1}) as client:
        client.send(
            "hello",
            type=MessageType.START_AGENT,
            payload={"page": 7},
            message_id="m",
            thread_id="t",
        )
        run = client.expect_run(message_id="m")
    assert (client.user_id, run.message_id, run.thread_id) == ("ada", "m", "t")
    assert run.result == ["ada", "hello", {"page": 7, "user_request": "hello"}, {"token": 1}]


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"ping","payload":{"id":7}}',
        b'{"type":"ping","payload":{"id":7}}',
        {"type": "ping", "payload": {"id": 7}},
    ],
)
def test_a_frame_is_sent_as_it_is_or_as_its_json(frame: str | bytes | Mapping[str, object]) -> None:
    with converse(HANDLER) as client:
        client.send_frame(frame)
        assert client.expect("pong").payload == {"id": 7}


def test_the_same_message_again_is_no_second_run() -> None:
    with converse(HANDLER) as client:
        for _ in range(2):
            client.send("hello", message_id="m")
        client.expect_run(message_id="m")
        assert len(client.runs) == 1


def test_the_run_of_a_message_that_is_sent_again_is_that_of_the_first_time() -> None:
    with converse(HANDLER) as client:
        client.send("hello", message_id="m")
        run = client.expect_run(message_id="m")
        client.send("hello", message_id="m")
        assert client.expect_run(message_id="m").frames == run.frames


def test_of_two_runs_of_a_message_the_one_that_was_not_expected_yet_is_given() -> None:
    async def main() -> None:
        endpoint = Endpoint(HANDLER)
        async with converse_async(endpoint, timeout=7200) as client:
            await client.send("hello", message_id="m")
            first = await client.expect_run(message_id="m")
            await endpoint.forget("user-1")
            await client.expect_closed("forgotten")
            await client.reconnect()
            await client.send("hello", message_id="m")
            second = await client.expect_run(message_id="m")
            assert second.run_id != first.run_id
            assert (await client.expect_run(message_id="m")).run_id == second.run_id
            with pytest.raises(AssertionError, match="no end of a run came"):
                await client.expect_run()

    run_virtual(main())


async def spin(run: Run) -> None:
    """Hangs after a second."""
    await asyncio.sleep(1)
    while True:  # noqa: ASYNC110 - it never ends, and never waits
        await asyncio.sleep(0)


def test_a_loop_that_hangs_is_told_of_as_it_is() -> None:
    with (
        pytest.raises(HangError),
        converse(AgentMessageHandler(spin)) as client,
    ):
        client.send("one")
        client.wait(2)


def test_a_wait_in_which_the_loop_hung_takes_nothing_of_what_comes_later() -> None:
    with converse(AgentMessageHandler(spin)) as client:
        client.send("one")
        with pytest.raises(HangError):
            client.expect_run()
        client.stop()
        client.expect_run("cancelled")


def test_a_loop_that_hangs_while_a_frame_waits_is_told_of_as_it_is() -> None:
    endpoint = Endpoint(AgentMessageHandler(spin), limits=Limits(pending_replies=4))
    with pytest.raises(HangError), converse(endpoint) as client:
        client.send("one")
        client.transport.hang()
        for _ in range(6):
            client.send_frame({"type": "ping"})


def test_a_text_is_said_in_one_place() -> None:
    with converse(HANDLER) as client:
        for payload in ({"message": "other"}, {"content": None}, {"text": "other"}):
            with pytest.raises(ValueError, match=f"payload has '{next(iter(payload))}'"):
                client.send("hello", payload=payload)
        start = MessageType.START_AGENT
        with pytest.raises(ValueError, match="payload has 'user_request'"):
            client.send("hello", type=start, payload={"user_request": "other"})
        client.send("hello", type=start, payload={"text": "beside it"})
        assert client.expect_run().result == [
            "user-1",
            "hello",
            {"text": "beside it", "user_request": "hello"},
            {},
        ]


def test_an_agent_reads_the_context_variables_of_the_test() -> None:
    variable = ContextVar[str]("variable")

    async def read(run: Run) -> str:
        return variable.get()

    with converse(AgentMessageHandler(read)) as client:
        for value in ("one", "two"):
            variable.set(value)
            client.send("go")
            assert client.expect_run().result == value


def test_before_a_message_is_accepted_there_is_nothing_to_stop() -> None:
    with (
        converse(HANDLER) as client,
        pytest.raises(AssertionError, match="no thread to stop before a message is accepted"),
    ):
        client.stop()


def test_after_the_conversation_a_client_can_do_nothing() -> None:
    with converse(HANDLER) as client:
        client.send("one")
        client.expect_run()
    with pytest.raises(RuntimeError, match="closed"):
        client.send("two")
    assert len(client.runs) == 1


def test_a_run_is_stopped_by_its_id_or_with_its_thread() -> None:
    with converse(Endpoint(HANDLER, thread_policy="parallel")) as client:
        client.send("one")
        client.send("two")
        first = client.runs[0]
        client.stop(first.run_id)
        client.expect_run("cancelled").assert_ended("cancelled", reason="stopped")
        client.stop()
        assert client.expect_run("cancelled").run_id != first.run_id
        assert client.expect("stopped").payload == {"run_ids": [first.run_id]}


# Expecting.


def test_frames_before_the_expected_one_are_passed_over() -> None:
    with converse(HANDLER) as client:
        client.send("one")
        assert client.expect("agent_completed").seq == 3
        with pytest.raises(AssertionError, match="no agent_started came in 1 s"):
            client.expect("agent_started", timeout=1)


def test_a_wait_that_fails_lists_what_came() -> None:
    with converse(HANDLER, timeout=60) as client:
        client.send("one")
        with pytest.raises(AssertionError) as raised:
            client.expect_run()
        with pytest.raises(AssertionError, match=r"no end of the run of m came in 60 s"):
            client.expect_run(message_id="m")
    assert str(raised.value).splitlines()[0] == "no end of a run came in 60 s; user-1 got:"
    assert [line.split()[1] for line in str(raised.value).splitlines()[1:]] == [
        "connection_established",
        "agent_started",
        "agent_thinking",
    ]


def test_a_wait_that_fails_has_what_an_agent_raised_as_its_cause() -> None:
    with pytest.raises(AssertionError, match="no agent_completed came") as raised:  # noqa: SIM117 - as said
        with converse(HANDLER) as client:
            client.send("fail")
            client.expect("agent_completed")
    assert isinstance(raised.value.__cause__, ValueError)
    with converse(HANDLER) as client:
        client.send("fail")
        client.expect_run("failed")
        with pytest.raises(AssertionError, match="no agent_completed came") as raised:
            client.expect("agent_completed")
    assert raised.value.__cause__ is None


def test_the_frames_of_a_run_that_was_expected_are_passed_over() -> None:
    with converse(HANDLER) as client:
        client.send("one")
        client.expect_run()
        client.send("two")
        assert client.expect("agent_thinking").payload == {"text": "two"}


def test_the_times_of_runs_are_the_loops() -> None:
    with converse(HANDLER) as client:
        client.send("one")
        last = client.expect_run().frames[-1]
    assert last.payload["duration_ms"] == 3_600_000
    assert last.timestamp == pytest.approx(3600, abs=0.001)


def test_what_a_client_received_is_checked() -> None:
    with converse(HANDLER) as client:
        client.send("one")
        client.expect_run()
    assert check_stream(client.frames) == ()


def test_runs_are_expected_in_the_order_in_which_they_came_or_by_their_messages() -> None:
    with converse(Endpoint(HANDLER, thread_policy="parallel")) as client:
        ids = [client.send(text) for text in ("one", "two", "three")]
        assert client.expect_run(message_id=ids[1]).message_id == ids[1]
        assert [client.expect_run().message_id for _ in range(2)] == [ids[0], ids[2]]


def test_virtual_time_passes_while_it_is_waited_for_and_not_between() -> None:
    with converse(HANDLER) as client:
        client.send("one")
        for seconds, outcome in ((3599, None), (2, "completed")):
            client.wait(seconds)
            assert client.runs[0].outcome == outcome


def test_a_run_is_to_end_as_expected() -> None:
    with converse(HANDLER) as client:
        client.send("fail")
        run = client.expect_run("failed")
        run.assert_ended("failed", code="agent_error")
        assert isinstance(run.error, ValueError)
        client.send("one")
        with pytest.raises(UnexpectedError, match="expected a run that ended as cancelled"):
            client.expect_run("cancelled")


def test_any_end_will_do_where_any_is_expected() -> None:
    with converse(HANDLER) as client:
        client.send("fail")
        assert client.expect_run(None).outcome == "failed"


def test_an_error_that_is_expected_has_to_have_its_code() -> None:
    with converse(HANDLER) as client:
        client.send_frame("{")
        assert client.expect_error("malformed_frame").payload["code"] == "malformed_frame"
        client.send_frame({"type": "teleport"})
        with pytest.raises(UnexpectedError, match="expected the error malformed_frame"):
            client.expect_error("malformed_frame")


def test_an_error_may_be_expected_after_what_came_later() -> None:
    with converse(HANDLER) as client:
        client.send_frame("{")
        client.send_frame({"type": "ping"})
        client.expect("pong")
        client.expect("error_message")


def test_a_session_that_the_library_ends_is_to_end_as_expected() -> None:
    with converse(Endpoint(HANDLER, idle_timeout=60.0)) as client:
        client.expect_closed("idle")
    with (
        pytest.raises(UnexpectedError, match="end as shutdown, not as idle"),
        converse(Endpoint(HANDLER, idle_timeout=60.0)) as client,
    ):
        client.expect_closed("shutdown")


def test_the_last_words_to_a_client_that_reads_too_slowly_are_expected_with_its_end() -> None:
    async def talk(run: Run) -> None:
        for _ in range(300):
            await run.chunk("x" * 10_000)

    endpoint = Endpoint(
        AgentMessageHandler(talk), limits=Limits(lag_events=10), on_disconnect="detach"
    )
    with converse(endpoint) as client:
        client.transport.hang()
        client.send("go")
        client.wait(0.1)
        client.transport.read_on()
        client.expect_closed("slow_consumer")


def test_the_last_words_to_a_client_before_a_shutdown_are_expected_with_its_end() -> None:
    async def main() -> None:
        endpoint = Endpoint(HANDLER)
        async with converse_async(endpoint) as client:
            await endpoint.__aexit__(None, None, None)
            await client.expect_closed("shutdown")

    run_virtual(main())


# Connections.


def test_a_client_that_comes_back_gets_the_rest_of_its_runs() -> None:
    with converse(Endpoint(HANDLER, on_disconnect="detach")) as client:
        client.send("one")
        client.expect("agent_thinking")
        client.disconnect()
        client.disconnect()
        client.wait(4000)
        assert client.runs[0].outcome is None
        client.reconnect()
        run = client.expect_run()
    run.assert_golden_path()
    assert [frame.seq for frame in run.frames] == [1, 2, 3]


def test_a_client_that_comes_back_with_nothing_under_way_resumes_nothing() -> None:
    with converse(HANDLER) as client:
        client.send("one")
        client.expect_run()
        client.reconnect()
        assert client.frames[-1].type == "connection_established"


def test_events_that_are_sent_again_stand_in_a_run_once() -> None:
    with converse(HANDLER) as client:
        client.send("one", message_id="m")
        client.expect_run()
        client.send("one", message_id="m")
        client.expect("agent_completed")
        (run,) = client.runs
    assert [frame.seq for frame in run.frames] == [1, 2, 3]


def test_another_tab_of_the_user_sees_the_run_when_it_asks_for_it() -> None:
    with converse(HANDLER) as client:
        client.send("one", message_id="m")
        tab = client.another()
        tab.send("one", message_id="m")
        assert (tab.user_id, tab.expect_run().run_id) == ("user-1", client.runs[0].run_id)
        client.expect_run()


def test_another_user_has_runs_of_its_own() -> None:
    with converse(HANDLER) as client:
        other = client.another("bob", metadata={"token": 2})
        other.send("one")
        run = other.expect_run()
        assert (run.user_id, client.runs) == ("bob", ())
    assert run.result == ["bob", "one", {"text": "one"}, {"token": 2}]


def test_what_another_client_left_is_raised_at_the_end() -> None:
    with pytest.raises(UnexpectedError, match="malformed_frame"), converse(HANDLER) as client:
        client.another("bob").send_frame("{")


def test_a_client_can_be_made_to_lose_its_connection() -> None:
    with converse(Endpoint(HANDLER, on_disconnect="detach")) as client:
        client.transport.fail()
        client.send("one")
        client.reconnect()
        client.send("one", message_id="message-1")
        client.expect_run()


def test_a_client_that_comes_back_stops_what_runs_in_its_thread() -> None:
    with converse(Endpoint(HANDLER, on_disconnect="detach")) as client:
        client.send("one")
        client.reconnect()
        client.stop()
        client.expect_run("cancelled")


def test_a_client_of_several_threads_goes_on_in_its_first_one_however_often_it_comes_back() -> None:
    with converse(Endpoint(HANDLER, on_disconnect="detach")) as client:
        client.send("one", thread_id="a")
        client.expect_run()
        for _ in range(2):
            client.reconnect()
            client.send("two", thread_id="b", message_id="m")
            assert client.expect_run(message_id="m").thread_id == "b"
            client.send("three")
            client.stop()
            assert client.expect_run("cancelled").thread_id == "a"


def test_a_message_that_is_sent_again_is_of_its_own_thread_after_a_reconnection() -> None:
    with converse(HANDLER) as client:
        client.send("one", thread_id="a")
        client.send("two", thread_id="b", message_id="m")
        first = client.expect_run(message_id="m")
        client.reconnect()
        client.send("two", message_id="m")
        assert client.expect_run(message_id="m").run_id == first.run_id


def test_a_message_that_was_refused_is_sent_again_in_the_thread_of_its_client() -> None:
    limits = Limits(messages_per_minute=1)
    with converse(Endpoint(HANDLER, on_disconnect="detach", limits=limits)) as client:
        client.send("one")
        client.send("two", message_id="m")
        client.expect_error("rate_limited")
        client.wait(60)
        client.reconnect()
        client.send("two", message_id="m")
        client.stop()
        threads = {client.expect_run("cancelled").thread_id for _ in range(2)}
    assert len(threads) == 1


def test_a_message_that_was_refused_is_sent_again_in_the_thread_that_it_named() -> None:
    with converse(Endpoint(HANDLER, limits=Limits(messages_per_minute=1))) as client:
        client.send("one", thread_id="a")
        client.send("two", thread_id="b", message_id="m")
        client.expect_error("rate_limited")
        client.wait(60)
        client.send("two", message_id="m")
        assert client.expect_run(message_id="m").thread_id == "b"


def test_a_client_that_comes_back_goes_on_in_its_thread() -> None:
    with converse(Endpoint(HANDLER, thread_policy="reject", on_disconnect="detach")) as client:
        client.send("one")
        for _ in range(2):
            client.disconnect()
            client.reconnect()
        client.send("two")
        client.expect_error("thread_busy")
        client.stop()
        first = client.expect_run("cancelled")
        client.send("three")
        assert client.expect_run().thread_id == first.thread_id


# What is talked to.


class Weather:
    """A handler of the host's own, which answers with frames that are no events."""

    supported_types = frozenset({"weather"})

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        assert websocket is not None
        if "at" not in message.payload:
            raise LookupError("what the author reads")
        await as_transport(websocket)("rain")
        told = {"type": "weather", "payload": {"sun": False}}
        about = {name: message.payload[name] for name in ("run_id", "seq") & message.payload.keys()}
        await as_transport(websocket)(json.dumps(told | about))
        return True

    def get_stats(self) -> Mapping[str, object]:
        return {}


def test_of_a_connection_that_is_closed_it_is_said_so() -> None:
    with converse(Endpoint(HANDLER, slow_consumer_grace=5)) as client:
        client.transport.fail()
        client.send("one")
        with pytest.raises(AssertionError, match=r"of user-1 has ended as transport_failed$"):
            client.expect_run()
        with pytest.raises(AssertionError, match=r"nothing can be sent: .* as transport_failed"):
            client.send("two")
        client.reconnect()
        client.send("two")
        client.expect_run()


def test_a_frame_of_the_hosts_own_is_of_no_run_whatever_it_says() -> None:
    with converse(MessageRouter(HANDLER, Weather())) as client:
        client.send_frame({"type": "weather", "payload": {"at": "Oslo", "run_id": "r9", "seq": 1}})
        client.send("one")
        assert client.expect_run().result is not None
        client.runs[0].assert_tools_paired()


def test_a_handler_of_the_hosts_own_is_talked_to_alike() -> None:
    with converse(MessageRouter(HANDLER, Weather())) as client:
        client.send_frame({"type": "weather", "payload": {"at": "Oslo"}})
        assert client.expect("weather").payload == {"sun": False}
        assert client.frames[-2].text == "rain"


def test_what_a_handler_of_the_hosts_own_raises_is_raised() -> None:
    with (
        pytest.raises(UnexpectedError, match="agent_error") as raised,
        converse(Weather()) as client,
    ):
        client.send_frame({"type": "weather"})
        client.expect("weather")
    assert isinstance(raised.value.__cause__, LookupError)
    with converse(Weather()) as client:
        client.send_frame({"type": "weather"})
        client.expect_error("agent_error")
    with converse(Weather()) as client:
        client.send_frame({"type": "weather"})
        client.expect_error("agent_error")
        assert isinstance(client.expect_log("handler_failed").error, LookupError)
    with converse(Weather()) as client:
        client.send_frame({"type": "weather"})
        client.expect_log("handler_failed")
        client.expect_error("agent_error")


def test_each_failure_of_a_handler_of_the_hosts_own_may_be_expected() -> None:
    def fail(finished: RunFinished) -> None:
        raise LookupError("what the author reads")

    router = MessageRouter(AgentMessageHandler(agent, on_run_finished=fail), Weather())
    with converse(router) as client:
        client.send("one")
        client.expect_run()
        for _ in range(2):
            client.send_frame({"type": "weather"})
            client.expect_error("agent_error")
        client.expect_log("hook_failed")
        client.transport.hang()
        client.send_frame({"type": "weather"})
        client.disconnect()
        client.expect_log("handler_failed")


def test_an_endpoint_is_entered_and_left() -> None:
    endpoint = Endpoint(HANDLER)
    with converse(endpoint) as client:
        client.send("one")
        client.expect_run()
    assert endpoint.is_draining
    with pytest.raises(ConfigurationError, match="entered once"), converse(endpoint):
        pass


def test_an_endpoint_that_refuses_its_client_is_an_error_and_is_left() -> None:
    endpoint = Endpoint(HANDLER)
    with pytest.raises(ConfigurationError), converse(endpoint, user_id=""):
        pass
    assert endpoint.is_draining


def test_one_more_client_that_is_refused_takes_no_part() -> None:
    endpoint = Endpoint(HANDLER, limits=Limits(sessions_per_user=1))
    with converse(endpoint) as client:
        with pytest.raises(RemoteError, match="too_many_sessions"):
            client.another()
        client.send("one")
        client.expect_run()


def test_the_event_loop_of_the_thread_stays_as_it_was() -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        with converse(HANDLER, real_time=True):
            pass
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_a_log_with_a_thread_of_its_own_is_talked_to_in_real_time(tmp_path: object) -> None:
    async def at_once(run: Run) -> str:
        return "done"

    log = SqliteEventLog(f"{tmp_path}/log.db")
    endpoint = Endpoint(AgentMessageHandler(at_once), log=log)
    with converse(endpoint, real_time=True, timeout=60.0) as client:
        client.send("one")
        assert client.expect_run().result == "done"
        with pytest.raises(AssertionError, match=r"no pong came in 0\.001 s"):
            client.expect("pong", timeout=0.001)
    asyncio.run(log.aclose())


# In a loop of the test's own.


def test_a_seed_is_of_virtual_time() -> None:
    with pytest.raises(ValueError, match="not those of real_time"):
        converse(HANDLER, seed=1, real_time=True)


def test_within_a_loop_the_other_function_is_named() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="use converse_async there"), converse(HANDLER):
            pass

    run_virtual(main())


def test_it_is_talked_to_in_a_loop_that_is_there() -> None:
    async def at_once(run: Run) -> str:
        return "done"

    async def main() -> None:
        async with converse_async(AgentMessageHandler(at_once)) as client:
            await client.send("one")
            assert (await client.expect_run()).result == "done"
            assert client.session.user_id == client.user_id

    asyncio.run(main())


def test_in_a_loop_in_virtual_time_the_seconds_are_its_own() -> None:
    async def main() -> None:
        async with converse_async(HANDLER) as client:
            await client.send("one")
            with pytest.raises(AssertionError, match="no end of a run came in 5 s"):
                await client.expect_run()
            await client.wait(3600)
            await client.expect_run()
            assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop)

    run_virtual(main())
