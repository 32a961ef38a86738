"""A stateful machine drives a small `MemoryEventLog` against the naive one, in any order."""

from collections import Counter
from collections.abc import Callable, Coroutine
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

from agent_messaging import (
    APPENDED,
    EventLogError,
    Lease,
    LeaseLost,
    LoggedEvent,
    MemoryEventLog,
    MessageType,
    Notice,
)
from support.naive_log import NaiveBounds, NaiveLog, NaiveRun
from support.strategies import patient

T = TypeVar("T")

USERS = ["ann", "bob", "eve"]
THREADS = ["a", "b"]
USER_BOUNDS = NaiveBounds(runs=3, events=14, bytes=120, claims=4)
BOUNDS = NaiveBounds(runs=5, events=24, bytes=200, claims=8)
HOUR = 3600.0
CLAIM_SECONDS = 24 * HOUR

users = st.sampled_from(["ann", *USERS])
lease_seconds = st.sampled_from([2 * HOUR, 8 * HOUR])
#: The last is more than a user may hold.
payloads = st.sampled_from([0, 1, 9, 30, 130]).map("x".__mul__)
terminals = st.sampled_from(
    [MessageType.AGENT_COMPLETED, MessageType.AGENT_FAILED, MessageType.AGENT_CANCELLED]
)
kinds = st.sampled_from(
    [MessageType.AGENT_QUEUED, MessageType.AGENT_STARTED, MessageType.AGENT_RESPONSE_CHUNK]
)


def done(call: Coroutine[Any, Any, T]) -> T:
    """What a call returns that is not to wait for anything."""
    try:
        call.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a call of a log in memory waited")


