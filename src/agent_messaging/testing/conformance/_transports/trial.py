"""A transport on trial: how it is made, and short words for what the cases ask of it."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Final, NamedTuple, TypeAlias, final

from agent_messaging import WebSocketLike, as_transport
from agent_messaging.testing.conformance._cancelling import cancel, uncancelled
from agent_messaging.testing.conformance._expect import ConformanceError, expect, patience

__all__ = [
    "LONG",
    "Connection",
    "MakeTransport",
    "TransportOnTrial",
    "frame_of",
    "opened",
    "stalled",
]

#: Seconds that a frame has to come to the peer once its send has returned.
_ARRIVAL: Final = 5.0
#: How many long frames are sent to a peer that does not read: more than buffers hold, and not more
#: than the memory of a server holds that keeps them all.
_FLOOD: Final = 32


@final
class TransportOnTrial(NamedTuple):
    """A new connection, seen from both of its ends.

    Attributes:
        websocket: the host's end, as it is handed to an endpoint or a handler.
        receive: waits for the next frame that comes to the peer, and returns it. It is called
            again only when it has returned, or was cancelled.
        close: has the peer leave, in the way that you want to know about: with a goodbye, or
            without. A case calls it once; what else has to be let go of, let go of here.
        raises_when_gone: whether a send raises sooner or later when the peer has left; False for a
            server that goes on accepting frames.
    """

    websocket: WebSocketLike
    receive: Callable[[], Awaitable[object]]
    close: Callable[[], Awaitable[object]]
    raises_when_gone: bool = True


#: Makes a connection for a case; called within the event loop in which the case runs.
MakeTransport: TypeAlias = Callable[[], Awaitable[TransportOnTrial]]


#: A million letters, say. Random ones, or a server that compresses would have little to send.
_LETTERS: Final = b64encode(Random(0).randbytes(2**20)).decode()  # noqa: S311 - no secret


def frame_of(length: int) -> str:
    """A frame of so many characters, two at least."""
    return f'"{_LETTERS[: length - 2]}"'


#: Longer than what is likely to be sent in one piece, and no longer than what clients take.
LONG: Final = frame_of(2**20)


@final
class Connection:
    """A connection on trial.

    Attributes:
        raises_when_gone: as the host says.
    """

    def __init__(self, on_trial: TransportOnTrial) -> None:
        self.raises_when_gone: Final = on_trial.raises_when_gone
        self._send: Final = as_transport(on_trial.websocket)
        self._receive: Final = on_trial.receive
        self._close: Final = on_trial.close
        self._is_closed = False

    async def send(self, frame: str) -> None:
        """Send one frame.

        Raises:
            Exception: what the transport raises.
            ConformanceError: that was a CancelledError, though nobody had cancelled.
        """
        with uncancelled():
            await self._send(frame)

    async def takes(self, frame: str) -> bool:
        """Whether a send returned, and did not raise as it may when the peer is gone."""
        try:
            await self.send(frame)
        except ConformanceError:
            raise
        except Exception:  # noqa: BLE001 - whichever the transport raises
            return False
        return True

    async def passes(self, *frames: str) -> None:
        """Send these while the peer reads, and see that it gets them, in this order."""
        came: list[object] = []
        reading = asyncio.ensure_future(self._read(len(frames), came))
        try:
            for frame in frames:
                await self.send(frame)
            await asyncio.wait([reading], timeout=_ARRIVAL)
            if reading.done():
                await reading
            expect(came, list(frames))
        finally:
            await cancel(reading)

    async def _read(self, count: int, came: list[object]) -> None:
        for _ in range(count):
            came.append(await self._receive())  # noqa: PERF401 - what has come is looked at

    async def close(self) -> None:
        """Have the peer leave, unless it has."""
        if not self._is_closed:
            self._is_closed = True
            await self._close()


@asynccontextmanager
async def opened(make_transport: MakeTransport) -> AsyncGenerator[Connection]:
    """A connection on trial, closed at the end; nothing takes longer than the case's patience."""
    connection = Connection(await make_transport())
    try:
        async with patience():
            yield connection
    finally:
        async with patience():
            await connection.close()


@asynccontextmanager
async def stalled(connection: Connection) -> AsyncGenerator[asyncio.Task[None]]:
    """Sending to a peer that does not read, until it cannot go on; cancelled at the end."""

    async def flood() -> None:
        for _ in range(_FLOOD):
            await connection.send(LONG)

    flooding = asyncio.create_task(flood())
    # As long as it takes for buffers to be full.
    await asyncio.wait([flooding], timeout=0.5)
    try:
        yield flooding
    finally:
        await cancel(flooding)
