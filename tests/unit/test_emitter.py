"""How events are decided: encoded, allowed, posted; and relaying those of another making."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import pytest

from agent_messaging import (
    AgentError,
    AgentMessageHandler,
    Clock,
    LifecycleError,
    Limits,
    MessageType,
    NativeDialect,
    PayloadError,
    Run,
    RunFinished,
    TransportError,
)
from agent_messaging.testing import RecordingTransport, loop_clock, run_virtual
from support import chat
from support.clients import Client
from support.loop import steps

COMPLETED = MessageType.AGENT_COMPLETED


class Relaying:
    """A service that speaks for itself: it relays the events that it is given."""

    _agent_messaging_relays = "Relaying"

    def __init__(self, *events: tuple[MessageType, Mapping[str, object]]) -> None:
        self._events = events

    async def handle_start_agent(self, run: Run) -> object:
        for kind, payload in self._events:
            call_id = payload.get("tool_call_id")
            await run.relay(kind, payload, call_id if isinstance(call_id, str) else None)
        return "its own result"

    handle_user_message = handle_start_agent


STARTED = (MessageType.AGENT_STARTED, {"message_id": "theirs", "agent": "theirs"})
TOOL: tuple[MessageType, Mapping[str, object]] = (
    MessageType.TOOL_EXECUTING,
    {"tool_call_id": "c1", "tool_name": "search", "more": True},
)


def test_a_clock_is_the_machines_unless_the_host_gives_another() -> None:
    assert Clock().wall is time.time
    assert Clock().monotonic is time.monotonic


def test_a_relayed_payload_goes_out_as_it_is_under_the_runs_envelope() -> None:
    payload = {"text": "Looking", "type": "not the type", "seq": 99, "more": [1, {"a": None}]}

    async def agent(run: Run) -> None:
        await run.relay(MessageType.AGENT_THINKING, payload)

    client = Client(AgentMessageHandler(agent))
    assert client.say(chat(thread_id="t1"))
    frame = client.frames[1]
    assert (frame["type"], frame["seq"], frame["thread_id"]) == ("agent_thinking", 2, "t1")
    assert frame["payload"] == payload


@pytest.mark.parametrize("kind", ["pong", "chat", "error_message", "agent_queued", "agent_started"])
def test_what_may_not_come_here_is_not_relayed(kind: str) -> None:
    async def agent(run: Run) -> str:
        with pytest.raises(LifecycleError):
            await run.relay(MessageType(kind), {})
        return "went on"

    client = Client(AgentMessageHandler(agent))
    assert client.say(chat())
    assert client.types == ["agent_started", "agent_completed"]


@pytest.mark.parametrize(
    ("kind", "completed"),
    [("agent_completed", True), ("agent_failed", False), ("agent_cancelled", False)],
)
def test_a_relayed_end_is_the_end_and_interrupts_open_tools_first(
    kind: str, completed: bool
) -> None:
    async def agent(run: Run) -> str:
        await run.tool_executing("c1", "search")
        await asyncio.sleep(2)
        await run.relay(MessageType(kind), {"words": "of its own"})
        return "its own result"

    client = Client(AgentMessageHandler(agent, clock=loop_clock()))
    assert client.say(chat()) is completed
    assert client.types == ["agent_started", "tool_executing", "tool_completed", kind]
    interrupted = client.payload("tool_completed")
    assert (interrupted["status"], interrupted["duration_ms"]) == ("interrupted", 2000)
    assert client.payload(kind) == {"words": "of its own"}
    stats = client.handler.get_stats()
    assert stats["errors"] == (1 if kind == "agent_failed" else 0)
    assert stats["messages_processed"] == (1 if completed else 0)


def test_relaying_anything_but_an_end_leaves_open_tools_and_the_clock_alone() -> None:
    async def agent(run: Run) -> None:
        await run.tool_executing("c1", "search")
        await asyncio.sleep(2)
        await run.relay(MessageType.AGENT_THINKING, {"text": "Looking"})
        await asyncio.sleep(1)
        await run.tool_completed("c1", "found")

    client = Client(AgentMessageHandler(agent, clock=loop_clock()))
    assert client.say(chat()) is True
    completed = client.payload("tool_completed")
    assert (completed["status"], completed["duration_ms"]) == ("ok", 3000)
    assert client.payload("agent_completed")["duration_ms"] == 3000


def test_after_a_relayed_end_everything_is_refused() -> None:
    async def agent(run: Run) -> None:
        await run.relay(COMPLETED, {})
        report = run.report
        with pytest.raises(LifecycleError):
            await run.relay(COMPLETED, {})
        with pytest.raises(LifecycleError):
            await run.thinking("late")
        assert run.report == report
        raise ValueError("late too")

    client = Client(AgentMessageHandler(agent))
    assert client.say(chat()) is True
    assert client.types == ["agent_started", "agent_completed"]


def test_an_end_that_will_not_encode_leaves_the_run_and_its_tools_as_they_were() -> None:
    async def agent(run: Run) -> str:
        await run.tool_executing("c1", "search")
        before = run.report
        with pytest.raises(PayloadError):
            await run.relay(COMPLETED, {"result": object()})
        assert run.report == before
        await run.tool_completed("c1", "found")
        return "done"

    client = Client(AgentMessageHandler(agent))
    assert client.say(chat()) is True
    assert client.payload("tool_completed")["result"] == "found"


def test_a_run_that_is_cancelled_after_its_relayed_end_raises_on() -> None:
    async def main() -> None:
        told: list[RunFinished] = []

        async def agent(run: Run) -> None:
            await run.relay(COMPLETED, {})
            await asyncio.Event().wait()

        client = Client(AgentMessageHandler(agent, on_run_finished=told.append))
        task = client.start(chat())
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.types == ["agent_started", "agent_completed"]
        assert told[0].report.outcome is COMPLETED

    run_virtual(main())


# What is not the agent's.


def failing_dumps(value: object) -> str:
    raise RuntimeError


async def returns(run: Run) -> str:
    return "done"


async def raises(run: Run) -> None:
    raise ValueError


async def raises_words(run: Run) -> None:
    raise AgentError("No flights today", code="no_flights")


async def takes_too_long(run: Run) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("agent", [returns, raises, raises_words, takes_too_long])
@pytest.mark.parametrize(
    "dialect",
    [NativeDialect(dumps=failing_dumps), NativeDialect(limits=Limits(payload_bytes=1))],
    ids=["failing encoder", "tiny bound"],
)
def test_a_run_starts_and_ends_whatever_the_hosts_encoder_and_bound(
    dialect: NativeDialect, agent: Callable[[Run], Awaitable[object]]
) -> None:
    client = Client(AgentMessageHandler(agent, dialect=dialect, run_timeout=1))
    assert client.say(chat()) is False
    assert client.types == ["agent_started", "agent_failed"]
    code = "timeout" if agent is takes_too_long else "agent_error"
    assert client.payload("agent_failed")["code"] == code
    assert client.handler.get_stats()["runs_in_flight"] == 0


# Services that relay their start.


def test_a_relayed_start_is_the_only_one() -> None:
    client = Client(AgentMessageHandler(Relaying(STARTED, (COMPLETED, {"result": "theirs"}))))
    assert client.say(chat()) is True
    assert client.types == ["agent_started", "agent_completed"]
    assert client.payload("agent_started") == {"message_id": "theirs", "agent": "theirs"}
    assert client.payload("agent_completed") == {"result": "theirs"}


def test_the_duration_is_measured_from_the_relayed_start() -> None:
    class Slow(Relaying):
        async def handle_start_agent(self, run: Run) -> object:
            await asyncio.sleep(10)
            await run.relay(*STARTED)
            await asyncio.sleep(2)
            return "done"

        handle_user_message = handle_start_agent

    client = Client(AgentMessageHandler(Slow(), clock=loop_clock()))
    assert client.say(chat()) is True
    assert client.payload("agent_completed")["duration_ms"] == 2000


def test_a_start_and_an_end_that_were_not_relayed_are_supplied() -> None:
    client = Client(AgentMessageHandler(Relaying()))
    assert client.say(chat(message_id="m1")) is True
    assert client.payload("agent_started") == {"message_id": "m1", "agent": "Relaying"}
    assert client.payload("agent_completed")["result"] == "its own result"


def test_a_service_that_was_queued_and_never_started_ends_all_the_same() -> None:
    queued = (MessageType.AGENT_QUEUED, {"message_id": "m1", "position": 1})
    client = Client(AgentMessageHandler(Relaying(queued)))
    client.say(chat())
    assert client.types[0] == "agent_queued"
    assert client.types[-1] in {"agent_completed", "agent_failed"}
    assert client.handler.get_stats()["runs_in_flight"] == 0


def test_a_relayed_tool_that_stays_open_is_interrupted_under_its_name() -> None:
    client = Client(AgentMessageHandler(Relaying(STARTED, TOOL)))
    assert client.say(chat()) is True
    assert client.payload("tool_executing") == TOOL[1]
    interrupted = client.payload("tool_completed")
    assert (interrupted["tool_call_id"], interrupted["tool_name"], interrupted["status"]) == (
        "c1",
        "search",
        "interrupted",
    )


def test_relaying_over_a_failed_transport_raises_and_the_run_is_disconnected() -> None:
    async def agent(run: Run) -> None:
        await steps()
        with pytest.raises(TransportError):
            await run.relay(COMPLETED, {})
        told.append(run)

    told: list[Run] = []
    client = Client(AgentMessageHandler(agent), RecordingTransport(fails_at=1))
    assert client.say(chat()) is False
    assert [each.report.outcome for each in told] == [MessageType.AGENT_CANCELLED]
