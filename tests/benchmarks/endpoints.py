"""The path through `Endpoint` and `Session` with the default log, early and late in its life."""

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from agent_messaging import AgentMessageHandler, Endpoint, Limits
from benchmarks import floor
from benchmarks.conversation import FRAME, USER_ID, accepting, golden_path
from benchmarks.paths import Batch, Path, in_turn

FEW: Final = 1
MANY_SESSIONS: Final = 10_000
MANY_RUNS: Final = 100_000

#: Nothing is refused, so that every message is measured.
_LIMITS: Final = Limits(messages_per_minute=None, frames_per_minute=None)

_HEAD, _TAIL = FRAME.split("message-1")


class Conversation:
    """One session that sends message after message, each when the one before it has ended."""

    def __init__(self, endpoint: Endpoint, user_id: str) -> None:
        self._endpoint = endpoint
        self._user_id = user_id
        self._sent = 0
        self._ended = asyncio.Event()

    async def _send(self, frame: str) -> None:
        if frame.startswith('{"type":"agent_completed"'):
            self._ended.set()

    async def batch(self) -> Batch:
        """Opens the session; what is returned sends so many messages."""
        session = await self._endpoint.open(self._user_id, self._send)

        async def batch(count: int) -> None:
            for _ in range(count):
                self._sent += 1
                self._ended.clear()
                await session.receive(f"{_HEAD}{self._sent}{_TAIL}")
                await self._ended.wait()

        return batch


@asynccontextmanager
async def endpoint_paths(*, quick: bool) -> AsyncGenerator[tuple[Path, list[Path]]]:
    """The path with its budget, and those that show whether its cost grows."""
    scale = 100 if quick else 1
    five = in_turn(floor.floor(floor.golden_path))
    async with AsyncExitStack() as stack:

        async def batch(sessions: int, past_runs: int) -> Batch:
            handler = AgentMessageHandler(golden_path)
            endpoint = await stack.enter_async_context(Endpoint(handler, limits=_LIMITS))
            for number in range(sessions - 1):
                await endpoint.open(f"user {number}", accepting)
            # Runs of many users, of whom the log keeps what it has room for.
            users = max(1, past_runs // 500)
            for number in range(users):
                past = await Conversation(endpoint, f"former user {number}").batch()
                await past(past_runs // users)
            return await Conversation(endpoint, USER_ID).batch()

        first = Path(
            name="endpoint, session, memory log",
            batch=await batch(FEW, FEW),
            floor=five,
            budget=1.4,
            weight=2,
        )
        sessions, runs = MANY_SESSIONS // scale, MANY_RUNS // scale
        growth = [
            Path(name=f"a message, {count:,} sessions", batch=await batch(count, FEW), floor=five)
            for count in (FEW, sessions)
        ]
        growth += [
            Path(
                name=f"a message after {count:,} runs",
                batch=await batch(FEW, count),
                floor=five,
            )
            for count in (FEW, runs)
        ]
        yield first, growth


async def idle_session(count: int = 1000) -> float:
    """Bytes of one session of a user of its own that waits for a frame."""
    async with Endpoint(AgentMessageHandler(golden_path)) as endpoint:
        for number in range(10):
            await endpoint.open(f"warm {number}", accepting)
        await asyncio.sleep(0.01)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            await endpoint.open(f"user {number}", _connection())
        await asyncio.sleep(0.01)  # until the first frames are sent, and their writers gone
        return (tracemalloc.get_traced_memory()[0] - before) / count


def _connection() -> "Connection":
    return Connection()


class Connection:
    """A transport of its own, as each socket has."""

    __slots__ = ()

    async def __call__(self, frame: str) -> None:
        await accepting(frame)
