"""A small host: two agents, a handler of its own, a socket, a hook, an endpoint with its own log.

`python support_desk.py`
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import assert_never

from audit_log import AuditedEventLog, Entry

from agent_messaging import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentEvent,
    AgentFailed,
    AgentMessageHandler,
    AgentRegistry,
    AgentResponseChunk,
    Endpoint,
    Limits,
    Message,
    MessageRouter,
    MessageType,
    RemoteError,
    Run,
    RunFinished,
    SessionEnd,
    SessionEndReason,
    TerminalEvent,
    WebSocketLike,
    as_transport,
    grace,
)

ORDERS = {"17": "shipped", "23": "lost"}

agents = AgentRegistry()


@agents.agent(default=True)
async def orders(run: Run) -> dict[str, str]:
    await run.thinking("Looking at your orders")
    async with run.tool("find_order", {"number": run.request}) as call:
        status = ORDERS.get(run.request)
        if status is None:
            raise AgentError("There is no such order.", code="no_order")
        call.result = status
    return {"order": run.request, "status": status}


@agents.agent("greeter")
async def greet(run: Run) -> AsyncGenerator[AgentEvent | AgentCompleted, None]:
    for word in ("Hello", " ", run.context.user_id):
        yield AgentResponseChunk(text=word)
    yield AgentCompleted(result=run.message.thread_id)


class HoursHandler:
    supported_types = frozenset({"hours"})

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        if websocket is None:
            return False
        await as_transport(websocket)('{"type":"hours","payload":{"from":9,"to":17}}')
        return True

    def get_stats(self) -> dict[str, int]:
        return {}


class Socket:
    def __init__(self) -> None:
        self.frames: list[str] = []

    async def send_text(self, data: str) -> None:
        self.frames.append(data)


def say(finished: RunFinished) -> None:
    print(finished.message.request, finished.report.outcome, finished.code, finished.error)


def words(event: TerminalEvent) -> str:
    match event:
        case AgentCompleted(result=result):
            return repr(result)
        case AgentFailed(message=message):
            return message
        case AgentCancelled(reason=reason):
            return reason
        case _:
            assert_never(event)


def advice(end: SessionEnd) -> str:
    match end.reason:
        case "slow_consumer" | "log_unavailable" | "shutdown":
            return "come back and resume"
        case "refused":
            return repr(end.error)
        case "disconnected" | "completed" | "idle" | "transport_failed" | "forgotten":
            return "bye"
        case _:
            assert_never(end.reason)


class Caller:
    """A client that asks one thing, waits for the end, and hangs up."""

    def __init__(self, frame: str) -> None:
        self.kinds: list[str] = []
        self._frame = frame
        self._ended = asyncio.Event()

    async def frames(self) -> AsyncGenerator[str, None]:
        yield self._frame
        await self._ended.wait()

    async def send(self, frame: str) -> None:
        kind = frame.split('"')[3]
        self.kinds.append(kind)
        if kind == MessageType.AGENT_COMPLETED:
            self._ended.set()

    async def close(self, reason: SessionEndReason) -> None:
        self.kinds.append(f"closed: {reason}")


async def sessions(handler: AgentMessageHandler) -> bool:
    log = AuditedEventLog()
    caller = Caller('{"type": "chat", "payload": {"text": "17"}, "message_id": "m1"}')
    listener = Caller("")
    refusals: list[str] = []
    async with Endpoint(
        handler,
        log=log,
        on_disconnect=grace(20),
        thread_policy="replace",
        limits=Limits(sessions_per_user=2, messages_per_minute=None),
    ) as endpoint:
        end = await endpoint.serve("ada", caller.frames(), caller.send, metadata={"desk": 4})
        session = await endpoint.open("ada", listener.send, close=listener.close)
        run_id = log.entries[0].run_id
        await session.receive(f'{{"type": "resume", "payload": {{"after": {{"{run_id}": 3}}}}}}')
        try:
            await endpoint.stream("ada", b'{"type": "chat", "payload": {}}')
        except RemoteError as refusal:
            refusals.append(refusal.code)
        stream = await endpoint.stream("ada", '{"type": "chat", "payload": {"text": "23"}}')
        octets = [event async for event in stream]
        runs = [(run.agent, run.state) for run in endpoint.runs("ada")]
        sessions = endpoint.users()["ada"]["sessions"]
    stats = endpoint.stats()
    print(advice(end), runs, *caller.kinds, *listener.kinds, sep="\n")
    return (
        (stats["runs_completed"], sum(stats["durations"]["counts"])) == (2, 2)
        and log.entries[0] == Entry("ada", run_id, MessageType.AGENT_COMPLETED)
        and refusals == list(stats["refusals"]) == ["missing_content"]
        and (sessions, octets[-1][:30]) == (1, b'data: {"type":"agent_completed')
        and listener.kinds[-1] == "closed: shutdown"
    )


async def main() -> bool:
    socket = Socket()
    handler = AgentMessageHandler(agents, on_run_finished=say, run_timeout=5)
    router = MessageRouter(handler, HoursHandler())
    greeting = {"user_request": "hello", "agent": "greeter"}
    ended_well = [
        await router.handle_frame("ada", socket, '{"type": "hours"}'),
        await router.handle_frame("ada", socket, '{"type": "chat", "payload": {"text": "17"}}'),
        await router.handle_frame("ada", socket, b'{"type": "chat", "payload": {"text": "99"}}'),
        await router.handle_message(
            "ada", socket, Message(type="start_agent", payload={**greeting})
        ),
        await router.handle_frame("ada", socket, 17),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ]
    print(
        words(AgentFailed(code="closed", message="The desk is closed.")), *socket.frames, sep="\n"
    )
    return (
        ended_well == [True, True, False, True, False]
        and handler.get_stats()["errors"] == 1
        and await sessions(handler)
    )


if __name__ == "__main__":
    raise SystemExit(0 if asyncio.run(main()) else 1)
