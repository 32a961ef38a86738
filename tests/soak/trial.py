"""One soak from its beginning to its end: a server, its clients, and the verdicts."""

import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, final

from soak.clients import ACTS, Client, Terms
from soak.connection import PATIENCE
from soak.ledger import Account, Device, Ledger, fingerprint_of
from support import Json

_TESTS: Final = Path(__file__).parents[1]

#: Log records of the library, from WARNING on, that the acts lead to.
EXPECTED_RECORDS: Final = frozenset({"agent_abandoned", "run_finished"})

#: For a minute it is known of a user how fast it was.
BUCKETS: Final = ("agent_messaging._users.User", "agent_messaging._buckets.TokenBucket")
#: What a log keeps of runs that have ended.
OF_THE_LOG: Final = (
    "agent_messaging.eventlog.",
    "agent_messaging.LoggedEvent",
    "agent_messaging.Lease",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a soak is.

    Attributes:
        clients: how many there are at once, two of each user.
        seconds: for how long they act.
        pace: mean seconds between two acts of one client.
        seed: of what they do; not of when, which the machine has a say in.
    """

    clients: int
    seconds: float
    pace: float
    seed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Something that must hold, and what spoke against it."""

    claim: str
    faults: list[str]

    @property
    def holds(self) -> bool:
        return not self.faults


@dataclass(slots=True)
class Report:
    """What was seen and what it means."""

    scale: Scale
    ledger: Ledger
    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    start: Json = field(default_factory=dict[str, object])
    rest: Json = field(default_factory=dict[str, object])
    forgotten: Json = field(default_factory=dict[str, object])
    end: Json = field(default_factory=dict[str, object])

    @property
    def holds(self) -> bool:
        """Whether every verdict does."""
        return all(verdict.holds for verdict in self.verdicts)


@final
class Server:
    """The server's process, as its parent sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, command: str) -> Json:
        """The answer to one command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        return await self.says()

    async def says(self) -> Json:
        """Its next line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(2 * PATIENCE):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server is gone")
        said: Json = json.loads(line)
        return said

    def end_input(self) -> None:
        """Have it stop."""
        assert self._process.stdin is not None
        self._process.stdin.close()


@asynccontextmanager
async def serving() -> AsyncGenerator[Server]:
    """A server; it is stopped at the end, gently first. What it says on stderr is an error's note.

    It is in a session of its own, so that Ctrl-C reaches its parent alone.
    """
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "soak.server"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=2**30,
            env={**os.environ, "PYTHONPATH": str(_TESTS)},
            start_new_session=True,
        )
        server = Server(process)
        try:
            yield server
        except BaseException as error:
            error.add_note(_text(errors))
            raise
        finally:
            server.end_input()
            try:
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


def _text(errors: IO[bytes]) -> str:
    errors.seek(0)
    return f"its standard error:\n{errors.read().decode(errors='replace')}"


async def soak(scale: Scale, progress: Callable[[str], None]) -> Report:
    """Run a soak; ``progress`` is told a line now and then.

    Raises:
        TimeoutError: it did not come to its end within five minutes of its clients' acting.
    """
    ledger = Ledger()
    report = Report(scale, ledger)
    async with asyncio.timeout(scale.seconds + 10 * PATIENCE), serving() as server:
        report.start = await server.says()
        progress(f"the server listens on port {report.start['port']}")
        devices = await _act(scale, ledger, report.start["port"], progress)
        progress("all clients have left; waiting for the server to be at rest")
        report.rest = await _at_rest(server)
        runs = await server.ask("runs")
        report.forgotten = await server.ask("forget")
        server.end_input()
        report.end = {**await server.says(), **await server.says()}
    report.verdicts = [*_of_the_process(report), *_of_the_runs(report, devices, runs)]
    return report


async def _act(
    scale: Scale, ledger: Ledger, port: int, progress: Callable[[str], None]
) -> list[Device]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    terms = Terms(uri=f"ws://127.0.0.1:{port}/chat", end=start + scale.seconds, pace=scale.pace)
    accounts = [Account(f"user-{number}") for number in range((scale.clients + 1) // 2)]
    devices = [
        Device(
            f"{accounts[number // 2].user_id}.device-{number % 2}", accounts[number // 2], ledger
        )
        for number in range(scale.clients)
    ]
    clients = [Client(device, terms, scale.seed, number) for number, device in enumerate(devices)]

    async def live(client: Client) -> None:
        await client.live()
        await client.settle()

    async def tell() -> None:
        while True:
            await asyncio.sleep(10.0)
            counts = ledger.counts
            progress(
                f"{loop.time() - start:4.0f} s: {counts['connections']} connections, "
                f"{counts['messages']} messages, {counts['events']} events, "
                f"{ledger.fault_counts.total()} faults"
            )

    telling = asyncio.create_task(tell(), name="progress")
    try:
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(live(client), name=client.device.name)
    finally:
        telling.cancel()
    return devices


async def _at_rest(server: Server) -> Json:
    """What is left when nothing more happens, or after a while."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while True:
        rest = await server.ask("rest")
        if not (rest["tasks"] or rest["users"]) or loop.time() > end:
            return rest
        await asyncio.sleep(0.25)


# The verdicts.


def _of_the_process(report: Report) -> list[Verdict]:
    start, rest, end = report.start, report.rest, report.end
    stats = rest["stats"]
    gauges = ("users", "sessions", "runs_in_flight", "runs_queued", "agents_abandoned_alive")
    ended = sum(stats[f"runs_{outcome}"] for outcome in ("completed", "failed", "cancelled"))
    records = {name: count for name, count in end["log"].items() if name not in EXPECTED_RECORDS}
    acted = {name for name in ACTS if report.ledger.counts[f"act {name}"]}
    return [
        Verdict("no task of the library is left", [*rest["tasks"], *end["tasks"]]),
        Verdict("no session, run or user is left", _nonzero(stats, gauges)),
        Verdict(
            "every accepted run was counted as ended",
            _differences({"accepted": stats["runs_accepted"]}, {"accepted": ended}),
        ),
        Verdict(
            "at rest only the log's objects are left",
            _differences(start["objects"], rest["objects"], (*OF_THE_LOG, *BUCKETS)),
        ),
        Verdict(
            "forgotten users leave no object",
            _differences(start["objects"], report.forgotten["objects"], BUCKETS),
        ),
        Verdict("the endpoint leaves no object", _differences(end["before"], end["objects"])),
        Verdict(
            "no trouble in the server's log",
            [f"{records}: {end['log_examples']}"] if records else [],
        ),
        Verdict("no error that nobody heard of", [*rest["loop_errors"], *end["loop_errors"]]),
        Verdict("every act was tried", sorted(set(ACTS) - acted)),
        Verdict(
            "slow consumers were met, and runs cancelled for nobody",
            _zero(
                {**stats, "disconnected": report.ledger.counts["cancelled as disconnected"]},
                ("slow_consumers", "retries", "agents_abandoned", "disconnected"),
            ),
        ),
    ]


def _of_the_runs(report: Report, devices: list[Device], told: Json) -> list[Verdict]:
    ledger = report.ledger
    runs: dict[str, Json] = {run["run_id"]: run for run in told["runs"]}
    stats = report.rest["stats"]
    claims = Counter((run["user_id"], run["message_id"]) for run in runs.values())
    of_clients = {
        "no frame at a wrong client": ("wrong client",),
        "no gap in what a client was sent": ("gap",),
        "nothing twice": ("twice",),
        "nothing after a terminal event": ("after the end",),
        "stopped comes after the end of what it stopped": ("barrier",),
        "nothing that was not asked for": ("unasked", "unreadable"),
        "only the documented codes": ("unknown code",),
        "every run ended in one of its ways": ("ending",),
        "every client came to its end": ("unsettled",),
    }
    return [
        Verdict(claim, [words for kind in kinds for words in ledger.faults.get(kind, ())])
        for claim, kinds in of_clients.items()
    ] + [
        Verdict(
            "the log has every accepted run, and each was reported",
            _differences(
                {"accepted": stats["runs_accepted"], "reported": stats["runs_accepted"]},
                {"accepted": len(runs), "reported": told["reported"]},
            ),
        ),
        Verdict(
            "each run is gapless, has one terminal event, its last, and was reported once",
            [f"{run}" for run in runs.values() if not _is_sound(run)][:20],
        ),
        Verdict(
            "no message has two runs",
            [f"{claim} has {count}" for claim, count in claims.items() if count > 1][:20],
        ),
        Verdict(
            "each client has exactly the events of the log",
            [fault for device in devices for fault in _strange_runs(device, runs)][:20],
        ),
        Verdict(
            "each client knows which of its messages were accepted",
            [fault for device in devices for fault in _strange_messages(device, runs)][:20],
        ),
        Verdict(
            "only a user's own runs were stopped",
            [
                f"{user_id} stopped {run_id}"
                for user_id, run_id in ledger.stopped
                if runs.get(run_id, {}).get("user_id") != user_id
            ][:20],
        ),
    ]


def _is_sound(run: Json) -> bool:
    ends = run["ends"]
    return (
        run["is_gapless"] and len(ends) == 1 and ends[0][1] == run["last_seq"] and run["hooks"] == 1
    )


def _strange_runs(device: Device, runs: Mapping[str, Json]) -> Iterable[str]:
    for seen in device.runs.values():
        run = runs.get(seen.run_id)
        if run is None:
            yield f"{device.name} was sent {seen.run_id}, which the log does not have"
        elif run["user_id"] != device.account.user_id:
            yield f"{device.name} was sent {seen.run_id} of {run['user_id']}"
        elif (run["last_seq"], run["ends"][-1:]) != (seen.cursor, [[seen.end, seen.cursor]]):
            yield f"{device.name} has {seen.cursor} events of {run}, ended as {seen.end}"
        elif run["fingerprint"] != fingerprint_of(seen.check_sums):
            yield f"{device.name} has other events of {run}"


def _strange_messages(device: Device, runs: Mapping[str, Json]) -> Iterable[str]:
    accepted = {
        run["message_id"]: run["run_id"]
        for run in runs.values()
        if run["user_id"] == device.account.user_id
    }
    for message_id, sent in device.messages.items():
        run_id = accepted.get(message_id)
        if sent.run_id != run_id and not (
            # A copy on a connection that was killed may be read after another was refused.
            sent.run_id is None and sent.lines > 1
        ):
            yield f"{message_id} is {sent.fate} and has {sent.run_id}, in the log {run_id}"


def _differences(
    before: Mapping[str, int], after: Mapping[str, int], but: tuple[str, ...] = ()
) -> list[str]:
    return [
        f"{name}: {before.get(name, 0)} before, {after.get(name, 0)} after"
        for name in sorted({*before, *after})
        if before.get(name, 0) != after.get(name, 0) and not name.startswith(but)
    ]


def _nonzero(stats: Mapping[str, int], names: Iterable[str]) -> list[str]:
    return [f"{name}: {stats[name]}" for name in names if stats[name]]


def _zero(stats: Mapping[str, int], names: Iterable[str]) -> list[str]:
    return [f"{name}: none" for name in names if not stats[name]]
