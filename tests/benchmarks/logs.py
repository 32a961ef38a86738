"""What keeping events costs: ``python tests/benchmarks/logs.py [--quick] [--json]``.

The log in an SQLite file beside the bare ``executemany`` of the same rows in one transaction, and
the log in memory beside a bare list, in interleaved rounds. Ratios are of the processor's time, of
all threads, and by the wall too where a disk is waited for: there it shows what else the machine
does.
"""

import argparse
import asyncio
import gc
import json
import selectors
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from agent_messaging import EventLog, Lease, LoggedEvent, MemoryEventLog, MessageType
from agent_messaging.eventlog._sqlite_schema import upgrade
from agent_messaging.eventlog.sqlite import Durability, SqliteEventLog
from benchmarks.quartiles import Quartiles, quartiles

RUNS: Final = 64
PAYLOAD: Final = '{"text":"a few words of an answer, as a model streams them"}'

SQLITE_BUDGET: Final = 4.0
MEMORY_BUDGET: Final = 3.0
HELD_BUDGET_MS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    rounds: int
    events: int
    lone: int


FULL = Scale(rounds=15, events=150, lone=2000)
QUICK = Scale(rounds=2, events=10, lone=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A log in a file beside the bare statement.

    Attributes:
        processor: the ratio in the processor's time.
        wall: the ratio by the wall.
        raw_us: microseconds of the processor for a row of the bare statement.
    """

    processor: Quartiles
    wall: Quartiles
    raw_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured.

    Attributes:
        sqlite: the log in a file to the bare statement.
        sqlite_power: the same with a wait for the disk in each batch; there is no budget for it.
        memory: the log in memory to the bare list; both make the event.
        list_us: microseconds of an event of the bare list.
        append_ms: milliseconds that an append took among the 64: median, and p99.9.
        lone_ms: the same of one run alone.
        held_ms: milliseconds that the loop was held at a time meanwhile: median, p99.9, longest.
    """

    sqlite: "Beside"
    sqlite_power: "Beside"
    memory: Quartiles
    list_us: float
    append_ms: tuple[float, float]
    lone_ms: tuple[float, float]
    held_ms: tuple[float, float, float]


class Watch(selectors.DefaultSelector):
    """Notes how long the loop was held between two looks for what is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[float] = []
        self._since: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._since is not None:
            self.held.append(time.perf_counter() - self._since)
        ready = super().select(timeout)
        self._since = time.perf_counter()
        return ready


def story(length: int) -> list[LoggedEvent]:
    return [
        LoggedEvent(MessageType.AGENT_RESPONSE_CHUNK, PAYLOAD, seq, 1_700_000_000.0 + seq)
        for seq in range(1, length + 1)
    ]


async def claimed(log: EventLog, number: int) -> Lease:
    lease = Lease(f"user {number}", f"run {number}", f"token {number}")
    await log.claim(
        lease,
        thread_id="thread",
        message_id=f"message {number}",
        digest="digest",
        owner="owner",
        lease_seconds=3600.0,
    )
    return lease


async def appended(log: EventLog, lease: Lease, events: Sequence[LoggedEvent]) -> list[float]:
    """Append one event after the other; how long each took."""
    taken: list[float] = []
    for event in events:
        start = time.perf_counter()
        await log.append(lease, (event,))
        taken.append(time.perf_counter() - start)
    return taken


async def plainly_appended(log: EventLog, lease: Lease, events: Sequence[LoggedEvent]) -> None:
    for event in events:
        await log.append(lease, (event,))


class Stopwatch:
    """Seconds of the processor and by the wall since it was made."""

    def __init__(self) -> None:
        gc.collect()
        self._processor = time.process_time()
        self._wall = time.perf_counter()

    def read(self) -> tuple[float, float]:
        return time.process_time() - self._processor, time.perf_counter() - self._wall


def raw(folder: Path, length: int, synchronous: str) -> tuple[float, float]:
    """Seconds in which the bare statement writes the rows of 64 runs, in their order."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    upgrade(connection, 0)
    rows = [
        (run, "agent_response_chunk", event.payload, event.seq, event.timestamp)
        for event in story(length)
        for run in range(1, RUNS + 1)
    ]
    stopwatch = Stopwatch()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO events (run, type, payload, seq, timestamp) VALUES (?, ?, ?, ?, ?)", rows
    )
    connection.execute("COMMIT")
    taken = stopwatch.read()
    connection.close()
    return taken


async def logged(folder: Path, length: int, durability: Durability) -> tuple[float, float]:
    """Seconds in which 64 runs at once append them to the log, one after the other."""
    async with SqliteEventLog(folder / "log.db", durability=durability) as log:
        leases = [await claimed(log, number) for number in range(RUNS)]
        events = story(length)
        stopwatch = Stopwatch()
        async with asyncio.TaskGroup() as group:
            for lease in leases:
                group.create_task(plainly_appended(log, lease, events))
        return stopwatch.read()