class MemoryLogMachine(RuleBasedStateMachine):
    """Any call at any moment; after each, everything is looked at."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.number = 0
        self.log = MemoryEventLog(
            runs_per_user=USER_BOUNDS.runs,
            events_per_user=USER_BOUNDS.events,
            bytes_per_user=USER_BOUNDS.bytes,
            claims_per_user=USER_BOUNDS.claims,
            runs=BOUNDS.runs,
            events=BOUNDS.events,
            bytes=BOUNDS.bytes,
            claims=BOUNDS.claims,
            claim_seconds=CLAIM_SECONDS,
            clock=lambda: self.now,
        )
        self.naive = NaiveLog(USER_BOUNDS, BOUNDS, CLAIM_SECONDS)
        #: All runs that ever were, those too that are known no more.
        self.every: list[NaiveRun] = []
        self.leases: list[Lease] = []
        self.wakes: dict[NaiveRun, list[int]] = {}
        self.unfollows: dict[NaiveRun, Callable[[], None]] = {}
        self.told: list[tuple[str, str, str, Notice]] = []
        for owner in ("one", "two"):
            self.log.follow_notices(owner, self.listener(owner))

    def listener(self, owner: str) -> Callable[[str, str, Notice], None]:
        return lambda user_id, run_id, notice: self.told.append((owner, user_id, run_id, notice))

    # Claims.

    @rule(
        user_id=users,
        thread_id=st.sampled_from(THREADS),
        message=st.integers(0, 6),
        seconds=lease_seconds,
        owner=st.sampled_from(["one", "two"]),
    )
    def claim(self, user_id: str, thread_id: str, message: int, seconds: float, owner: str) -> None:
        self.number += 1
        lease = Lease(user_id, f"run {self.number}", f"token {self.number}")
        message_id = f"message {message}"
        call = self.log.claim(
            lease,
            thread_id=thread_id,
            message_id=message_id,
            digest="digest",
            owner=owner,
            lease_seconds=seconds,
        )
        self.naive.sweep(self.now)
        claimed = self.naive.find_claim(user_id, message_id)
        if claimed is not None:
            self.seen["claimed before"] += 1
            assert done(call) == claimed.record
        elif not self.naive.has_room(user_id):
            self.seen["no room for a claim"] += 1
            try:
                done(call)
            except EventLogError:
                return
            raise AssertionError("a run under way was dropped")
        else:
            run = NaiveRun(lease, thread_id, message_id, owner, self.now + seconds)
            self.naive.claim(run)
            self.every.append(run)
            self.leases.append(lease)
            assert done(call) == run.record
            self.follow(run)

    @rule(user_id=users, seconds=lease_seconds)
    def crowd(self, user_id: str, seconds: float) -> None:
        """Claim on until nothing more may be."""
        for message in range(7):
            self.claim(user_id, "a", message, seconds, "one")

    def follow(self, run: NaiveRun) -> None:
        wakes = self.wakes[run] = list(run.wakes)
        self.unfollows[run] = self.log.follow(run.user_id, run.lease.run_id, wakes.append)

    @precondition(lambda self: self.unfollows)
    @rule(choice=st.randoms(use_true_random=False))
    def unfollow(self, choice: Any) -> None:
        run = choice.choice(list(self.unfollows))
        self.unfollows.pop(run)()
        # What comes next is heard of no more.
        del self.wakes[run]

    @rule(user_id=users, message=st.integers(0, 6))
    def find_claim(self, user_id: str, message: int) -> None:
        self.naive.sweep(self.now)
        expected = self.naive.find_claim(user_id, f"message {message}")
        found = done(self.log.find_claim(user_id, f"message {message}"))
        assert found == (None if expected is None else expected.record)

    # Events.

    @precondition(lambda self: self.leases)
    @rule(
        choice=st.randoms(use_true_random=False),
        spoken=st.lists(st.tuples(kinds, payloads), min_size=1, max_size=12),
        end=st.none() | st.none() | terminals,
        fault=st.sampled_from(["none"] * 6 + ["gap", "stale"]),
        one_by_one=st.booleans(),
    )
    def append(
        self,
        choice: Any,
        spoken: list[tuple[MessageType, str]],
        end: MessageType | None,
        fault: str,
        one_by_one: bool,
    ) -> None:
        live = [run.lease for run in self.naive.runs if not run.is_ended]
        lease: Lease = choice.choice(self.leases if fault == "stale" or not live else live)
        run = self.naive.find(lease.user_id, lease.run_id)
        first = 1 + (0 if run is None else len(run.events)) + (fault == "gap")
        events = [
            LoggedEvent(kind, payload, seq, self.now)
            for seq, (kind, payload) in enumerate(spoken, first)
        ]
        if end is not None:
            events[-1] = events[-1]._replace(type=end)
        if run is None or run.is_ended or run.lease != lease or fault == "gap":
            self.seen["refused"] += 1
            try:
                self.log.append(lease, events)
            except LeaseLost:
                return
            raise AssertionError("what does not continue the run was appended")
        if one_by_one:
            for event in events:
                assert self.log.append(lease, (event,)) is APPENDED
                self.naive.append(run, [event], self.now)
        else:
            assert self.log.append(lease, events) is APPENDED
            self.naive.append(run, events, self.now)

    @precondition(lambda self: any(run.held for run in self.naive.runs))
    @rule(choice=st.randoms(use_true_random=False), length=st.integers(1, 20))
    def append_again(self, choice: Any, length: int) -> None:
        """Append what a run ends with already; nothing comes of it."""
        self.seen["retried"] += 1
        run: NaiveRun = choice.choice([run for run in self.naive.runs if run.held])
        again = tuple(run.events[-length:])
        assert self.log.append(run.lease, again) is APPENDED
        other = (again[-1]._replace(payload="other"),)
        try:
            self.log.append(run.lease, other)
        except LeaseLost:
            return
        raise AssertionError("other content passed for a retry")

    # Leases, stops, time, and the end of users.

    @rule(seconds=st.sampled_from([0.2 * HOUR, 1.6 * HOUR, 4.4 * HOUR, 28 * HOUR]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.leases)
    @rule(choice=st.randoms(use_true_random=False), seconds=lease_seconds)
    def renew(self, choice: Any, seconds: float) -> None:
        leases: list[Lease] = choice.sample(self.leases, min(3, len(self.leases)))
        lost = done(self.log.renew(leases, seconds))
        good = {run.lease: run for run in self.naive.runs if not run.is_ended}
        assert lost == [lease for lease in leases if lease not in good]
        for lease in leases:
            if lease in good:
                good[lease].expires = self.now + seconds

    @rule(owner=st.sampled_from(["one", "two"]), seconds=lease_seconds, limit=st.integers(1, 4))
    def take_expired(self, owner: str, seconds: float, limit: int) -> None:
        expired = {run.lease: run for run in self.naive.expired(self.now)}
        taken = done(self.log.take_expired(owner, seconds, limit=limit))
        assert len(taken) == min(limit, len(expired))
        tokens = {lease.token for lease in self.leases}
        for lease, record in taken:
            assert lease.token not in tokens
            (run,) = [expired.pop(old) for old in tuple(expired) if old[:2] == lease[:2]]
            assert record == run.record
            run.lease, run.owner, run.expires = lease, owner, self.now + seconds
            self.leases.append(lease)
            self.seen["taken"] += 1

    @precondition(lambda self: self.every)
    @rule(choice=st.randoms(use_true_random=False), notice=st.sampled_from(["stop", "watched"]))
    def notify(self, choice: Any, notice: Notice) -> None:
        run: NaiveRun = choice.choice(self.every)
        known = run in self.naive.runs and not run.is_ended
        self.told.clear()
        assert done(self.log.notify(run.user_id, run.lease.run_id, notice)) is known
        told = [(run.owner, run.user_id, run.lease.run_id, notice)]
        assert self.told == (told if known else [])

    @rule(user_id=users)
    def forget(self, user_id: str) -> None:
        done(self.log.forget(user_id))
        self.naive.forget(user_id)

    # What holds after each step.

    @invariant()
    def every_answer_is_the_naive_one(self) -> None:
        for run in self.every:
            user_id, run_id = run.user_id, run.lease.run_id
            record = done(self.log.find_run(user_id, run_id))
            page = done(self.log.read(user_id, run_id, after=0, limit=1000))
            if run not in self.naive.runs:
                assert (record, page) == (None, None)
                continue
            assert record == run.record
            assert page is not None
            assert list(page.events) == run.held
            assert page[1:] == (run.first_seq, len(run.events), run.record.status)
            middle = len(run.events) // 2
            page = done(self.log.read(user_id, run_id, after=middle, limit=2))
            assert page is not None
            assert list(page.events) == [one for one in run.held if one.seq > middle][:2]
        for user_id in USERS:
            for thread_id in THREADS:
                listed = done(self.log.runs(user_id, thread_id, limit=3))
                thread = self.naive.thread(user_id, thread_id)
                assert list(listed) == [run.record for run in thread[-3:]]
                unended = done(self.log.runs(user_id, thread_id, limit=3, unended=True))
                live = [run for run in thread if not run.is_ended]
                assert list(unended) == [run.record for run in live[-3:]]

    @invariant()
    def every_follower_was_woken(self) -> None:
        for run, wakes in self.wakes.items():
            assert wakes == run.wakes

    @invariant()
    def the_bounds_are_kept(self) -> None:
        runs = self.naive.runs
        self.see_bounds(runs, BOUNDS)
        for user_id in USERS:
            self.see_bounds([run for run in runs if run.user_id == user_id], USER_BOUNDS)

    def see_bounds(self, runs: list[NaiveRun], bounds: NaiveBounds) -> None:
        live = [run for run in runs if not run.is_ended]
        held = [run for run in runs if run.is_held]
        assert len(runs) <= bounds.claims
        assert len(held) <= max(bounds.runs, len(live) + 1)
        events = [event for run in runs for event in run.held]
        size = sum(len(event.payload) for event in events)
        if len(events) > bounds.events or size > bounds.bytes:
            self.seen["beyond the bounds"] += 1
            newest = [run.held[-1:] for run in runs if run.held]
            assert events == [one for ones in newest for one in ones]
        for run in live:
            assert run.held[-1:] == run.events[-1:]

    @invariant()
    def nothing_else_is_held(self) -> None:
        store, runs = self.log._store, self.naive.runs  # pyright: ignore[reportPrivateUsage]
        live = {run.lease: (run.user_id, run.lease.run_id) for run in runs if not run.is_ended}
        assert set(store.users) == {run.user_id for run in runs}
        assert store.claims == len(runs)
        assert store.held == sum(run.is_held for run in runs)
        assert store.events == sum(len(run.held) for run in runs)
        assert store.bytes == sum(len(event.payload) for run in runs for event in run.held)
        assert len(store.ended) == len(self.naive.ended)
        assert len(store.evictable) == sum(bool(run.held) for run in self.naive.ended)
        assert len(store.trimmable) == len(self.naive.turns_of_all)
        assert set(self.log._leases) == set(live)  # pyright: ignore[reportPrivateUsage]
        leased = self.log._leased.values()  # pyright: ignore[reportPrivateUsage]
        assert sum(len(ordered) for ordered in leased) == len(live)
        assert len(leased) <= 2
        for user in store.users.values():
            assert len(user.runs) == len(user.claims) == len(self.naive.of(user.user_id))
            assert all(user.threads.values())
        if any(run.first_seq > 1 and not run.is_ended for run in runs):
            self.seen["trimmed"] += 1
        if any(run.is_ended and not run.held for run in runs):
            self.seen["evicted"] += 1
        if len(self.every) > len(runs):
            self.seen["dropped"] += 1


def test_a_log_in_memory_agrees_with_a_naive_one() -> None:
    MemoryLogMachine.seen.clear()
    run_state_machine_as_test(
        MemoryLogMachine, settings=settings(patient, max_examples=200, stateful_step_count=60)
    )
    # The machine went everywhere.
    assert set(MemoryLogMachine.seen) == {
        "beyond the bounds",
        "claimed before",
        "dropped",
        "evicted",
        "no room for a claim",
        "refused",
        "retried",
        "taken",
        "trimmed",
    }
