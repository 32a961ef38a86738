"""What each log adds to a message on its way: ``python tests/benchmarks/latency.py [--quick]``.

One message with its five events through an `Endpoint` and a session, one at a time: from the
frame that comes in until the first event is sent, and until the last. Real time, in interleaved
rounds; as ratios to the log in memory. A real Redis server is started for it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from agent_messaging import AgentMessageHandler, Endpoint, EventLog, Limits, MemoryEventLog
from agent_messaging.eventlog.redis_streams import RedisStreamsEventLog
from agent_messaging.eventlog.sqlite import SqliteEventLog
from benchmarks.conversation import FRAME, USER_ID, golden_path
from benchmarks.quartiles import quartiles
from integration.redis_server import client_of, running_server

BATCH: Final = 50
_LIMITS: Final = Limits(messages_per_minute=None, frames_per_minute=None)
_HEAD, _TAIL = FRAME.split("message-1")


class Client:
    """One session that sends message after message, and looks at the time."""

    def __init__(self) -> None:
        self._sent = 0
        self._started_at = 0.0
        self._ended = asyncio.Event()

    async def send(self, frame: str) -> None:
        if frame.startswith('{"type":"agent_started"'):
            self._started_at = time.perf_counter()
        elif frame.startswith('{"type":"agent_completed"'):
            self._ended.set()

    async def batch(self, endpoint: Endpoint) -> tuple[float, float]:
        """Milliseconds until the first event and until the last, as the mean of a batch."""
        session = await endpoint.open(USER_ID, self.send)
        first = last = 0.0
        for _ in range(BATCH):
            self._sent += 1
            self._ended.clear()
            begun = time.perf_counter()
            await session.receive(f"{_HEAD}{self._sent}{_TAIL}")
            await self._ended.wait()
            first += self._started_at - begun
            last += time.perf_counter() - begun
        await session.close()
        return first / BATCH * 1000, last / BATCH * 1000


@asynccontextmanager
async def logs() -> AsyncGenerator[dict[str, EventLog]]:
    """A log of each kind."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            running_server("--appendonly", "yes", "--appendfsync", "always")
        )
        client = await stack.enter_async_context(client_of(server))
        redis = RedisStreamsEventLog(client)
        stack.push_async_callback(redis.aclose)
        yield {
            "memory": MemoryEventLog(),
            "SQLite, process": await stack.enter_async_context(SqliteEventLog(folder / "process")),
            "SQLite, power": await stack.enter_async_context(
                SqliteEventLog(folder / "power", durability="power")
            ),
            "Redis, AOF always": redis,
        }


async def measured(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """For each log the times of each round, without the first, which warms up."""
    async with logs() as made, AsyncExitStack() as stack:
        sides = {
            name: (
                Client(),
                await stack.enter_async_context(
                    Endpoint(AgentMessageHandler(golden_path), log=log, limits=_LIMITS)
                ),
            )
            for name, log in made.items()
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for number in range(rounds + 1):
            for name, (client, endpoint) in sides.items():
                taken = await client.batch(endpoint)
                if number:
                    times[name].append(taken)
        return times


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="What each log adds to a message on its way.")
    parser.add_argument("--quick", action="store_true", help="as a smoke test; means nothing")
    times = asyncio.run(measured(2 if parser.parse_args().quick else 30))
    print("milliseconds of a message, and in times of the log in memory")
    print(f"{'log':18}  first event     ratio  last event      ratio")
    for name, rounds in times.items():
        cells: list[str] = []
        for kind in (0, 1):
            own = quartiles([taken[kind] for taken in rounds]).median
            pairs = zip(rounds, times["memory"], strict=True)
            ratio = quartiles([taken[kind] / memory[kind] for taken, memory in pairs])
            cells.append(f"{own:11.3f} {ratio.median:9.2f}")
        print(f"{name:18}  {'  '.join(cells)}")


if __name__ == "__main__":
    main()
