"""What type checkers know of the testing kit; never run."""

import asyncio
from collections.abc import Mapping
from typing import assert_type

from agent_messaging import (
    AgentMessageHandler,
    Clock,
    Endpoint,
    GoldenPathReport,
    MessageRouter,
    Run,
    RunEvent,
    Session,
    TerminalEvent,
    WebSocketLike,
)
from agent_messaging.testing import (
    AsyncClient,
    Client,
    Ending,
    LoggedTrouble,
    ReceivedFrame,
    RecordingTransport,
    ToolUse,
    Transcript,
    VirtualTimeLoop,
    converse,
    converse_async,
    counted_ids,
    loop_clock,
    run_agent,
    run_agent_async,
    run_virtual,
)


async def agent(run: Run) -> str:
    return run.request


def a_run_of_an_agent_is_a_transcript() -> None:
    run = run_agent(agent, "x", expect="failed", seed=7)
    assert_type(run, Transcript)
    assert_type(run.events, tuple[RunEvent, ...])
    assert_type(run.end, TerminalEvent | None)
    assert_type(run.outcome, Ending | None)
    assert_type(run.result, object)
    assert_type(run.text, str)
    assert_type(run.tools, Mapping[str, tuple[ToolUse, ...]])
    assert_type(run.report, GoldenPathReport)
    assert_type(run.error, BaseException | None)
    run_agent(agent, "x", expect="ended")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_agent(agent)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    run_agent("agent", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run.error = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def a_conversation_gives_a_client(endpoint: Endpoint) -> None:
    handler = AgentMessageHandler(agent)
    with converse(handler) as client:
        assert_type(client, Client)
        assert_type(client.send("x"), str)
        assert_type(client.expect("pong"), ReceivedFrame)
        assert_type(client.expect_run("failed", timeout=5), Transcript)
        assert_type(client.expect_log("hook_failed"), LoggedTrouble)
        assert_type(client.another("bob"), Client)
        assert_type(client.frames, tuple[ReceivedFrame, ...])
        client.expect_run("ended")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        client.expect_closed("bored")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        client.user_id = "bob"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    converse(MessageRouter(handler))
    converse(endpoint)
    converse(agent)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def the_async_twins_are_awaited() -> None:
    assert_type(await run_agent_async(agent, "x"), Transcript)
    async with converse_async(AgentMessageHandler(agent)) as client:
        assert_type(client, AsyncClient)
        assert_type(await client.expect_run(), Transcript)
        assert_type(client.session, Session)


def a_recording_transport_is_a_websocket() -> None:
    transport: WebSocketLike = RecordingTransport(fails_at=3, error=OSError())
    assert_type(RecordingTransport().received, tuple[ReceivedFrame, ...])
    RecordingTransport(3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    del transport


def virtual_time_is_a_loop() -> None:
    loop: asyncio.AbstractEventLoop = VirtualTimeLoop(seed=7)
    loop.close()
    assert_type(run_virtual(asyncio.sleep(1, "x")), str)
    assert_type(loop_clock(), Clock)
    assert_type(counted_ids()(), str)
    run_virtual(agent)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
