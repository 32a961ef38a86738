"""A session over HTTP: one frame in, server-sent events out."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self, final

from agent_messaging._session import Session
from agent_messaging._session_end import SessionEnd, SessionEndReason

__all__ = ["Stream", "StreamTransport"]


@final
class StreamTransport:
    """Hands frames over one by one: a send has succeeded when the reader has taken its frame."""

    __slots__ = ("_changed", "_frame", "is_closed")

    def __init__(self) -> None:
        self.is_closed: bool = False
        self._frame: str | None = None
        self._changed: asyncio.Event = asyncio.Event()

    async def send(self, frame: str) -> None:
        """Wait until the frame is taken."""
        self._frame = frame
        self._change()
        while self._frame is frame:
            await self._changed.wait()

    async def take(self) -> str | None:
        """The next frame; None at the end."""
        while self._frame is None:
            if self.is_closed:
                return None
            await self._changed.wait()
        frame, self._frame = self._frame, None
        self._change()
        return frame

    async def close(self, _: SessionEndReason) -> None:
        """The session has ended, and its last frame was taken, or waited for long enough."""
        self.is_closed = True
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@final
class Stream:
    """The answer to one request, as server-sent events; made by `Endpoint.stream`.

    An async iterator of bytes, each one event: ``data: FRAME`` and an empty line. To be iterated
    over once. However the iteration ends, the session ends with it: at its end, cancelled,
    closed, dropped, or not gone on with for the endpoint's ``send_timeout``.
    """

    #: For the HTTP response.
    headers: Final[Mapping[str, str]] = MappingProxyType(
        {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            # Or a proxy in between would keep events until it has enough of them.
            "X-Accel-Buffering": "no",
        }
    )

    __slots__ = ("_loop", "_session", "_transport")

    def __init__(self, session: Session, transport: StreamTransport) -> None:
        self._session = session
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    @property
    def end(self) -> SessionEnd | None:
        """How it ended; ``completed`` when all was said. None while it goes on."""
        return self._session.end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            frame = await self._transport.take()
        except BaseException:
            self._session.finish("disconnected")
            raise
        if frame is None:
            raise StopAsyncIteration
        return f"data: {frame}\n\n".encode("ascii")

    async def aclose(self) -> None:
        """End the session, as when the client is gone. Idempotent."""
        self._session.finish("disconnected")

    def __del__(self) -> None:
        if self._session.end is None and not self._loop.is_closed():
            # Whichever thread drops it last.
            self._loop.call_soon_threadsafe(self._session.finish, "disconnected")
