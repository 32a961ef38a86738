"""What an endpoint is made of, and what its agents are given."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

import pytest

from agent_messaging import (
    AgentMessageHandler,
    Clock,
    ConfigurationError,
    Endpoint,
    EventLog,
    Limits,
    MemoryEventLog,
    MessageRouter,
    NativeDialect,
    Run,
    grace,
)
from agent_messaging.testing import RecordingTransport, counted_ids, run_virtual
from support import Json, decoded, tasks_left
from support.endpoints import Site, frame, settle, worker

SECONDS: Final = (
    "cancel_grace",
    "slow_consumer_grace",
    "send_timeout",
    "final_send_timeout",
    "drain_timeout",
    "log_timeout",
)

# Settings.


@pytest.mark.parametrize("name", [*SECONDS, "idle_timeout", "heartbeat"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "5", [5]])
def test_seconds_are_positive_numbers(name: str, value: object) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=rf"^{name}"):
        Endpoint(AgentMessageHandler(worker), **settings)


@pytest.mark.parametrize("name", SECONDS)
def test_seconds_without_which_nothing_would_be_bounded_are_to_be_given(name: str) -> None:
    settings: dict[str, Any] = {name: None}
    with pytest.raises(ConfigurationError, match=name):
        Endpoint(AgentMessageHandler(worker), **settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thread_policy", "first come"),
        ("thread_policy", None),
        ("on_disconnect", "stay"),
        ("on_disconnect", 5),
        ("on_disconnect", None),
        ("slow_consumers", "drop"),
        ("slow_consumers", None),
    ],
)
def test_a_policy_is_one_of_those_that_there_are(name: str, value: object) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigurationError, match=name):
        Endpoint(AgentMessageHandler(worker), **settings)


@pytest.mark.parametrize("handler", [None, worker, object(), "handler"])
def test_a_handler_is_a_handler_and_no_agent(handler: Any) -> None:
    kinds = "an AgentMessageHandler or a MessageRouter"
    with pytest.raises(ConfigurationError, match=f"^a handler is {kinds}, not "):
        Endpoint(handler)


def test_every_setting_that_is_allowed_is_allowed() -> None:
    handler = AgentMessageHandler(worker)
    for policy in ("cancel", "detach", grace(5)):
        Endpoint(handler, on_disconnect=policy)
    Endpoint(MessageRouter(handler), idle_timeout=None, heartbeat=None, cancel_grace=1)


def test_making_one_needs_no_loop_and_starts_nothing() -> None:
    endpoint = Endpoint(AgentMessageHandler(worker))
    assert endpoint.stats()["users"] == 0
    assert endpoint.users() == {}


def test_leaving_what_was_not_entered_is_a_configuration_error_and_leaves_nothing() -> None:
    async def main() -> None:
        endpoint = Endpoint(AgentMessageHandler(worker))
        with pytest.raises(ConfigurationError, match="enter the endpoint first"):
            await endpoint.__aexit__(None, None, None)
        assert tasks_left() == []

    run_virtual(main())


# Where its ids and times come from, and what it decodes with.


def test_ids_times_limits_and_the_dialect_are_the_hosts() -> None:
    async def main() -> list[Json]:
        dialect = NativeDialect(limits=Limits(frame_bytes=60))
        clock = Clock(wall=lambda: 12.5, monotonic=lambda: 3.0)
        handler = AgentMessageHandler(worker, clock=clock)
        async with Endpoint(
            handler,
            dialect=dialect,
            limits=Limits(runs_per_user=3),
            clock=clock,
            new_id=counted_ids(),
        ) as endpoint:
            socket = RecordingTransport()
            session = await endpoint.open("u1", socket)
            await session.receive(frame("chat", {"text": "answer"}))
            await session.receive(frame("chat", {"text": "x" * 60}))
            await settle()
            return decoded(socket.frames)

    greeting, refusal, started, completed = run_virtual(main())
    assert greeting["payload"]["limits"]["runs_per_user"] == 3
    assert refusal["payload"]["code"] == "frame_too_large"
    assert {each["timestamp"] for each in (greeting, refusal, started, completed)} == {12.5}
    ids = [
        greeting["payload"]["connection_id"],
        started["thread_id"],
        started["run_id"],
        started["payload"]["message_id"],
    ]
    assert all(each.startswith("id-") for each in ids)
    assert len(set(ids)) == 4


class Countable:
    """A log that tells how much it holds, and so is false while that is nothing."""

    def __init__(self) -> None:
        self.inner = MemoryEventLog()

    def __len__(self) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_a_log_of_the_hosts_is_used_also_while_it_counts_as_false() -> None:
    async def main() -> None:
        log = Countable()
        async with Endpoint(AgentMessageHandler(worker), log=cast("EventLog", log)) as endpoint:
            session = await endpoint.open("u1", RecordingTransport())
            await session.receive(frame("chat", {"text": "answer"}, message_id="m"))
            await settle()
        assert await log.inner.find_claim("u1", "m") is not None

    run_virtual(main())


# What agents are given.


def test_a_run_knows_its_connection_and_what_the_host_said_of_it_and_no_socket() -> None:
    seen: list[Run] = []

    async def agent(run: Run) -> None:
        seen.append(run)

    async def frames() -> AsyncIterator[str]:
        yield frame("chat", {"text": "x"})
        await settle()

    metadata: Mapping[str, object] = MappingProxyType({"ip": "192.0.2.1"})

    async def main() -> None:
        async with Site(agent) as site:
            session = await site.endpoint.open("u1", RecordingTransport(), metadata=metadata)
            await session.receive(frame("chat", {"text": "x"}, message_id="a"))
            other = await site.connect()
            await other.chat("x", "b")
            await settle()
            first, second = seen
            assert first.context.connection_id == session.connection_id
            assert first.context.metadata is session.metadata is metadata
            assert first.websocket is None
            assert (first.context.user_id, first.context.message_id) == ("u1", "a")
            assert second.context.connection_id == other.session.connection_id
            assert second.context.metadata == {}
            stream = await site.endpoint.stream("u1", frame("chat", {"text": "x"}))
            assert [event async for event in stream]
            assert seen[2].context.metadata == {}
            assert seen[2].websocket is None
            stream = await site.endpoint.stream(
                "u1", frame("chat", {"text": "x"}), metadata=metadata
            )
            assert [event async for event in stream]
            assert seen[3].context.metadata is metadata
            await site.endpoint.serve("u1", frames(), RecordingTransport(), metadata=metadata)
            assert seen[4].context.metadata is metadata

    run_virtual(main())


def test_each_run_is_in_a_copy_of_the_context_in_which_its_message_was_received() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    async def agent(run: Run) -> None:
        seen.append(variable.get())
        variable.set("the agent's")
        await asyncio.sleep(1)
        seen.append(variable.get())

    async def main() -> None:
        handler = AgentMessageHandler(
            agent, on_run_finished=lambda finished: seen.append(f"hook {variable.get()}")
        )
        async with Site(handler=handler) as site:
            client = await site.connect()
            for name in ("one", "two"):
                variable.set(name)
                await client.chat("x", name, "t")
            variable.set("the host's")
            await asyncio.sleep(5)
            assert seen == [
                *("one", "the agent's", "hook the agent's"),
                *("two", "the agent's", "hook the agent's"),
            ]
            assert variable.get() == "the host's"

    run_virtual(main())


def test_sends_are_in_a_copy_of_the_context_in_which_the_session_was_opened() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: set[str] = set()

    async def send(frame: str) -> None:
        seen.add(variable.get())
        variable.set("of one writer")

    async def main() -> None:
        async with Site() as site:
            variable.set("opened")
            session = await site.endpoint.open("u1", send)
            variable.set("received")
            await settle()
            await session.receive(frame("chat", {"text": "work 1"}))
            await settle()
            await asyncio.sleep(2)
        assert "received" not in seen
        assert "opened" in seen

    run_virtual(main())


def test_a_finish_hook_is_called_when_all_is_delivered_or_nobody_watches() -> None:
    async def main() -> None:
        async with Site(on_disconnect="detach") as site:
            slow = await site.connect(seconds=1.0)
            await slow.chat("answer", "a")
            await asyncio.sleep(1.5)
            assert site.finished == []
            await asyncio.sleep(1)
            (finished,) = site.finished
            assert finished.report.undelivered == 0
            assert finished.report.delivered == finished.report.decided

    run_virtual(main())
