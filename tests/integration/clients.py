"""Real clients of the host programs: they ask, and read the whole answer."""

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias, final

import aiohttp
import socketio
from socketio.exceptions import ConnectionError as SocketIoError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from integration.hosts import PATIENCE, within_patience
from support import Json

__all__ = [
    "LAST",
    "Client",
    "Connect",
    "RefusedError",
    "WebSocketClient",
    "over_socketio",
    "over_sse",
    "over_websocket",
]

#: What ends the answer to one frame.
LAST: Final = frozenset({"agent_completed", "agent_failed", "agent_cancelled", "error_message"})
#: What a stream of server-sent events ends with, beside.
_ENDS_STREAM: Final = LAST | {"connection_established", "pong", "stopped"}


class RefusedError(Exception):
    """There is no connection for such a token; holds what the client is told instead."""


class Client(Protocol):
    """One connection of a user."""

    async def ask(self, frame: str | bytes, last: frozenset[str] = LAST) -> list[Json]:
        """The frames that answer this one, up to one whose type is in ``last``."""
        ...

    async def reads(self) -> Json:
        """The next frame."""
        ...

    async def rest(self) -> list[Json]:
        """The frames up to the connection's end."""
        ...

    @property
    def closed_with(self) -> object:
        """What the client was told with its connection's end."""
        ...

    async def vanish(self) -> None:
        """Reset the connection: no goodbye, no FIN, as when the machine at the end died."""
        ...


#: Connects to the host at a port, with a token; says goodbye at the end.
Connect: TypeAlias = Callable[[int, str], AbstractAsyncContextManager[Client]]


async def _read_to(last: frozenset[str], reads: Callable[[], Awaitable[Json]]) -> list[Json]:
    answer = [await reads()]
    while answer[-1]["type"] not in last:
        answer.append(await reads())
    return answer


def _resets_when_closed(connected: socket.socket) -> None:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# WebSocket.


@final
class WebSocketClient:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def ask(self, frame: str | bytes, last: frozenset[str] = LAST) -> list[Json]:
        await within_patience(self._connection.send(frame))
        return await _read_to(last, self.reads)

    async def reads(self) -> Json:
        text = await within_patience(self._connection.recv())
        assert isinstance(text, str), "the server sent a binary frame"
        frame: Json = json.loads(text)
        return frame

    async def rest(self) -> list[Json]:
        frames: list[Json] = []
        try:
            while True:
                frames.append(await self.reads())
        except ConnectionClosed:
            return frames

    @property
    def closed_with(self) -> object:
        return self._connection.close_code

    @property
    def worker(self) -> str:
        """Which of several workers it came to, as that says."""
        assert self._connection.response is not None
        return self._connection.response.headers["x-worker"]

    async def vanish(self) -> None:
        transport = self._connection.transport
        _resets_when_closed(transport.get_extra_info("socket"))
        transport.abort()
        await within_patience(self._connection.wait_closed())


@asynccontextmanager
async def over_websocket(
    port: int, token: str, headers: dict[str, str] | None = None
) -> AsyncGenerator[WebSocketClient]:
    """A WebSocket, to ``/chat``; by default with a bearer token."""
    try:
        connection = await within_patience(
            connect(
                f"ws://127.0.0.1:{port}/chat",
                additional_headers=headers or {"Authorization": f"Bearer {token}"},
                proxy=None,
                # Every wait has its bound here, which says more than the client's own would.
                open_timeout=None,
                ping_interval=None,
                close_timeout=PATIENCE,
            )
        )
    except InvalidStatus as error:
        raise RefusedError(error.response.status_code) from error
    client = WebSocketClient(connection)
    try:
        assert (await client.reads())["type"] == "connection_established"
        yield client
    finally:
        await within_patience(connection.close())


# Over HTTP, by aiohttp's client.


