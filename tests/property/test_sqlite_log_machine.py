"""A stateful machine drives two logs on one SQLite file against the naive log, in any order."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent_messaging import Lease, LeaseLost, LoggedEvent, MessageType
from agent_messaging.eventlog.sqlite import SqliteEventLog
from agent_messaging.testing.conformance._event_logs.trial import Wakes
from support.naive_log import NaiveBounds, NaiveLog, NaiveRun
from support.strategies import patient

T = TypeVar("T")

USERS = ["ann", "bob"]
THREADS = ["a", "b"]
#: Nothing is let go of here; that has tests of its own.
WIDE = NaiveBounds(runs=10**6, events=10**6, bytes=10**9, claims=10**6)

users = st.sampled_from(["ann", *USERS])
lease_seconds = st.sampled_from([5.0, 20.0])
kinds = st.sampled_from(
    [MessageType.AGENT_QUEUED, MessageType.AGENT_STARTED, MessageType.AGENT_RESPONSE_CHUNK]
)
terminals = st.sampled_from(
    [MessageType.AGENT_COMPLETED, MessageType.AGENT_FAILED, MessageType.AGENT_CANCELLED]
)
#: Which of the logs is asked.
sides = st.sampled_from([0, 1])


class SqliteLogMachine(RuleBasedStateMachine):
    """Any call of either log at any moment; after each, both are asked for everything."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.now = 1000.0
        self.number = 0
        self.naive = NaiveLog(WIDE, WIDE, 10.0**9)
        self.every: list[NaiveRun] = []
        self.leases: list[Lease] = []
        self.logs: list[SqliteEventLog] = []
        for _ in range(2):
            self.logs.append(self.made())
        self.wakes: dict[tuple[int, NaiveRun], Wakes] = {}

    def made(self) -> SqliteEventLog:
        path = Path(self.folder.name) / "log.db"
        log = SqliteEventLog(path, poll_seconds=0.001, clock=lambda: self.now)
        return self.done(log.__aenter__())

    def done(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        for log in self.logs:
            self.done(log.aclose())
        self.runner.close()
        self.folder.cleanup()

    # Claims.

    @rule(
        side=sides,
        user_id=users,
        thread_id=st.sampled_from(THREADS),
        message=st.integers(0, 8),
        seconds=lease_seconds,
        follows=st.booleans(),
    )
    def claim(
        self, side: int, user_id: str, thread_id: str, message: int, seconds: float, follows: bool
    ) -> None:
        self.number += 1
        lease = Lease(user_id, f"run {self.number}", f"token {self.number}")
        message_id = f"message {message}"
        record = self.done(
            self.logs[side].claim(
                lease,
                thread_id=thread_id,
                message_id=message_id,
                digest="digest",
                owner="owner",
                lease_seconds=seconds,
            )
        )
        claimed = self.naive.find_claim(user_id, message_id)
        if claimed is not None:
            self.seen["claimed before"] += 1
            assert record == claimed.record
            return
        run = NaiveRun(lease, thread_id, message_id, "owner", self.now + seconds)
        self.naive.claim(run)
        self.every.append(run)
        self.leases.append(lease)
        assert record == run.record
        if follows:
            self.done(self.follow(run))

    async def follow(self, run: NaiveRun) -> None:
        for side, log in enumerate(self.logs):
            wakes = self.wakes[side, run] = Wakes()
            log.follow(run.user_id, run.lease.run_id, wakes.wake)

    # Events.

    @precondition(lambda self: self.leases)
    @rule(
        side=sides,
        choice=st.randoms(use_true_random=False),
        spoken=st.lists(kinds, min_size=1, max_size=4),
        end=st.none() | st.none() | terminals,
        fault=st.sampled_from(["none"] * 4 + ["gap", "stale", "again", "again"]),
    )
    def append(
        self, side: int, choice: Any, spoken: list[MessageType], end: Any, fault: str
    ) -> None:
        live = [run.lease for run in self.naive.runs if not run.is_ended]
        lease: Lease = choice.choice(self.leases if fault == "stale" or not live else live)
        run = self.naive.find(lease.user_id, lease.run_id)
        first = 1 + (0 if run is None else len(run.events)) + (fault == "gap")
        events = [
            LoggedEvent(kind, f'"{self.number}"', seq, self.now)
            for seq, kind in enumerate(spoken, first)
        ]
        if end is not None:
            events[-1] = events[-1]._replace(type=end)
        if run is None or run.is_ended or run.lease != lease or fault == "gap":
            self.seen["refused"] += 1
            assert self.done(self.refused(side, lease, events))
            return
        times = 2 if fault == "again" else 1
        for number in range(times):
            self.seen["again"] += number
            # The other log may be the one that tries again.
            assert not self.done(self.refused((side + number) % 2, lease, events))
        self.naive.append(run, events, self.now)

    async def refused(self, side: int, lease: Lease, events: list[LoggedEvent]) -> bool:
        try:
            await self.logs[side].append(lease, events)
        except LeaseLost:
            return True
        return False

    @precondition(lambda self: any(not run.is_ended for run in self.naive.runs))
    @rule(side=sides, kind=kinds)
    def append_to_all_at_once(self, side: int, kind: MessageType) -> None:
        """One batch with several runs, one of which is refused."""
        live = [run for run in self.naive.runs if not run.is_ended]
        events = [LoggedEvent(kind, "{}", len(run.events) + 1, self.now) for run in live]
        wrong = live[-1].lease._replace(token="wrong")

        async def batch() -> list[bool]:
            calls = [
                self.refused(side, run.lease, [event])
                for run, event in zip(live, events, strict=True)
            ]
            return await asyncio.gather(*calls, self.refused(side, wrong, events[-1:]))

        assert self.done(batch()) == [*[False] * len(live), True]
        for run, event in zip(live, events, strict=True):
            self.naive.append(run, [event], self.now)

    # Leases, time, and the end of users and logs.

    @rule(seconds=st.sampled_from([0.5, 6.0, 30.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.leases)
    @rule(side=sides, choice=st.randoms(use_true_random=False), seconds=lease_seconds)
    def renew(self, side: int, choice: Any, seconds: float) -> None:
        leases: list[Lease] = choice.sample(self.leases, min(3, len(self.leases)))
        lost = self.done(self.logs[side].renew(leases, seconds))
        good = {run.lease: run for run in self.naive.runs if not run.is_ended}
        assert lost == [lease for lease in leases if lease not in good]
        for lease in leases:
            if lease in good:
                good[lease].expires = self.now + seconds

    @rule(seconds=lease_seconds, limit=st.integers(1, 4))
    def take_expired(self, seconds: float, limit: int) -> None:
        """Both try at once, and none gets what the other got."""
        expired = {run.lease: run for run in self.naive.expired(self.now)}

        async def both() -> list[Any]:
            takes = [log.take_expired("taker", seconds, limit=limit) for log in self.logs]
            return [taken for share in await asyncio.gather(*takes) for taken in share]

        taken = self.done(both())
        assert len(taken) == min(2 * limit, len(expired))
        for lease, record in taken:
            (run,) = [expired.pop(old) for old in tuple(expired) if old[:2] == lease[:2]]
            assert record == run.record
            run.lease, run.owner, run.expires = lease, "taker", self.now + seconds
            self.leases.append(lease)
            self.seen["taken"] += 1

    @precondition(lambda self: self.every)
    @rule(side=sides, choice=st.randoms(use_true_random=False))
    def notify(self, side: int, choice: Any) -> None:
        run: NaiveRun = choice.choice(self.every)
        known = run in self.naive.runs and not run.is_ended
        told = self.done(self.logs[side].notify(run.user_id, run.lease.run_id, "stop"))
        assert told is known

    @rule(side=sides, user_id=users)
    def forget(self, side: int, user_id: str) -> None:
        self.done(self.logs[side].forget(user_id))
        self.naive.forget(user_id)

    @rule(side=sides)
    def open_anew(self, side: int) -> None:
        self.done(self.logs[side].aclose())
        self.logs[side] = self.made()
        for followed in [followed for followed in self.wakes if followed[0] == side]:
            del self.wakes[followed]

    # What holds after each step.

    @invariant()
    def both_answer_as_the_naive_one(self) -> None:
        for log in self.logs:
            self.done(self.see(log))

    async def see(self, log: SqliteEventLog) -> None:
        for run in self.every:
            user_id, run_id = run.user_id, run.lease.run_id
            record = await log.find_run(user_id, run_id)
            page = await log.read(user_id, run_id, after=0, limit=1000)
            if run not in self.naive.runs:
                assert (record, page) == (None, None)
                continue
            assert record == run.record
            assert page is not None
            assert list(page.events) == run.events
            assert page[1:] == (1, len(run.events), run.record.status)
        for user_id in USERS:
            for thread_id in THREADS:
                listed = await log.runs(user_id, thread_id, limit=3)
                thread = self.naive.thread(user_id, thread_id)
                assert list(listed) == [run.record for run in thread[-3:]]
                unended = await log.runs(user_id, thread_id, limit=3, unended=True)
                live = [run for run in thread if not run.is_ended]
                assert list(unended) == [run.record for run in live[-3:]]

    @invariant()
    def every_follower_hears_of_the_last_event(self) -> None:
        async def heard() -> None:
            async with asyncio.timeout(60):
                for (_, run), wakes in self.wakes.items():
                    if run.wakes:
                        await wakes.until(run.wakes[-1])

        self.done(heard())


def test_two_logs_of_a_file_answer_as_the_naive_one_whatever_happens() -> None:
    SqliteLogMachine.seen.clear()
    run_state_machine_as_test(
        SqliteLogMachine,
        settings=settings(
            patient, max_examples=120, stateful_step_count=30, derandomize=True, database=None
        ),
    )
    met = {name for name, count in SqliteLogMachine.seen.items() if count}
    assert met == {"claimed before", "refused", "again", "taken"}
