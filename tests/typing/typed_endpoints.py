"""What type checkers know of endpoints, sessions, streams and their statistics; never run."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import assert_never, assert_type

from agent_messaging import (
    ActiveRunInfo,
    ActiveRunState,
    AgentMessageHandler,
    Clock,
    CloseCallback,
    DurationHistogram,
    Endpoint,
    EndpointStats,
    Grace,
    Limits,
    MemoryEventLog,
    Message,
    MessageRouter,
    NativeDialect,
    OnDisconnect,
    Run,
    Session,
    SessionEnd,
    SessionEndReason,
    SlowConsumers,
    Stream,
    ThreadPolicy,
    UserStats,
    WebSocketLike,
    grace,
)


async def agent(run: Run) -> str:
    return run.request


class Socket:
    """As a framework's WebSocket."""

    async def send_text(self, data: str) -> None:
        assert data

    async def iter_text(self) -> AsyncIterator[str]:
        yield "{}"

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        yield b"{}"

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        raise NotImplementedError


async def end(reason: SessionEndReason) -> None:
    assert reason


async def end_by_code(code: int = 1000) -> None:
    assert code


async def end_whatever(reason: str) -> int:
    return len(reason)


def an_endpoint_takes_everything_but_its_handler_by_name(handler: AgentMessageHandler) -> None:
    Endpoint(handler)
    Endpoint(MessageRouter(handler))
    Endpoint(
        handler,
        log=MemoryEventLog(),
        dialect=NativeDialect(),
        limits=Limits(messages_per_minute=None, frames_per_minute=10),
        thread_policy="replace",
        on_disconnect="detach",
        slow_consumers="wait",
        cancel_grace=1,
        slow_consumer_grace=1,
        send_timeout=1.5,
        final_send_timeout=1,
        idle_timeout=None,
        heartbeat=None,
        drain_timeout=60,
        log_timeout=1,
        clock=Clock(),
        new_id=lambda: "id",
    )
    Endpoint(agent)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Endpoint()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Endpoint(handler, MemoryEventLog())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Endpoint(handler, log={})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Endpoint(handler, thread_policy="wait")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Endpoint(handler, slow_consumers="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Endpoint(handler, cancel_grace=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Endpoint(handler, heartbeats=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def what_becomes_of_a_run_that_nobody_watches_is_a_word_or_a_grace(
    handler: AgentMessageHandler,
) -> None:
    assert_type(grace(20), Grace)
    assert_type(grace(2.5).seconds, float)
    policies: list[OnDisconnect] = ["cancel", "detach", grace(20), Grace(seconds=20)]
    Endpoint(handler, on_disconnect=policies[0])
    Endpoint(handler, on_disconnect="grace")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Endpoint(handler, on_disconnect=20)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    grace("20")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    grace(20).seconds = 30  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def a_policy_can_be_matched(policy: ThreadPolicy, slow: SlowConsumers) -> str:
    match policy:
        case "queue" | "reject":
            return slow
        case "replace" | "parallel":
            return policy
        case _:
            assert_never(policy)


async def an_endpoint_is_entered(handler: AgentMessageHandler) -> None:
    async with Endpoint(handler) as endpoint:
        assert_type(endpoint, Endpoint)
    with Endpoint(handler):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


