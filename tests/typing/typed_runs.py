"""What type checkers know of a run: what an agent holds, and what is reported of it; never run."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import assert_type

from agent_messaging import (
    TRANSITIONS,
    AgentCompleted,
    AgentEvent,
    AgentQueued,
    AgentStarted,
    AgentThinking,
    GoldenPathReport,
    Message,
    MessageType,
    Outcome,
    Run,
    RunContext,
    RunLifecycle,
    RunState,
    ToolCall,
    ToolCompleted,
    ToolExecuting,
)


def an_agent_sees_whose_run_it_is(run: Run) -> None:
    assert_type(run.request, str)
    assert_type(run.message, Message)
    assert_type(run.context, RunContext)
    assert_type(run.report, GoldenPathReport)
    assert_type(run.websocket, object)
    assert_type(run.elapsed_ms, int)


def a_context_has_typed_ids(context: RunContext) -> None:
    assert_type(context.user_id, str)
    assert_type(context.thread_id, str)
    assert_type(context.run_id, str)
    assert_type(context.message_id, str)
    assert_type(context.connection_id, str | None)
    assert_type(context.metadata, Mapping[str, object])


def a_context_can_be_made_by_name_alone() -> None:
    context = RunContext(user_id="u1", thread_id="t1", run_id="r1", message_id="m1")
    assert_type(context, RunContext)
    RunContext("u1", "t1", "r1", "m1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    RunContext(user_id="u1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_context_cannot_be_changed(run: Run, context: RunContext, message: Message) -> None:
    run.context.user_id = "mallory"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.context.run_id = "r2"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.context.metadata["role"] = "admin"  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    run.context = context  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.message = message  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.request = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.report = run.report  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.websocket = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.user_id = "mallory"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def every_emit_can_be_awaited(run: Run) -> None:
    assert_type(run.thinking("text"), Awaitable[None])
    assert_type(run.chunk("text"), Awaitable[None])
    assert_type(run.progress("step"), Awaitable[None])
    assert_type(run.progress("step", {"done": 1}), Awaitable[None])
    assert_type(run.tool_executing("call", "search"), Awaitable[None])
    assert_type(run.tool_executing("call", "search", {"q": "x"}), Awaitable[None])
    assert_type(run.tool_completed("call"), Awaitable[None])
    assert_type(run.tool_completed("call", [1]), Awaitable[None])
    assert_type(run.tool_completed("call", error="no such city"), Awaitable[None])
    await asyncio.gather(run.chunk("a"), run.chunk("b"))


async def an_emit_is_no_coroutine_to_make_a_task_of(run: Run) -> None:
    asyncio.create_task(run.chunk("a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # noqa: RUF006


async def a_payload_of_another_making_can_be_relayed(run: Run) -> None:
    await run.relay(MessageType.AGENT_THINKING, {"text": "hm"})
    await run.relay(MessageType.TOOL_EXECUTING, {"tool_name": "search"}, "call")
    await run.relay("agent_thinking", {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.relay(MessageType.AGENT_THINKING, "hm")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def texts_are_texts(run: Run) -> None:
    await run.thinking(b"text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.chunk(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.progress(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.tool_completed("call", error=ValueError())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.tool_completed("call", None, "no")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def nothing_takes_another_users_id(run: Run) -> None:
    await run.chunk("text", user_id="mallory")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await run.emit(AgentThinking(text=""), "mallory")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def a_tool_call_is_a_block(run: Run) -> None:
    async with run.tool("search", {"q": run.request}, tool_call_id="call_7") as call:
        assert_type(call, ToolCall)
        assert_type(call.tool_call_id, str)
        assert_type(call.tool_name, str)
        assert_type(call.arguments, object)
        assert_type(call.result, object)
        call.result = {"anything": "that encodes"}
        call.tool_call_id = "call_8"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        call.tool_name = "find"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        call.arguments = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with run.tool("search"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    run.tool("search", None, "call_7")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def an_exception_goes_through_a_tool_call(run: Run) -> str:
    # What swallowed exceptions would be typed to return, and this function would miss a return.
    async with run.tool("search"):
        return "found"


async def an_agent_emits_its_own_events_alone(
    run: Run, event: AgentEvent, start: AgentStarted, end: AgentCompleted
) -> None:
    assert_type(run.emit(event), Awaitable[None])
    await run.emit(ToolExecuting(tool_call_id="call", tool_name="search"))
    await run.emit(ToolCompleted(tool_call_id="call", tool_name="search", result=1))
    await run.emit(start)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.emit(end)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.emit(AgentQueued(message_id="m1", position=1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.emit({"type": "agent_thinking"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_report_counts_by_type(report: GoldenPathReport) -> None:
    assert_type(report.outcome, Outcome | None)
    assert_type(report.decided, Mapping[MessageType, int])
    assert_type(report.delivered, Mapping[MessageType, int])
    assert_type(report.first_at_ms, Mapping[MessageType, int])
    assert_type(report.duration_ms, int)
    assert_type(report.undelivered, int)
    assert_type(report.order, tuple[MessageType, ...])
    assert_type(report.missing, tuple[MessageType, ...])
    assert_type(report.undelivered_kinds, tuple[MessageType, ...])
    assert_type(report.is_complete, bool)


def a_report_cannot_be_changed(report: GoldenPathReport) -> None:
    report.outcome = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    report.is_complete = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    report.decided[MessageType.CHAT] = 1  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


def a_lifecycle_needs_no_loop_and_no_clock() -> None:
    lifecycle = RunLifecycle()
    assert_type(lifecycle.advance(MessageType.AGENT_STARTED, 0.0), int)
    assert_type(lifecycle.advance(MessageType.TOOL_EXECUTING, 0.5, "call", "search"), int)
    assert_type(lifecycle.state, RunState)
    assert_type(lifecycle.outcome, Outcome | None)
    assert_type(lifecycle.undelivered, int)
    assert_type(lifecycle.report(), GoldenPathReport)
    lifecycle.advance("agent_started", 0.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    lifecycle.state = RunState.DONE  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def the_table_is_for_reading() -> None:
    assert_type(TRANSITIONS[RunState.NEW], Mapping[MessageType, RunState])
    assert_type(TRANSITIONS[RunState.NEW][MessageType.AGENT_STARTED], RunState)
    TRANSITIONS[RunState.NEW] = {}  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
    TRANSITIONS["new"]  # type: ignore[index]  # pyright: ignore[reportArgumentType]
