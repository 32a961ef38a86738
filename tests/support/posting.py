"""Posting frames to an outbox without a handler."""

import asyncio

from agent_messaging import Limits, MessageType, WebSocketLike
from agent_messaging._outbox import Outbox, as_transport

CHUNK = MessageType.AGENT_RESPONSE_CHUNK


def outbox_to(websocket: WebSocketLike, **limits: int) -> Outbox:
    """An outbox of no pool."""
    return Outbox(websocket, as_transport(websocket), Limits(**limits), lambda outbox: None)


class Receipts:
    """What the transport accepted, and what it did not, in the order of the posts."""

    def __init__(self) -> None:
        self.all: list[bool] = []

    def __call__(self, kind: MessageType, accepted: bool) -> None:
        assert kind is CHUNK
        self.all.append(accepted)


class Gate:
    """A transport that holds each frame until it is opened for it."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self._opened = asyncio.Semaphore(0)

    async def __call__(self, frame: str) -> None:
        await self._opened.acquire()
        self.frames.append(frame)

    def open(self, frames: int = 1) -> None:
        """Let so many frames through."""
        for _ in range(frames):
            self._opened.release()


async def steps(count: int = 10) -> None:
    """Let the other tasks take so many steps."""
    for _ in range(count):
        await asyncio.sleep(0)
