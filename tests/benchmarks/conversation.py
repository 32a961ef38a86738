"""The one conversation that the floor and the library are measured on."""

import asyncio
import json
from typing import Final

from agent_messaging import Run

USER_ID: Final = "user-1"
REQUEST: Final = "Find flights from Zurich to Lisbon on Friday"
THOUGHT: Final = "Looking for flights"
ARGUMENTS: Final = {"q": REQUEST}
TOOL_RESULT: Final = ["LX 2084", "TP 947"]
RESULT: Final = "Two flights found"
CHUNK: Final = "the next token "

FRAME: Final = json.dumps(
    {
        "type": "chat",
        "payload": {"text": REQUEST},
        "thread_id": "thread-1",
        "message_id": "message-1",
    }
)


async def accepting(frame: str) -> None:
    """A transport that accepts at once."""


async def yielding(frame: str) -> None:
    """A transport that yields to the loop once before it accepts."""
    await asyncio.sleep(0)


async def golden_path(run: Run) -> str:
    """The agent behind the five events."""
    await run.thinking(THOUGHT)
    async with run.tool("search", ARGUMENTS) as call:
        call.result = TOOL_RESULT
    return RESULT
