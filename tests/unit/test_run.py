"""What an agent holds: emitting, its context and its report."""

import asyncio
from dataclasses import FrozenInstanceError

import pytest

from agent_messaging import (
    AgentCompleted,
    AgentEvent,
    AgentMessageHandler,
    AgentProgress,
    AgentResponseChunk,
    AgentStarted,
    AgentThinking,
    LifecycleError,
    Limits,
    MessageType,
    OutboxFullError,
    PayloadError,
    Run,
    RunContext,
    ToolExecuting,
    TransportError,
)
from agent_messaging.testing import RecordingTransport, run_agent, run_virtual
from support import chat, start_agent
from support.clients import Client
from support.loop import steps


def test_each_method_emits_its_event_with_its_payload() -> None:
    async def agent(run: Run) -> str:
        await run.thinking("Looking")
        await run.chunk("Three ")
        await run.progress("rows", {"done": 3})
        await run.progress("idle")
        await run.tool_executing("c1", "search", {"q": "x"})
        await run.tool_completed("c1", ["a"])
        return "done"

    frames = [(frame.type, frame.payload) for frame in run_agent(agent, "hello").frames[1:-1]]
    assert frames == [
        ("agent_thinking", {"text": "Looking"}),
        ("agent_response_chunk", {"text": "Three "}),
        ("agent_progress", {"name": "rows", "data": {"done": 3}}),
        ("agent_progress", {"name": "idle", "data": None}),
        ("tool_executing", {"tool_call_id": "c1", "tool_name": "search", "arguments": {"q": "x"}}),
        (
            "tool_completed",
            {
                "tool_call_id": "c1",
                "tool_name": "search",
                "status": "ok",
                "result": ["a"],
                "duration_ms": 0,
            },
        ),
    ]


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (AgentThinking(text="a"), {"text": "a"}),
        (AgentResponseChunk(text="b"), {"text": "b"}),
        (AgentProgress(name="c", data=1), {"name": "c", "data": 1}),
        (
            ToolExecuting(tool_call_id="d", tool_name="e"),
            {"tool_call_id": "d", "tool_name": "e", "arguments": None},
        ),
    ],
)
def test_emit_takes_an_event_object(event: AgentEvent, payload: dict[str, object]) -> None:
    async def agent(run: Run) -> None:
        await run.emit(event)

    frame = run_agent(agent, "hello").frames[1]
    assert (frame.type, frame.payload) == (event.type, payload)


@pytest.mark.parametrize(
    "event",
    [
        AgentStarted(message_id="m", agent="a"),
        AgentCompleted(result=1),
        "agent_thinking",
        None,
    ],
)
def test_what_is_not_for_an_agent_to_emit_is_refused_where_it_is_emitted(event: object) -> None:
    refusals: list[str] = []

    async def agent(run: Run) -> str:
        with pytest.raises(LifecycleError) as refusal:
            await run.emit(event)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        refusals.append(str(refusal.value))
        return "went on"

    run = run_agent(agent, "hello")
    assert [event.type for event in run.events] == ["agent_started", "agent_completed"]
    assert refusals == [f"{type(event).__name__} is not for an agent to emit"]


def test_emitting_is_when_the_method_is_called_and_not_when_it_is_awaited() -> None:
    async def agent(run: Run) -> None:
        later = run.thinking("first")
        await run.chunk("second")
        await later
        await later

    run = run_agent(agent, "hello")
    assert [event.type for event in run.events[1:-1]] == ["agent_thinking", "agent_response_chunk"]


def test_an_event_that_is_not_awaited_goes_out_all_the_same() -> None:
    async def agent(run: Run) -> None:
        run.thinking("alone")

    run = run_agent(agent, "hello")
    assert [event.type for event in run.events] == [
        "agent_started",
        "agent_thinking",
        "agent_completed",
    ]


def test_the_order_of_the_calls_is_the_order_of_seq_also_from_sub_tasks() -> None:
    calls: list[str] = []

    async def worker(run: Run, name: str, pauses: int) -> None:
        for number in range(3):
            for _ in range(pauses):
                await asyncio.sleep(0)
            calls.append(f"{name}{number}")
            await run.chunk(f"{name}{number}")

    async def agent(run: Run) -> None:
        await asyncio.gather(*(worker(run, name, at) for at, name in enumerate("abc")))

    run = run_agent(agent, "hello")
    assert [event.text for event in run.events if isinstance(event, AgentResponseChunk)] == calls
    assert [frame.seq for frame in run.frames] == list(range(1, len(calls) + 3))


def test_events_can_be_gathered() -> None:
    async def agent(run: Run) -> None:
        await asyncio.gather(run.chunk("a"), run.chunk("b"))

    assert run_agent(agent, "hello").text == "ab"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"raw"])
def test_what_will_not_encode_raises_in_the_agent_and_changes_nothing(value: object) -> None:
    async def agent(run: Run) -> str:
        before = run.report
        with pytest.raises(PayloadError):
            await run.progress("p", value)
        with pytest.raises(PayloadError):
            await run.tool_executing("c1", "t", value)
        with pytest.raises(PayloadError):
            await run.relay(MessageType.AGENT_THINKING, {"text": value})
        assert run.report == before
        await run.tool_executing("c1", "t")
        with pytest.raises(PayloadError):
            await run.tool_completed("c1", value)
        await run.tool_completed("c1", "in words")
        return "done"

    run = run_agent(agent, "hello")
    assert [(frame.seq, frame.type) for frame in run.frames] == [
        (1, "agent_started"),
        (2, "tool_executing"),
        (3, "tool_completed"),
        (4, "agent_completed"),
    ]


