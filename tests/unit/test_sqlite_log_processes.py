"""Processes of one machine share a log in an SQLite file."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from agent_messaging import Lease, LoggedEvent
from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing.conformance import LogOnTrial
from agent_messaging.testing.conformance._event_logs.trial import (
    Notices,
    Trial,
    Wakes,
    event,
    story,
)
from support import sqlite_child
from support.event_logs import HandClock

CHILD = str(sqlite_child.__file__)

#: Seconds until a test gives up on another process; it waits for nothing that long.
PATIENCE = 60.0


class Other:
    """Another process that has the log open."""

    def __init__(self, process: Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._stdout = process.stdout

    def begin(self) -> None:
        self._stdin.write(b"\n")

    async def line(self) -> str:
        return (await self._stdout.readline()).decode().strip()

    async def lines(self) -> list[str]:
        """All that it still says, until it ends."""
        said = (await self._stdout.read()).decode().splitlines()
        assert await self.process.wait() == 0
        return said


@asynccontextmanager
async def other(path: Path, *doing: str) -> AsyncGenerator[Other]:
    """A process that will do that once it is told to begin."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", CHILD, str(path), *doing),
        stdin=PIPE,
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        started = Other(process)
        assert await started.line() == "ready"
        yield started
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def shared(path: Path) -> AsyncGenerator[Trial]:
    """This process's log of the file, by the clock of the machine."""
    async with asyncio.timeout(PATIENCE), SqliteEventLog(path, poll_seconds=0.01) as log:
        yield Trial(LogOnTrial(log, HandClock().advance))


async def all_said(path: Path, doings: list[tuple[str, ...]]) -> list[list[str]]:
    """What as many processes say that begin at once."""
    async with asyncio.timeout(PATIENCE):
        async with _others(path, doings) as others:
            for one in others:
                one.begin()
            return list(await asyncio.gather(*[one.lines() for one in others]))


@asynccontextmanager
async def _others(path: Path, doings: list[tuple[str, ...]]) -> AsyncGenerator[list[Other]]:
    if not doings:
        yield []
        return
    async with other(path, *doings[0]) as first, _others(path, doings[1:]) as rest:
        yield [first, *rest]


