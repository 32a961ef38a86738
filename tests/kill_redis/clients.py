"""One client of the sweep: what it does at random, at one worker after the other."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final, final

from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from kill_redis.agents import BEHAVIOURS
from kill_redis.ledger import Device, Line, Sent

#: What a connection may end by.
GONE: Final = (ConnectionClosed, InvalidHandshake, OSError, EOFError, TimeoutError)

#: Seconds: between two acts, and for which a client stays where nothing comes.
_PACE: Final = 0.1
_STAY: Final = 6.0
#: Messages of a client that are open at once.
_OPEN: Final = 3
#: Threads of a user.
_THREADS: Final = 3

#: What clients do on a connection, and how often.
_ACTS: Final = {"talk": 10, "retry": 3, "look": 3, "stop": 2, "ping": 1}
_WEIGHTS: Final = [weight for weight, _ in BEHAVIOURS.values()]


@final
class _Connection:
    """One WebSocket, and the line that judges what comes on it."""

    def __init__(self, socket: ClientConnection, device: Device) -> None:
        self.line: Final = Line(device)
        self.is_gone = False
        self._device = device
        self._socket = socket
        self._reader = asyncio.create_task(self._read(), name=f"reader of {device.name}")

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                self.line.takes(text if isinstance(text, str) else text.decode())
                self._device.ledger.tell()
        except GONE:
            pass
        except Exception as error:  # noqa: BLE001 - a frame unlike any that the ledger knows
            self._device.fault("unasked", f"unreadable: {error!r}")
        finally:
            self.is_gone = True
            self._device.ledger.tell()

    async def send(self, *frames: str) -> None:
        async with asyncio.timeout(_STAY):
            for frame in frames:
                await self._socket.send(frame)

    async def close(self) -> None:
        """Say goodbye, and read to the end."""
        await self._socket.close()

    async def drop(self) -> None:
        """Be gone without a word."""
        self._reader.cancel()
        self._socket.transport.abort()
        await asyncio.wait([self._reader])


@final
class Client:
    """One device that lives: it acts, moves, comes back, and in the end waits for all it began."""

    def __init__(self, device: Device, workers: Sequence[Path], seed: int, number: int) -> None:
        self.device = device
        self._workers = workers
        self._random = Random(seed * 1_000_003 + number)
        self._worker: Path | None = None
        self._made = 0
        self._counts: Final = device.ledger.counts

    async def live(self) -> None:
        """Act until all is over."""
        while not self.device.ledger.is_over:
            try:
                async with self._connected() as connection:
                    await self._come_back(connection)
                    await self._act(connection)
            except GONE:
                self._counts["connections lost"] += 1
            await self._pause()

    async def settle(self, seconds: float) -> None:
        """Go from worker to worker until nothing is open any more."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.device.is_settled and asyncio.get_running_loop().time() < deadline:
            try:
                async with self._connected() as connection:
                    await self._come_back(connection)
                    await self._until_over(connection)
            except GONE:
                await self._pause()
        if not self.device.is_settled:
            words = f"unanswered {self.device.unknown}, unended {self.device.unended}"
            self.device.fault("unsettled", words)

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.expovariate(1 / _PACE))

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[_Connection]:
        """A connection to another worker than the last, mostly."""
        before = self._worker
        others = [worker for worker in self._workers if worker != before]
        self._worker = worker = self._random.choice(
            self._workers if self._random.random() < 0.2 else others
        )
        socket = await unix_connect(
            str(worker),
            "ws://worker/chat",
            additional_headers={"X-User": self.device.user_id},
            compression=None,
            # One may be frozen: there are others.
            open_timeout=1.0,
            ping_interval=None,
            close_timeout=0.5,
        )
        self._counts["connections"] += 1
        self._counts["moves"] += before not in (None, worker)
        connection = _Connection(socket, self.device)
        try:
            yield connection
        finally:
            await connection.drop()

    async def _come_back(self, connection: _Connection) -> None:
        """What a page does after a reload: resume what is not over, send again what is uncertain.

        In any order: a retry brings a run from its first event, a RESUME from where it was.
        """
        unended, unknown = self.device.unended, self.device.unknown
        steps = [*unknown, *(["resume"] if unended else [])]
        self._random.shuffle(steps)
        for step in steps:
            if step == "resume":
                await connection.send(*connection.line.sends_resume(unended))
            else:
                self._counts["sent again"] += 1
                await connection.send(connection.line.sends_message(step))

    async def _until_over(self, connection: _Connection) -> None:
        """Stay until all has ended; what the log has lost is sent again."""
        device, sent = self.device, set(self.device.unknown)

        def is_over() -> bool:
            return connection.is_gone or device.is_settled or not sent.issuperset(device.unknown)

        while await device.ledger.until(is_over, _STAY):
            if connection.is_gone or device.is_settled:
                return
            for message_id in set(device.unknown) - sent:
                sent.add(message_id)
                await connection.send(connection.line.sends_message(message_id))

    async def _act(self, connection: _Connection) -> None:
        for _ in range(self._random.randint(1, 6)):
            if connection.is_gone or self.device.ledger.is_over:
                return
            [act] = self._random.choices(list(_ACTS), list(_ACTS.values()))
            await connection.send(*self._frames_of(act, connection.line))
            await self._pause()
        if self._random.random() < 0.5:
            await self._until_over(connection)
        if self._random.random() < 0.5:
            await connection.close()

    def _frames_of(self, act: str, line: Line) -> list[str]:
        device = self.device
        unended = list(device.unended)
        self._counts[f"act {act}"] += 1
        if act == "retry" and device.messages:
            self._counts["retries"] += 1
            return [line.sends_message(self._random.choice(list(device.messages)[-20:]))]
        if act == "look":
            thread_id = self._thread()
            after = {
                run.run_id: run.cursor
                for run in list(device.runs.values())[-40:]
                if run.thread_id == thread_id
            }
            return line.sends_resume(after, thread_id)
        if act == "stop" and unended:
            return [line.sends_stop(self._random.choice(unended))]
        if act == "ping" or len(unended) + len(device.unknown) >= _OPEN:
            return line.sends_resume({})[1:]
        return [line.sends_message(self._compose())]

    def _thread(self) -> str:
        return f"{self.device.user_id}.{self._random.randrange(_THREADS)}"

    def _compose(self) -> str:
        """A new message."""
        device = self.device
        self._made += 1
        message_id = f"{device.name}.{self._made}"
        [behaviour] = self._random.choices(list(BEHAVIOURS), _WEIGHTS)
        thread_id = self._thread()
        device.ledger.threads.add((device.user_id, thread_id))
        frame = {
            "type": "start_agent",
            "payload": {"user_request": f"{behaviour} {message_id}"},
            "message_id": message_id,
            "thread_id": thread_id,
        }
        device.messages[message_id] = Sent(json.dumps(frame), behaviour)
        self._counts["messages"] += 1
        return message_id