def test_a_cycle_will_not_encode() -> None:
    cycle: list[object] = []
    cycle.append(cycle)

    async def agent(run: Run) -> None:
        with pytest.raises(PayloadError):
            await run.progress("p", cycle)

    run = run_agent(agent, "hello")
    assert [event.type for event in run.events] == ["agent_started", "agent_completed"]


def test_what_comes_out_of_its_place_raises_in_the_agent_and_changes_nothing() -> None:
    async def agent(run: Run) -> None:
        await run.tool_executing("c1", "t")
        before = run.report
        with pytest.raises(LifecycleError, match="new in this run"):
            await run.tool_executing("c1", "t")
        with pytest.raises(LifecycleError, match="open call"):
            await run.tool_completed("c2")
        assert run.report == before
        await run.tool_completed("c1")
        with pytest.raises(LifecycleError, match="open call"):
            await run.tool_completed("c1")
        with pytest.raises(LifecycleError, match="new in this run"):
            await run.tool_executing("c1", "t")

    assert [frame.seq for frame in run_agent(agent, "hello").frames] == [1, 2, 3, 4]


def test_emitting_after_the_transport_failed_raises_each_time() -> None:
    failures: list[BaseException | None] = []

    async def agent(run: Run) -> str:
        await steps()
        with pytest.raises(TransportError) as first:
            await run.thinking("x")
        with pytest.raises(TransportError) as second:
            await run.tool_executing("c", "t")
        with pytest.raises(TransportError) as third:
            await run.emit(AgentResponseChunk(text="x"))
        with pytest.raises(TransportError) as fourth:
            await run.relay(MessageType.AGENT_THINKING, {"text": "x"})
        failures.extend(error.value.__cause__ for error in (first, second, third, fourth))
        return "insists"

    client = Client(AgentMessageHandler(agent), RecordingTransport(fails_at=1))
    assert client.say(chat()) is False
    assert [type(failure) for failure in failures] == [ConnectionError] * 4


def test_awaiting_an_event_waits_while_the_outbox_is_full() -> None:
    waited: list[int] = []

    async def agent(run: Run) -> None:
        for number in range(6):
            await run.chunk(str(number))
            waited.append(run.report.undelivered)

    client = Client(
        AgentMessageHandler(agent, limits=Limits(outbox_frames=2)), RecordingTransport(seconds=0.01)
    )
    assert client.say(chat())
    assert max(waited) == 2


def test_events_that_nobody_awaits_are_refused_when_no_more_can_wait() -> None:
    async def agent(run: Run) -> None:
        run.chunk("2")
        run.chunk("3")
        with pytest.raises(OutboxFullError, match="await"):
            run.chunk("4")
        await steps()
        await run.chunk("4")

    client = Client(AgentMessageHandler(agent, limits=Limits(outbox_frames=1, outbox_overrun=3)))
    assert client.say(chat())
    assert [payload["text"] for payload in client.payloads("agent_response_chunk")] == [
        "2",
        "3",
        "4",
    ]
    assert [frame["seq"] for frame in client.frames] == [1, 2, 3, 4, 5]


def test_the_run_knows_its_request_its_message_and_its_context() -> None:
    held: list[Run] = []

    async def agent(run: Run) -> None:
        held.append(run)

    transport = RecordingTransport()
    message = start_agent("fly me", thread_id="t1", message_id="m1")
    handler = AgentMessageHandler(agent, new_id=lambda: "new")
    assert run_virtual(handler.handle_message("u1", transport, message, metadata={"plan": "pro"}))
    (held_run,) = held
    assert held_run.request == "fly me"
    assert held_run.message is message
    assert held_run.websocket is transport
    assert held_run.context == RunContext(
        user_id="u1", thread_id="t1", run_id="new", message_id="m1", metadata={"plan": "pro"}
    )
    assert held_run.context.connection_id is None


def test_a_context_is_frozen_and_its_metadata_empty_where_the_host_gave_none() -> None:
    context = RunContext(user_id="u", thread_id="t", run_id="r", message_id="m")
    with pytest.raises(FrozenInstanceError):
        context.user_id = "another"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    assert dict(context.metadata) == {}
    with pytest.raises(TypeError):
        context.metadata["key"] = 1  # type: ignore[index] # pyright: ignore[reportIndexIssue]


def test_a_run_without_metadata_has_empty_metadata() -> None:
    async def agent(run: Run) -> list[str]:
        return list(run.context.metadata)

    assert run_agent(agent, "hello").result == []


def test_the_run_knows_how_long_it_has_been_running() -> None:
    async def agent(run: Run) -> list[int]:
        before = run.elapsed_ms
        await asyncio.sleep(1.25)
        return [before, run.elapsed_ms]

    assert run_agent(agent, "hello").end == AgentCompleted(result=[0, 1250], duration_ms=1250)


def test_the_report_says_what_was_decided_and_delivered_up_to_now() -> None:
    async def agent(run: Run) -> None:
        await run.thinking("a")
        report = run.report
        assert report.outcome is None
        assert report.decided == {MessageType.AGENT_STARTED: 1, MessageType.AGENT_THINKING: 1}
        assert report.delivered == {}
        await steps()
        assert run.report.delivered == report.decided
        assert report.delivered == {}, "a report is detached"

    run_agent(agent, "hello")