def test_of_processes_that_claim_the_same_messages_one_makes_each_run(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        count = 60
        said = await all_said(path, [("claim_all", name, str(count)) for name in "abc"])
        assert said[0] == said[1] == said[2]
        assert len(set(said[0])) == count
        async with shared(path) as trial:
            runs = await trial.log.runs("ann", "thread", limit=1000)
            assert sorted(run.run_id for run in runs) == sorted(said[0])

    asyncio.run(steps())


def test_of_processes_that_take_over_what_has_expired_one_gets_each_run(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        names = [f"run {number}" for number in range(40)]
        async with shared(path) as trial:
            for name in names:
                await trial.claim(name)
            await trial.finished("ended")
        said = await all_said(path, [("take_all", name) for name in "abc"])
        assert sorted(run_id for one in said for run_id in one) == sorted(names)

    asyncio.run(steps())


def test_an_owner_in_another_process_is_fenced_off_when_its_run_is_taken(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with shared(path) as trial:
            lease = await trial.claim("run")
            async with other(path, "append_for_ever", "run", lease.token) as owner:
                owner.begin()
                while await owner.line() != "20":
                    pass
                said = await all_said(path, [("take_all", "taker")])
                assert said == [["run"]]
                assert (await owner.lines())[-1] == "refused"
            last = (await trial.page("run")).last_seq
            assert await trial.refuses(lease, [event(last + 1)]), "here too"

    asyncio.run(steps())


def test_who_is_behind_by_what_another_process_appended_is_refused(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with shared(path) as trial:
            lease = await trial.claim("run")
            await trial.append(lease, [event(1)])
            said = await all_said(path, [("append_on", "run", lease.token, "2", "3")])
            assert said == [["2", "3", "4"]]
            assert await trial.refuses(lease, [event(2, payload='{"a":1}')])
            await trial.append(lease, [event(4)])  # the very last again
            await trial.append(lease, [event(5)])
            said = await all_said(path, [("append_on", "run", lease.token, "5", "2")])
            assert said == [["5", "6"]], "its first is a retry"
            said = await all_said(path, [("append_on", "run", "another", "7", "1")])
            assert said == [["refused"]]

    asyncio.run(steps())


def test_what_was_acknowledged_is_there_after_the_process_was_killed(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with asyncio.timeout(PATIENCE):
            async with shared(path) as trial:
                lease = await trial.claim("run")
            async with other(path, "append_for_ever", "run", lease.token) as owner:
                owner.begin()
                while await owner.line() != "100":
                    pass
                owner.process.kill()
                await owner.process.wait()
                last = 100
                while line := await owner.line():
                    last = int(line)
        async with shared(path) as trial:
            events = await trial.events("run")
            assert len(events) in {last, last + 1}
            assert events == [event(seq) for seq in range(1, len(events) + 1)]
            await trial.append(lease, [event(len(events) + 1)])

    asyncio.run(steps())


def test_who_follows_a_run_of_another_process_misses_nothing_and_gets_nothing_twice(
    tmp_path: Path,
) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with shared(path) as trial:
            lease = await trial.claim("run")
            async with other(path, "tell", "run", lease.token, "300") as owner:
                owner.begin()
                wakes = Wakes()
                trial.log.follow("ann", "run", wakes.wake)
                events: list[LoggedEvent] = []
                while True:
                    page = await trial.page("run", after=len(events), limit=50)
                    events.extend(page.events)
                    if page.is_ended and not page.events:
                        break
                    if not page.events:
                        await wakes.again()
                assert events == story(300)
                assert await owner.lines() == []
            assert 0 not in wakes.seqs

    asyncio.run(steps())


def test_of_runs_that_are_not_followed_nothing_is_heard(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with shared(path) as trial:
            followed, ignored = Wakes(), Wakes()
            leases = [await trial.claim("followed"), await trial.claim("ignored")]
            trial.log.follow("ann", "followed", followed.wake)
            trial.log.follow("ann", "ignored", ignored.wake)()
            trial.log.follow("bob", "followed", ignored.wake)
            said = await all_said(
                path, [("tell", lease.run_id, lease.token, "5") for lease in leases]
            )
            assert said == [[], []]
            await followed.until(5)
            assert ignored.seqs == []

    asyncio.run(steps())


def test_an_owner_hears_of_the_notices_that_another_process_leaves(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with shared(path) as trial:
            await trial.claim("run", owner="other owner")
            notices, others = Notices(), Notices()
            trial.log.follow_notices("other owner", notices.tell)
            trial.log.follow_notices("owner", others.tell)
            await trial.finished("ended")
            assert await all_said(path, [("notify", "run")]) == [["True", "True"]]
            assert await all_said(path, [("notify", "ended")]) == [["False", "False"]]
            await notices.until("ann", "run", "watched")
            assert notices.told == [("ann", "run", "stop"), ("ann", "run", "watched")]
            assert others.told == []

    asyncio.run(steps())


def test_who_follows_is_woken_with_zero_when_another_process_forgets_the_user(
    tmp_path: Path,
) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with shared(path) as trial:
            lease = await trial.claim("run")
            await trial.append(lease, [event(1)])
            await trial.finished("bob's", "bob")
            wakes, others = Wakes(), Wakes()
            trial.log.follow("ann", "run", wakes.wake)
            trial.log.follow("bob", "bob's", others.wake)
            await others.until(3)
            assert await all_said(path, [("forget",)]) == [[]]
            await wakes.until(0)
            assert await trial.refuses(lease, [event(2)])
            assert others.seqs == [3]

    asyncio.run(steps())


def test_processes_that_append_to_their_runs_at_once_keep_them_apart(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with shared(path) as trial:
            leases = [await trial.claim(f"run {number}") for number in range(3)]
            own = await trial.claim("own")
            telling = asyncio.create_task(
                all_said(path, [("tell", lease.run_id, lease.token, "200") for lease in leases])
            )
            seq = 0
            while not telling.done():
                seq += 1
                await trial.append(own, [event(seq)])
            assert await telling == [[], [], []]
            for lease in leases:
                assert await trial.events(lease.run_id) == story(200)
            assert (await trial.page("own")).last_seq == seq

    asyncio.run(steps())


def test_the_lease_of_a_process_that_was_killed_can_be_taken(tmp_path: Path) -> None:
    async def steps() -> None:
        path = tmp_path / "log.db"
        async with asyncio.timeout(PATIENCE):
            async with other(path, "claim_all", "owner", "5") as owner:
                owner.begin()
                while await owner.line() != "owner 4":
                    pass
                owner.process.kill()
                await owner.process.wait()
        said = await all_said(path, [("take_all", "taker")])
        assert said == [[f"owner {number}" for number in range(5)]]
        async with shared(path) as trial:
            assert await trial.refuses(Lease("ann", "owner 0", "owner"), [event(1)])

    asyncio.run(steps())
