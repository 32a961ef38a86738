"""The conversation that every host has, and the client that has it."""

import json
import re
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, final

from websockets.asyncio.client import ClientConnection, connect

from integration.hosts import PATIENCE, within_patience
from support import Json

#: What ends the answer to one frame.
LAST: Final = frozenset({"agent_completed", "agent_failed", "agent_cancelled", "error_message"})
#: The message that the agent `report` works on, and the last that it sends before it waits.
REPORT: Final = "m12"
REPORT_BEGINS: Final = "agent_response_chunk"

_MADE_ID: Final = re.compile(r"[0-9a-f]{32}")


class Step(NamedTuple):
    """One frame of the client, and the type that the last frame of its answer has."""

    name: str
    frame: str | bytes
    last: frozenset[str] = LAST


def _step(name: str, kind: str, payload: Json | None = None, **fields: str) -> Step:
    frame = {"type": kind, **fields} | ({} if payload is None else {"payload": payload})
    return Step(name, json.dumps(frame))


def start(agent: str, **fields: str) -> str:
    """A START_AGENT for this agent, as a frame."""
    payload = {"user_request": "please", "agent": agent}
    return json.dumps({"type": "start_agent", "payload": payload, **fields})


CONVERSATION: Final = (
    _step(
        "start_agent",
        "start_agent",
        {"user_request": "count these four words"},
        message_id="m1",
        thread_id="t1",
    ),
    _step("user_message", "user_message", {"message": "and these"}, thread_id="t1"),
    _step("chat", "chat", {"content": "gr\u00fc\u00dfe \u4e16\u754c"}),
    Step("a binary frame", '{"type":"chat","payload":{"text":"gr\u00fc\u00dfe"}}'.encode()),
    Step("a malformed frame", '{"type":"chat","payload":{"text":'),
    Step("a binary frame that is not UTF-8", b'{"type":"\xff"}'),
    _step("an unknown type", "sing", {"song": "of the sea"}, message_id="m7"),
    _step("CONNECT", "connect", message_id="m8"),
    _step("another's user_id", "chat", {"text": "hello"}, user_id="grace", message_id="m9"),
    Step("an agent that refuses", start("refusing")),
    Step("an agent that breaks", start("breaking")),
    Step("a report that waits", start("report", message_id=REPORT), frozenset({REPORT_BEGINS})),
)

#: How the runs of the conversation end, up to the one that waits: outcome, code, error.
ENDINGS: Final = (
    ("agent_completed", None, None),
    ("agent_completed", None, None),
    ("agent_completed", None, None),
    ("agent_completed", None, None),
    ("agent_failed", "closed", "AgentError"),
    ("agent_failed", "agent_error", "KeyError"),
)


@final
class Client:
    """A WebSocket client that asks, and reads the whole answer."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def ask(self, frame: str | bytes, last: frozenset[str] = LAST) -> list[Json]:
        """The frames that answer this one, up to one whose type is in ``last``."""
        await within_patience(self._connection.send(frame))
        answer = [await self.reads()]
        while answer[-1]["type"] not in last:
            answer.append(await self.reads())
        return answer

    async def reads(self) -> Json:
        """The next frame."""
        text = await within_patience(self._connection.recv())
        assert isinstance(text, str), "the server sent a binary frame"
        frame: Json = json.loads(text)
        return frame

    async def converse(self) -> list[tuple[str, Json]]:
        """Have the `CONVERSATION`: the frames that came, each with the name of its step."""
        return [
            (step.name, frame)
            for step in CONVERSATION
            for frame in await self.ask(step.frame, step.last)
        ]

    async def vanish(self) -> None:
        """Reset the connection: no close frame, no FIN, as when the machine at the end died."""
        transport = self._connection.transport
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        await within_patience(self._connection.wait_closed())


@asynccontextmanager
async def client(uri: str, token: str) -> AsyncGenerator[Client]:
    """A client that is connected, and says goodbye at the end if it has not vanished."""
    connection = await within_patience(
        connect(
            uri,
            additional_headers={"Authorization": f"Bearer {token}"},
            proxy=None,
            # Every wait has its bound here, which says more than the client's own would.
            open_timeout=None,
            ping_interval=None,
            close_timeout=PATIENCE,
        )
    )
    try:
        yield Client(connection)
    finally:
        await within_patience(connection.close())


def normalised(frames: list[tuple[str, Json]]) -> list[Json]:
    """The frames without what is different each time, which is checked for its form instead.

    Made ids are numbered by their first appearance, so that which are the same is still seen.
    """
    names: dict[str, str] = {}

    def name(value: object) -> object:
        if isinstance(value, str) and _MADE_ID.fullmatch(value):
            return names.setdefault(value, f"<id {len(names) + 1}>")
        return value

    lines: list[Json] = []
    for step, frame in frames:
        assert isinstance(frame["timestamp"], float)
        payload = {key: name(value) for key, value in frame["payload"].items()}
        if "duration_ms" in payload:
            assert type(payload["duration_ms"]) is int
            assert payload["duration_ms"] >= 0
            payload["duration_ms"] = "<ms>"
        line = {key: name(value) for key, value in frame.items()}
        lines.append({"after": step, **line, "payload": payload, "timestamp": "<time>"})
    return lines
