"""A small host: two agents, a ping handler, a socket and a hook. `python support_desk.py`."""

import asyncio
from collections.abc import AsyncGenerator
from typing import assert_never

from agent_messaging import (
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentEvent,
    AgentFailed,
    AgentMessageHandler,
    AgentRegistry,
    AgentResponseChunk,
    Message,
    MessageRouter,
    MessageType,
    Run,
    RunFinished,
    TerminalEvent,
    WebSocketLike,
    as_transport,
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


class PingHandler:
    supported_types = frozenset({MessageType.PING})

    def can_handle(self, message_type: str) -> bool:
        return message_type in self.supported_types

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        if websocket is None:
            return False
        await as_transport(websocket)('{"type":"pong"}')
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


async def main() -> bool:
    socket = Socket()
    handler = AgentMessageHandler(agents, on_run_finished=say, run_timeout=5)
    router = MessageRouter(handler, PingHandler())
    greeting = {"user_request": "hello", "agent": "greeter"}
    ended_well = [
        await router.handle_frame("ada", socket, '{"type": "ping"}'),
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
    return ended_well == [True, True, False, True, False] and handler.get_stats()["errors"] == 1


if __name__ == "__main__":
    raise SystemExit(0 if asyncio.run(main()) else 1)
