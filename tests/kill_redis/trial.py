"""The sweep: workers over one server, what is done to them, and what must hold afterwards."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, final

import redis.asyncio

from agent_messaging import RunRecord
from agent_messaging.eventlog.redis_streams import RedisStreamsEventLog
from integration.redis_server import RedisServer, client_of, running_server
from kill_redis.clients import Client
from kill_redis.inspection import compare, look_at_executions, look_at_records, read_all
from kill_redis.ledger import CLAIMS, Device, Ledger
from kill_redis.processes import PATIENCE, Execution, Executions, Worker, records_of

#: Nothing that was acknowledged is ever lost.
_DURABLE: Final = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
#: What came after the last SAVE is lost with the process.
_FORGETFUL: Final = ("--save", "", "--appendonly", "no")
#: Seconds for all clients to come to their ends.
_SETTLING: Final = 90.0
#: Seconds between two looks at what other processes do.
_LOOK: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a sweep is, and what decides what it does.

    Attributes:
        kills: of workers.
        freezes: of workers, beyond their leases.
        restarts: of the server, killed and started again with all that it had.
        losses: of the server, killed and started again with less.
        clients: two for each user.
        workers: at once.
        lease_seconds: of the endpoints.
        seed: of what is done; what becomes of that is the machine's to say.
        variant: of the log; only ``sound`` is expected to pass.
    """

    kills: int
    freezes: int
    restarts: int
    losses: int
    clients: int = 12
    workers: int = 3
    lease_seconds: float = 0.5
    seed: int = 1
    variant: str = "sound"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Something that must hold, and what spoke against it."""

    claim: str
    faults: list[str]


@dataclass(slots=True)
class Part:
    """One part of a sweep that came to its end."""

    name: str
    ledger: Ledger

    @property
    def verdicts(self) -> list[Verdict]:
        faults = self.ledger.faults
        return [Verdict(claim, faults.get(kind, [])) for kind, claim in CLAIMS.items()]


@final
class _Scene:
    """Workers over one server, and clients that talk to them."""

    def __init__(
        self,
        scale: Scale,
        ledger: Ledger,
        server: RedisServer,
        client: "redis.asyncio.Redis",
        folder: Path,
        progress: Callable[[str], None],
    ) -> None:
        self.ledger = ledger
        self.workers = [
            Worker(f"worker-{number}", folder, server.path, scale.lease_seconds, scale.variant)
            for number in range(1, scale.workers + 1)
        ]
        self.devices = [
            Device(f"device-{number}", f"user-{number // 2}", ledger)
            for number in range(scale.clients)
        ]
        self.executions = Executions(folder)
        self.random = Random(scale.seed)
        self.server = server
        self.log = RedisStreamsEventLog(client)
        self._scale = scale
        self._progress = progress

    async def play(self, troubles: list[str]) -> None:
        """All from the start of the workers to the end, with these troubles."""
        ledger, scale = self.ledger, self._scale
        try:
            await asyncio.gather(*(worker.start() for worker in self.workers))
            sockets = [worker.socket for worker in self.workers]
            clients = [
                Client(device, sockets, scale.seed, number)
                for number, device in enumerate(self.devices)
            ]
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.live())
                await self._make_trouble(troubles)
                ledger.is_over = True
            self._progress("all troubles are over; the clients come to their ends")
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.settle(_SETTLING))
            await self._ended(self._under_way(self.workers))
            await self._end_workers()
            await self._inspect()
        finally:
            for worker in self.workers:
                await worker.kill()
            await self.log.aclose()

    async def _make_trouble(self, troubles: list[str]) -> None:
        makers = {
            "kill": self._kill,
            "freeze": self._freeze,
            "restart": self._restart,
            "loss": self._lose,
        }
        for number, trouble in enumerate(troubles, 1):
            await self._traffic(self.random.randint(5, 150))
            await makers[trouble]()
            self.ledger.counts[f"trouble {trouble}"] += 1
            if number % 10 == 0 or number == len(troubles):
                counts = self.ledger.counts
                self._progress(
                    f"{number} of {len(troubles)}: {counts['messages']} messages, "
                    f"{counts['frames']} frames, {counts['interrupted']} ends as interrupted"
                )
            if self.ledger.faults:
                return  # what comes after it says less

    async def _traffic(self, frames: int) -> None:
        """Wait until the clients have been sent so many frames more."""
        counts = self.ledger.counts
        until = counts["frames"] + frames
        if not await self.ledger.until(lambda: counts["frames"] >= until, PATIENCE):
            self.ledger.fault("workers", f"{frames} frames did not come in {PATIENCE} seconds")
        # Not to see anything, but so that what comes next comes at any moment.
        await asyncio.sleep(self.random.uniform(0.0, 0.02))

    # Troubles.

    async def _kill(self) -> None:
        """Kill a worker; it comes back at once, or when the others have ended its runs."""
        victim = self.random.choice(self.workers)
        pid = victim.pid
        await victim.kill()
        left = self.executions.under_way(pid)
        self.ledger.counts["agents that were killed"] += len(left)
        if self.random.random() < 0.5:
            await self._ended(left)
            await victim.start()
        else:
            await victim.start()
            await self._ended(left)

    async def _freeze(self) -> None:
        """Have a worker stand still until the others have ended its runs, and then go on."""
        victim = self.random.choice(self.workers)
        if not await self.ledger.until(lambda: self._is_busy(victim), PATIENCE):
            self.ledger.fault("tried", f"{victim.name} had nothing to do")
            return
        victim.freeze()
        under_way = self.executions.under_way(victim.pid)
        ended = await self._ended(under_way)
        victim.go_on()
        await self._left(victim, {each.run_id for each in under_way})
        for before in ended:
            after = await self.log.find_run(before[0].user_id, before[1].run_id)
            self.ledger.counts["runs that were fenced"] += before[1].status == "failed"
            if after != before[1]:
                self.ledger.fault("fencing", f"{before[1]} became {after}")

    def _is_busy(self, worker: Worker) -> bool:
        return bool(self.executions.under_way(worker.pid))

    async def _restart(self) -> None:
        """Kill the server, and start it again with all that it had."""
        self.server.kill()
        await asyncio.sleep(self.random.choice((0.0, 0.2, 1.5)))
        self.server.start()

    async def _lose(self) -> None:
        """Kill the server, and start it again with what it had a while before."""
        self.server.ask("SAVE")
        self.ledger.counts["saves"] += 1
        await self._traffic(self.random.randint(20, 200))
        if not await self.ledger.until(
            lambda: any(device.unended for device in self.devices), PATIENCE
        ):
            self.ledger.fault("tried", "no client had an open run")
        await self._restart()

    # What is waited for.

    def _under_way(self, workers: Iterable[Worker]) -> list[Execution]:
        return [each for worker in workers for each in self.executions.under_way(worker.pid)]

    async def _ended(self, executions: Iterable[Execution]) -> list[tuple[Execution, RunRecord]]:
        """Wait until these runs have ended in the log, which is for others to see to."""
        ended: list[tuple[Execution, RunRecord]] = []
        for each in executions:
            try:
                async with asyncio.timeout(PATIENCE):
                    while True:
                        record = await self.log.find_run(each.user_id, each.run_id)
                        if record is None or record.is_ended:
                            break
                        await asyncio.sleep(_LOOK)
            except TimeoutError:
                self.ledger.fault("recovery", f"{each} was not ended")
                continue
            if record is None:
                if not self.ledger.may_lose:
                    self.ledger.fault("recovery", f"{each} is not in the log")
                continue
            ended.append((each, record))
        return ended

    async def _left(self, worker: Worker, run_ids: set[str]) -> None:
        """Wait until the agents of these runs have ended."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    if run_ids.isdisjoint(each.run_id for each in self._under_way([worker])):
                        return
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            self.ledger.fault("fencing", f"agents of {worker.name} go on")

    # The end.

    async def _end_workers(self) -> None:
        for worker in self.workers:
            left, code = await worker.end()
            if code or left["tasks"] or left["loop_errors"]:
                self.ledger.fault("workers", f"{worker.name} ended with {code}: {left}")
            for name in ("retries", "runs_recovered", "runs_accepted"):
                self.ledger.counts[f"last lives: {name}"] += left["stats"][name]
        for worker in self.workers:
            if errors := worker.errors():
                self.ledger.fault("workers", errors[-3000:])

    async def _inspect(self) -> None:
        ledger = self.ledger
        kept = await read_all(self.log, ledger)
        ledger.counts["runs in the log"] = len(kept)
        ledger.counts["events in the log"] = sum(len(run.events) for run in kept.values())
        compare(ledger, kept, self.devices)
        self.executions.under_way(0)
        look_at_executions(ledger, self.executions.all)
        look_at_records(ledger, records_of(self.workers), kept)