async def frames_may_be_text_or_octets(
    endpoint: Endpoint, socket: Socket, views: AsyncIterator[memoryview | bytearray]
) -> None:
    assert_type(await endpoint.serve("u1", socket.iter_text(), socket.send_text), SessionEnd)
    assert_type(await endpoint.serve("u1", socket.iter_bytes(), socket), SessionEnd)
    await endpoint.serve("u1", socket, socket, metadata={"tenant": 7})
    await endpoint.serve("u1", views, socket)
    await endpoint.serve("u1", socket.iter_text, socket)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await endpoint.serve("u1", ["{}"], socket)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await endpoint.serve(None, socket.iter_text(), socket)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await endpoint.serve("u1", socket.iter_text(), None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await endpoint.serve("u1", socket.iter_text())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await endpoint.serve("u1", socket.iter_text(), socket, {})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def the_frames_are_no_messages(endpoint: Endpoint, messages: AsyncIterator[Message]) -> None:
    await endpoint.serve("u1", messages, Socket())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_call_that_is_not_awaited_is_seen(endpoint: Endpoint, socket: Socket) -> None:
    endpoint.serve("u1", socket.iter_text(), socket)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    endpoint.drain()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    endpoint.start_draining()


def an_end_can_be_matched(ended: SessionEnd) -> str:
    assert_type(ended.error, Exception | None)
    assert_type(ended.reason, SessionEndReason)
    match ended.reason:
        case "disconnected" | "completed":
            return "well"
        case "transport_failed" | "slow_consumer" | "idle":
            return "the client"
        case "shutdown" | "log_unavailable" | "forgotten" | "refused":
            return "the host"
        case _:
            assert_never(ended.reason)


def what_has_ended_stays_so(ended: SessionEnd, run: ActiveRunInfo) -> None:
    ended.reason = "idle"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.state = "queued"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def a_session_is_opened(endpoint: Endpoint, websocket: WebSocketLike) -> None:
    session = await endpoint.open("u1", websocket, close=end)
    assert_type(session, Session)
    await endpoint.open("u1", websocket)
    await endpoint.open("u1", websocket, close=None, metadata={})
    await endpoint.open("u1", websocket, close=end_whatever)
    await endpoint.open("u1", websocket, close=end_by_code)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await endpoint.open("u1", websocket, close=print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await endpoint.open("u1", websocket, end)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def a_close_callback_is_told_why(hook: CloseCallback) -> None:
    assert_type(hook("idle"), Awaitable[object])
    await hook("gone")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await hook()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def a_session_takes_frames(session: Session, message: Message) -> None:
    assert_type(await session.receive("{}"), None)
    assert_type(await session.receive(b"{}"), None)
    assert_type(await session.close(), None)
    assert_type(session.user_id, str)
    assert_type(session.connection_id, str)
    assert_type(session.metadata, Mapping[str, object])
    assert_type(session.end, SessionEnd | None)
    await session.receive(message)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.receive({})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.user_id = "u2"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def a_stream_gives_octets(endpoint: Endpoint, body: bytes) -> None:
    stream = await endpoint.stream("u1", body)
    assert_type(stream, Stream)
    assert_type(stream.headers, Mapping[str, str])
    assert_type(stream.end, SessionEnd | None)
    async for event in stream:
        assert_type(event, bytes)
    assert_type(await stream.aclose(), None)
    await body_of_a_response(stream)
    await endpoint.stream("u1", "{}", metadata={})
    iter(stream)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    endpoint.stream("u1")  # type: ignore[call-arg, unused-coroutine]  # pyright: ignore[reportCallIssue]


async def body_of_a_response(octets: AsyncIterator[bytes]) -> None: ...


async def draining_takes_seconds(endpoint: Endpoint) -> None:
    stop: Callable[[], None] = endpoint.start_draining
    stop()
    assert_type(await endpoint.drain(), None)
    assert_type(await endpoint.drain(2), None)
    assert_type(await endpoint.drain(timeout=2.5), None)
    assert_type(await endpoint.forget("u1"), None)


def operators_see_typed_figures(endpoint: Endpoint) -> None:
    stats = endpoint.stats()
    assert_type(stats, EndpointStats)
    assert_type(stats["users"], int)
    assert_type(stats["sessions"], int)
    assert_type(stats["sessions_opened"], int)
    assert_type(stats["runs_in_flight"], int)
    assert_type(stats["runs_queued"], int)
    assert_type(stats["runs_accepted"], int)
    assert_type(stats["runs_completed"], int)
    assert_type(stats["runs_failed"], int)
    assert_type(stats["runs_cancelled"], int)
    assert_type(stats["retries"], int)
    assert_type(stats["refusals"], dict[str, int])
    assert_type(stats["slow_consumers"], int)
    assert_type(stats["agents_abandoned"], int)
    assert_type(stats["agents_abandoned_alive"], int)
    assert_type(stats["undelivered_events"], int)
    assert_type(stats["events_sent"], dict[str, int])
    assert_type(stats["durations"], DurationHistogram)
    assert_type(stats["durations"]["bounds_ms"], list[int])
    assert_type(stats["durations"]["counts"], list[int])
    assert_type(stats["durations"]["total_ms"], int)
    assert stats["session"]  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]
    users = endpoint.users()
    assert_type(users, dict[str, UserStats])
    assert_type(users["u1"]["sessions"], int)
    assert_type(users["u1"]["runs_in_flight"], int)
    assert_type(users["u1"]["runs_queued"], int)


def a_run_can_be_looked_at(endpoint: Endpoint) -> str:
    runs = endpoint.runs("u1")
    assert_type(runs, tuple[ActiveRunInfo, ...])
    run = runs[0]
    assert_type(run.run_id, str)
    assert_type(run.thread_id, str)
    assert_type(run.message_id, str)
    assert_type(run.agent, str)
    assert_type(run.watchers, int)
    assert_type(run.elapsed_ms, int)
    assert_type(run.state, ActiveRunState)
    match run.state:
        case "queued" | "running" | "stopping":
            return run.state
        case _:
            assert_never(run.state)
