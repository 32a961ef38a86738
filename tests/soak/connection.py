"""One WebSocket of a client: held up, killed, or closed in order."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from soak.ledger import Device, Line

#: Bytes of the receive buffer of a client that will stop reading.
_NARROW: Final = 8 * 1024
#: Seconds for one thing to happen; only a fault, or a very busy machine, comes near.
PATIENCE: Final = 30.0
#: What a connection may end by.
GONE: Final = (ConnectionClosed, InvalidHandshake, OSError, EOFError, TimeoutError)


@final
class Connection:
    """One WebSocket: a reader that can be held up, and the line that judges what it reads."""

    def __init__(self, socket_: ClientConnection, device: Device) -> None:
        self.line: Final = Line(device)
        self.reads = asyncio.Event()
        self.reads.set()
        self.news = asyncio.Event()
        self.is_gone = False
        self._device = device
        self._socket = socket_
        self._reader = asyncio.create_task(self._read(), name=f"reader of {device.name}")

    async def _read(self) -> None:
        try:
            while True:
                await self.reads.wait()
                text = await self._socket.recv(decode=True)
                self.line.takes(text)
                self.news.set()
        except GONE:
            pass
        except Exception as error:  # noqa: BLE001 - a frame unlike any that the ledger knows
            self._device.fault("unreadable", repr(error))
        finally:
            self.is_gone = True
            self.news.set()

    async def send(self, frame: str) -> None:
        """Send one frame."""
        async with asyncio.timeout(PATIENCE):
            await self._socket.send(frame)

    async def until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is so, or the connection is gone, or for so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while not (is_so() or self.is_gone):
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            pass
        return is_so()

    def kill(self) -> None:
        """Reset the connection: no close frame, no FIN, as when the machine at the end died."""
        transport = self._socket.transport
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def close(self) -> None:
        """Say goodbye, if the connection still stands, and read to the end."""
        self.reads.set()
        await self._socket.close()
        await self._reader

    async def drop(self) -> None:
        """Be gone without a word, whatever state it is in."""
        self._reader.cancel()
        self._socket.transport.abort()
        await asyncio.wait([self._reader])


@asynccontextmanager
async def connected(uri: str, device: Device, *, is_narrow: bool) -> AsyncGenerator[Connection]:
    """A connection of the device's user."""
    host, _, port = uri.removeprefix("ws://").partition("/")[0].partition(":")
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        if is_narrow:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
            client = await connect(
                uri,
                sock=raw,
                additional_headers={"X-User": device.account.user_id},
                proxy=None,
                compression=None,
                # Every wait has its bound here.
                open_timeout=None,
                ping_interval=None,
                close_timeout=PATIENCE,
                max_queue=8,
            )
    except BaseException:
        raw.close()
        raise
    connection = Connection(client, device)
    device.ledger.counts["connections"] += 1
    try:
        yield connection
    finally:
        await connection.drop()