@asynccontextmanager
async def _scene(
    scale: Scale, ledger: Ledger, options: tuple[str, ...], progress: Callable[[str], None]
) -> AsyncGenerator[_Scene]:
    # Not the folder of a test: the paths of unix sockets have to be short.
    with (
        tempfile.TemporaryDirectory(prefix="kill-") as folder,
        running_server(*options) as server,
    ):
        async with client_of(server) as client:
            yield _Scene(scale, ledger, server, client, Path(folder), progress)


async def sweep(scale: Scale, progress: Callable[[str], None]) -> list[Part]:
    """Both parts; ``progress`` is told a line now and then."""
    parts: list[Part] = []
    random = Random(scale.seed)
    troubles = ["kill"] * scale.kills + ["freeze"] * scale.freezes + ["restart"] * scale.restarts
    random.shuffle(troubles)
    plans = (
        ("what is acknowledged is kept", _DURABLE, troubles, False),
        ("what is acknowledged may be lost", _FORGETFUL, ["loss"] * scale.losses, True),
    )
    for name, options, plan, may_lose in plans:
        ledger = Ledger(may_lose=may_lose)
        progress(f"{name}: {len(plan)} troubles")
        async with _scene(scale, ledger, options, progress) as scene:
            await scene.play(plan)
        _see_what_was_tried(ledger, plan)
        parts.append(Part(name, ledger))
        if ledger.faults:
            break
    return parts


def _see_what_was_tried(ledger: Ledger, plan: list[str]) -> None:
    wanted = ["moves", "retries", "resumes", "stops", "agent_completed", "interrupted"]
    if ledger.may_lose:
        wanted += ["logged log_went_backwards", "of these, told to the client"]
    elif "freeze" in plan:
        wanted += ["runs that were fenced", "logged lease_lost"]
    if missing := [name for name in wanted if not ledger.counts[name]]:
        ledger.fault("tried", f"none of {missing}")
