"""The floor: what a chat back end does that checks, counts and guarantees nothing.

It sends the same frames as the library, field for field. ``uuid4().hex`` is made once a run,
since the envelope has one id for each run; a back end that gives each event an id of its own
pays four times more for ids, and is not the floor.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from uuid import uuid4

from benchmarks.conversation import ARGUMENTS, CHUNK, RESULT, THOUGHT, TOOL_RESULT, USER_ID

Send: TypeAlias = Callable[[str], Awaitable[None]]
Emit: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[None]]
FloorAgent: TypeAlias = Callable[[str, Emit], Awaitable[None]]
FloorHandler: TypeAlias = Callable[[str, Send], Awaitable[None]]


async def golden_path(message_id: str, emit: Emit) -> None:
    """The five events."""
    await emit("agent_started", {"message_id": message_id, "agent": "golden_path"})
    await emit("agent_thinking", {"text": THOUGHT})
    await emit(
        "tool_executing",
        {"tool_call_id": "call_1", "tool_name": "search", "arguments": ARGUMENTS},
    )
    await emit(
        "tool_completed",
        {
            "tool_call_id": "call_1",
            "tool_name": "search",
            "status": "ok",
            "result": TOOL_RESULT,
            "duration_ms": 0,
        },
    )
    await emit("agent_completed", {"result": RESULT, "duration_ms": 0})


def chunks(count: int) -> FloorAgent:
    """An agent that streams ``count`` pieces of text."""

    async def streaming(message_id: str, emit: Emit) -> None:
        await emit("agent_started", {"message_id": message_id, "agent": "streaming"})
        for _ in range(count):
            await emit("agent_response_chunk", {"text": CHUNK})
        await emit("agent_completed", {"result": RESULT, "duration_ms": 0})

    return streaming


def floor(agent: FloorAgent) -> FloorHandler:
    """A handler of frames in front of ``agent``."""

    async def chat(message: dict[str, Any], send: Send) -> None:
        thread_id = message["thread_id"]
        run_id = uuid4().hex
        seq = 0

        async def emit(kind: str, payload: dict[str, Any]) -> None:
            nonlocal seq
            seq += 1
            event = {
                "type": kind,
                "payload": payload,
                "user_id": USER_ID,
                "thread_id": thread_id,
                "run_id": run_id,
                "seq": seq,
                "timestamp": time.time(),
            }
            await send(json.dumps(event))

        await agent(message["message_id"], emit)

    handlers = {"chat": chat}

    async def handle(frame: str, send: Send) -> None:
        message = json.loads(frame)
        await handlers[message["type"]](message, send)

    return handle
