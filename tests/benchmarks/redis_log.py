"""Appends to the log in Redis beside the raw client: ``python tests/benchmarks/redis_log.py``.

Both keep the same entries, of 64 runs at once: the log with all that it promises, the client with
one pipeline of XADD for a round of 64. What is given is the ratio of neighbours in time, since a
machine's speed drifts by more than the differences that matter.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import redis.asyncio

from agent_messaging import Lease, LoggedEvent, MessageType
from agent_messaging.eventlog.redis_streams import RedisStreamsEventLog
from benchmarks.quartiles import quartiles
from integration.redis_server import client_of, running_server

RUNS: Final = 64
PAYLOAD: Final = '{"text":"some sixty characters, as a chunk of a model may well have"}'
#: What the log is to take at most, in times of the raw client's.
TARGET: Final = 2.0


def event(seq: int) -> LoggedEvent:
    """One chunk."""
    return LoggedEvent(MessageType.AGENT_RESPONSE_CHUNK, PAYLOAD, seq, 1_700_000_000.123456 + seq)


async def measured(users: int, *, rounds: int, events: int) -> tuple[list[float], list[float]]:
    """The ratios of real time and of the client's processor time, one for each round."""
    with running_server() as server:
        async with client_of(server) as client:
            log = RedisStreamsEventLog(client)
            leases = [
                Lease(f"user {number % users}", f"{number:032x}", f"{number * 7:032x}")
                for number in range(RUNS)
            ]
            for lease in leases:
                await log.claim(
                    lease,
                    thread_id="thread",
                    message_id=f"message of {lease.run_id}",
                    digest="d" * 64,
                    owner="o" * 32,
                    lease_seconds=600,
                )
            ratios: tuple[list[float], list[float]] = ([], [])
            for number in range(rounds + 1):
                seqs = range(number * events + 1, (number + 1) * events + 1)
                gc.collect()
                before = await _times(lambda seqs=seqs: _raw(client, leases, seqs, "before"))  # type: ignore[misc]
                ours = await _times(lambda seqs=seqs: _ours(log, leases, seqs))  # type: ignore[misc]
                after = await _times(lambda seqs=seqs: _raw(client, leases, seqs, "after"))  # type: ignore[misc]
                if number:  # the first round warms up
                    for kind in (0, 1):
                        ratios[kind].append(2 * ours[kind] / (before[kind] + after[kind]))
            await log.aclose()
    return ratios


async def _ours(log: RedisStreamsEventLog, leases: Sequence[Lease], seqs: range) -> None:
    async def run(lease: Lease) -> None:
        for seq in seqs:
            await log.append(lease, (event(seq),))

    await asyncio.gather(*map(run, leases))


async def _raw(
    client: "redis.asyncio.Redis", leases: Sequence[Lease], seqs: range, name: str
) -> None:
    for seq in seqs:
        pipeline = client.pipeline(transaction=False)
        for lease in leases:
            kind, payload, _, timestamp = event(seq)
            pipeline.xadd(
                f"{name}:{lease.run_id}",
                {"event": f"{kind} {timestamp!r}", "payload": payload},
                id=f"{seq}-0",
            )
        await pipeline.execute()


async def _times(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    real, busy = time.perf_counter(), time.process_time()
    await work()
    return time.perf_counter() - real, time.process_time() - busy


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="as a smoke test; means nothing")
    scale = (2, 5) if parser.parse_args().quick else (30, 50)
    print(f"appends of {RUNS} runs at once, in times of the raw client's (target {TARGET})")
    for users in (1, RUNS):
        ratios = asyncio.run(measured(users, rounds=scale[0], events=scale[1]))
        for name, values in zip(("real time", "processor time"), ratios, strict=True):
            found = quartiles(values)
            print(
                f"  {users:2} users, {name:14}  {found.median:.2f} "
                f"({found.lower:.2f} to {found.upper:.2f})"
            )


if __name__ == "__main__":
    main()