def sqlite_rounds(scale: Scale, durability: Durability) -> Beside:
    """The log between two measurements of the bare statement, time after time."""
    synchronous = "FULL" if durability == "power" else "NORMAL"
    ratios: tuple[list[float], list[float]] = ([], [])
    rows: list[float] = []
    for number in range(scale.rounds + 1):
        times: list[tuple[float, float]] = []
        for step in range(3):
            with tempfile.TemporaryDirectory() as folder:
                if step == 1:
                    taken = asyncio.run(logged(Path(folder), scale.events, durability))
                else:
                    taken = raw(Path(folder), scale.events, synchronous)
            times.append(taken)
        if number:  # the first round warms up
            before, between, after = times
            for kind in (0, 1):
                ratios[kind].append(2 * between[kind] / (before[kind] + after[kind]))
            rows.append((before[0] + after[0]) / 2 / (RUNS * scale.events))
    return Beside(
        processor=quartiles(ratios[0]),
        wall=quartiles(ratios[1]),
        raw_us=statistics.median(rows) * 1e6,
    )


async def memory_rounds(scale: Scale) -> tuple[Quartiles, float]:
    """The ratios of each round, and microseconds of an event of the bare list."""
    ratios: list[float] = []
    lists: list[float] = []
    length = scale.events * RUNS
    kind = MessageType.AGENT_RESPONSE_CHUNK

    def bare() -> float:
        events: list[LoggedEvent] = []
        gc.collect()
        start = time.process_time()
        for seq in range(1, length + 1):
            events.append(LoggedEvent(kind, PAYLOAD, seq, 0.5))  # noqa: PERF401 - as an agent does
        return time.process_time() - start

    for number in range(scale.rounds + 1):
        before = bare()
        log = MemoryEventLog()
        lease = await claimed(log, 1)
        gc.collect()
        start = time.process_time()
        for seq in range(1, length + 1):
            await log.append(lease, (LoggedEvent(kind, PAYLOAD, seq, 0.5),))
        taken = time.process_time() - start
        after = bare()
        if number:
            ratios.append(2 * taken / (before + after))
            lists.append((before + after) / 2 / length)
    return quartiles(ratios), statistics.median(lists) * 1e6


def latencies(scale: Scale) -> tuple[list[float], list[float], list[float]]:
    """Seconds that appends took among 64 runs, and alone; and that the loop was held meanwhile."""
    watch = Watch()

    async def measured(folder: Path) -> tuple[list[float], list[float]]:
        async with SqliteEventLog(folder / "log.db") as log:
            leases = [await claimed(log, number) for number in range(RUNS)]
            events = story(scale.events * 4)
            watch.held.clear()
            lists = await asyncio.gather(*[appended(log, lease, events) for lease in leases])
            held[:] = watch.held
            alone = await appended(log, await claimed(log, RUNS), story(scale.lone))
        return [one for taken in lists for one in taken], alone

    held: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        loop_factory = lambda: asyncio.SelectorEventLoop(watch)  # noqa: E731 - a loop of that kind
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            taken, alone = runner.run(measured(Path(folder)))
    return taken, alone, held


def at(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies, in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measured(scale: Scale) -> Report:
    """Measure everything."""
    memory, list_us = asyncio.run(memory_rounds(scale))
    taken, alone, held = latencies(scale)
    return Report(
        sqlite=sqlite_rounds(scale, "process"),
        sqlite_power=sqlite_rounds(scale, "power"),
        memory=memory,
        list_us=list_us,
        append_ms=(at(taken, 0.5), at(taken, 0.999)),
        lone_ms=(at(alone, 0.5), at(alone, 0.999)),
        held_ms=(at(held, 0.5), at(held, 0.999), at(held, 1.0)),
    )


def table(report: Report) -> str:
    """The report as text."""

    def ratio(name: str, measured: Quartiles, budget: float | None) -> str:
        kept = "" if budget is None else f", budget {budget:.0f} {verdict(measured.median, budget)}"
        spread = f"quartiles {measured.lower:.2f} to {measured.upper:.2f}"
        return f"{name}: {measured.median:.2f}, {spread}{kept}"

    append, lone, loop = report.append_ms, report.lone_ms, report.held_ms
    held = f"budget {HELD_BUDGET_MS:.0f} {verdict(report.held_ms[1], HELD_BUDGET_MS)}"
    return "\n".join(
        [
            f"{RUNS} runs at once, one append an event, to one executemany in one transaction",
            ratio("  survives the process", report.sqlite.processor, SQLITE_BUDGET),
            ratio("    by the wall", report.sqlite.wall, None),
            ratio("  survives a loss of power", report.sqlite_power.processor, None),
            ratio("    by the wall", report.sqlite_power.wall, None),
            f"  the bare statement: {report.sqlite.raw_us:.2f} us a row",
            "milliseconds of an append",
            f"  among {RUNS} runs: median {append[0]:.2f}, p99.9 {append[1]:.2f}",
            f"  of one run alone: median {lone[0]:.2f}, p99.9 {lone[1]:.2f}",
            "milliseconds that the loop was held at a time meanwhile",
            f"  median {loop[0]:.2f}, p99.9 {loop[1]:.2f} ({held}), longest {loop[2]:.2f}",
            ratio("log in memory to a bare list", report.memory, MEMORY_BUDGET),
            f"  the bare list: {report.list_us:.2f} us an event",
        ]
    )


def verdict(measured: float, budget: float) -> str:
    return "kept" if measured <= budget else "over"


def main() -> None:
    """Measure, and print the table or its figures as JSON."""
    parser = argparse.ArgumentParser(description="What keeping events costs.")
    parser.add_argument(
        "--quick", action="store_true", help="little of everything: shows that it runs, no figures"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    report = measured(QUICK if arguments.quick else FULL)
    print(json.dumps(asdict(report), indent=2) if arguments.json else table(report))


if __name__ == "__main__":
    main()