@final
class _Sockets:
    """The sockets of an HTTP client."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(socket_factory=self._make)
        return aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None), trust_env=False
        )

    def _make(self, address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(address[0], address[1], address[2])
        made.setblocking(False)
        self._sockets.append(made)
        return made

    def reset(self) -> None:
        for made in self._sockets:
            if made.fileno() >= 0:
                _resets_when_closed(made)


async def _event(response: aiohttp.ClientResponse) -> Json | None:
    """The next event that is streamed; None at the end."""
    line = await within_patience(response.content.readline())
    if not line:
        return None
    field, _, text = line.decode("ascii").partition(": ")
    assert field == "data"
    assert await within_patience(response.content.readline()) == b"\n"
    frame: Json = json.loads(text)
    return frame


@final
class SseClient:
    """One request for each frame; what a request streams is read when it is asked for."""

    def __init__(self, session: aiohttp.ClientSession, sockets: _Sockets, port: int) -> None:
        self._session = session
        self._sockets = sockets
        self._url = f"http://127.0.0.1:{port}/chat"
        #: Those that have not been read to their end.
        self._streams: list[aiohttp.ClientResponse] = []
        self.closed_with: object = None

    async def ask(self, frame: str | bytes, last: frozenset[str] = LAST) -> list[Json]:
        response = await within_patience(self._session.post(self._url, data=frame))
        if response.status != 200:
            if response.content_type != "application/json":
                response.close()
                raise RefusedError(response.status)
            refusal = await within_patience(response.json())
            return [{"type": "error_message", "payload": refusal, "timestamp": time.time()}]
        greeting = await _event(response)
        assert greeting is not None
        assert greeting["type"] == "connection_established", "each stream is a session"
        # What is stopped, if anything is, has a stream of its own.
        answer = await self.rest() if "stopped" in last else []
        self._streams.append(response)
        answer += await _read_to(last, self.reads)
        if answer[-1]["type"] in _ENDS_STREAM:
            assert await _event(self._streams.pop()) is None
        return answer

    async def reads(self) -> Json:
        """The next frame of the newest stream."""
        frame = await _event(self._streams[-1])
        assert frame is not None, "the stream has ended"
        return frame

    async def rest(self) -> list[Json]:
        frames: list[Json] = []
        while self._streams:
            while (frame := await _event(self._streams[-1])) is not None:
                frames.append(frame)
            self._streams.pop()
        self.closed_with = "end of stream"
        return frames

    async def vanish(self) -> None:
        self._sockets.reset()
        self.leave()

    def leave(self) -> None:
        """Read no stream any more."""
        for response in self._streams:
            response.close()


@asynccontextmanager
async def over_sse(port: int, token: str) -> AsyncGenerator[Client]:
    """Server-sent events: a request to ``/chat`` for each frame."""
    sockets = _Sockets()
    async with sockets.session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        client = SseClient(session, sockets, port)
        try:
            yield client
        finally:
            client.leave()


@final
class SocketIoClient:
    def __init__(self, sio: Any, session: aiohttp.ClientSession, sockets: _Sockets) -> None:
        self._sio = sio  # python-socketio is untyped
        self._session = session
        self._sockets = sockets
        self._frames: asyncio.Queue[str | None] = asyncio.Queue()
        self.closed_with: object = None
        sio.on("frame", self._frames.put_nowait)
        sio.on("disconnect", self._disconnected)

    def _disconnected(self, reason: str) -> None:
        self.closed_with = reason
        self._frames.put_nowait(None)

    async def ask(self, frame: str | bytes, last: frozenset[str] = LAST) -> list[Json]:
        await within_patience(self._sio.emit("frame", frame))
        return await _read_to(last, self.reads)

    async def reads(self) -> Json:
        text = await within_patience(self._frames.get())
        assert text is not None, "the connection has ended"
        frame: Json = json.loads(text)
        return frame

    async def rest(self) -> list[Json]:
        frames: list[Json] = []
        while (text := await within_patience(self._frames.get())) is not None:
            frames.append(json.loads(text))
        return frames

    async def vanish(self) -> None:
        self._sockets.reset()
        await self._session.close()


@asynccontextmanager
async def over_socketio(port: int, token: str) -> AsyncGenerator[Client]:
    """Socket.IO: events of the name ``frame``."""
    sockets = _Sockets()
    async with sockets.session() as session:
        sio: Any = socketio.AsyncClient(
            reconnection=False, http_session=session, handle_sigint=False
        )
        client = SocketIoClient(sio, session, sockets)
        url = f"http://127.0.0.1:{port}"
        try:
            await within_patience(sio.connect(url, auth={"token": token}, wait_timeout=PATIENCE))
        except SocketIoError as error:
            raise RefusedError(str(error)) from error
        try:
            assert (await client.reads())["type"] == "connection_established"
            yield client
        finally:
            if sio.connected:
                await within_patience(sio.disconnect())
