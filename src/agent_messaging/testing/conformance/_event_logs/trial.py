"""A log on trial: how it is made, and short words for what the cases ask of it."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Protocol, final

from agent_messaging import (
    EventLog,
    EventPage,
    Lease,
    LeaseLost,
    LoggedEvent,
    MessageType,
    Notice,
    RunRecord,
    TakenRun,
)
from agent_messaging.testing.conformance._cancelling import CANCELLED, TURNS, cancelled_after
from agent_messaging.testing.conformance._expect import ConformanceError, expect, found, patience

__all__ = [
    "COMPLETED",
    "LEASE_SECONDS",
    "SETTLED",
    "STARTED",
    "THINKING",
    "LogOnTrial",
    "MakeLog",
    "Notices",
    "Trial",
    "Wakes",
    "at_each_step",
    "event",
    "opened",
    "story",
]

#: How long leases last where a case does not let them expire, and longer than any case.
LEASE_SECONDS: Final = 3600.0
#: How long a follower is given where it is to hear of nothing, and before what it is to hear of.
SETTLED: Final = 0.05

STARTED: Final = MessageType.AGENT_STARTED
THINKING: Final = MessageType.AGENT_THINKING
COMPLETED: Final = MessageType.AGENT_COMPLETED


@final
class LogOnTrial(NamedTuple):
    """A new and empty log, and the way to let time pass by its clock.

    Attributes:
        log: the log; the case closes it.
        advance: lets so many seconds pass by the clock that leases and claims go by. It is no
            good to wait for them: a case gives up after some seconds of the loop's time.
    """

    log: EventLog
    advance: Callable[[float], Awaitable[object]]


class MakeLog(Protocol):
    """Makes a log for one case; called within the event loop in which the case runs."""

    async def __call__(self, *, held_events: int | None = None) -> LogOnTrial:
        """Make one.

        Args:
            held_events: how many events of a user it is to hold at most, if it ever lets go of
                any; None for as many as it likes, at least a thousand.
        """
        ...


def event(
    seq: int, kind: MessageType = THINKING, payload: str = "{}", timestamp: float = 0.5
) -> LoggedEvent:
    """One event, with a payload and a time that do not matter."""
    return LoggedEvent(kind, payload, seq, timestamp)


def story(length: int) -> list[LoggedEvent]:
    """The events of a run that completes, ``length`` in all."""
    kinds = [STARTED, *[THINKING] * (length - 2), COMPLETED]
    return [event(seq, kind, f'{{"text":"{seq}"}}') for seq, kind in enumerate(kinds, 1)]


class _Listening:
    """What a log calls back; made in the event loop, where it is to be called."""

    def __init__(self) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._thread: Final = threading.get_ident()
        self._called = asyncio.Event()
        self._was_called_elsewhere = False

    def _note_call(self) -> None:
        if threading.get_ident() == self._thread:
            self._called.set()
        else:
            self._was_called_elsewhere = True
            self._loop.call_soon_threadsafe(self._called.set)

    async def _until(self, is_there: Callable[[], bool]) -> None:
        while not is_there():
            self._called.clear()
            await self._called.wait()
        self._expect_the_loop()

    def _expect_the_loop(self) -> None:
        if self._was_called_elsewhere:
            raise ConformanceError("wanted a call in the event loop, but one in a thread came")


@final
class Wakes(_Listening):
    """What a follower was woken with."""

    def __init__(self) -> None:
        super().__init__()
        self.seqs: list[int] = []

    def wake(self, seq: int) -> None:
        """Remember it."""
        self.seqs.append(seq)
        self._note_call()

    async def until(self, seq: int) -> None:
        """Wait to be woken with this seq, as the last one."""
        await self._until(lambda: self.seqs[-1:] == [seq])

    async def again(self) -> None:
        """Wait to be woken, unless that happened since the last time."""
        await self._called.wait()
        self._called.clear()
        self._expect_the_loop()


@final
class Notices(_Listening):
    """What an owner was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str, Notice]] = []

    def tell(self, user_id: str, run_id: str, notice: Notice) -> None:
        """Remember it."""
        self.told.append((user_id, run_id, notice))
        self._note_call()

    async def until(self, user_id: str, run_id: str, notice: Notice = "stop") -> None:
        """Wait to be told this of a run."""
        await self._until(lambda: (user_id, run_id, notice) in self.told)


class Trial:
    """A log, with everything that a case does not care about filled in.

    Attributes:
        log: the log.
        advance: lets time pass by its clock.
    """

    def __init__(self, on_trial: LogOnTrial) -> None:
        self.log: Final = on_trial.log
        self.advance: Final = on_trial.advance
        self._unfollows: list[Callable[[], None]] = []

    def notices(self, owner: str = "owner") -> Notices:
        """What the owner is told from now on, to the end of the case."""
        notices = Notices()
        self._unfollows.append(self.log.follow_notices(owner, notices.tell))
        return notices

    def wakes(self, run_id: str = "run", user_id: str = "ann") -> Wakes:
        """What who follows the run is woken with from now on, to the end of the case."""
        wakes = Wakes()
        self._unfollows.append(self.log.follow(user_id, run_id, wakes.wake))
        return wakes

    def unfollow(self) -> None:
        """Follow nothing any more."""
        for unfollow in self._unfollows:
            unfollow()

    async def claim(
        self,
        run_id: str,
        user_id: str = "ann",
        *,
        message_id: str | None = None,
        thread_id: str = "thread",
        owner: str = "owner",
        lease_seconds: float = LEASE_SECONDS,
    ) -> Lease:
        """Claim a new run for a message of its own."""
        lease = Lease(user_id, run_id, f"token of {user_id} for {run_id}")
        record = await self.attempt(
            lease,
            message_id=message_id,
            thread_id=thread_id,
            owner=owner,
            lease_seconds=lease_seconds,
        )
        expect(record.run_id, run_id, "the run of a new message")
        return lease

    async def attempt(
        self,
        lease: Lease,
        *,
        message_id: str | None = None,
        thread_id: str = "thread",
        digest: str = "digest",
        owner: str = "owner",
        lease_seconds: float = LEASE_SECONDS,
    ) -> RunRecord:
        """Claim, whoever wins."""
        return await self.log.claim(
            lease,
            thread_id=thread_id,
            message_id=f"message of {lease.run_id}" if message_id is None else message_id,
            digest=digest,
            owner=owner,
            lease_seconds=lease_seconds,
        )

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        """Append one batch."""
        await self.log.append(lease, tuple(events))

    async def append_each(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        """Append one after the other."""
        for one in events:
            await self.log.append(lease, (one,))

    async def refuses(self, lease: Lease, events: Sequence[LoggedEvent]) -> bool:
        """Whether an append is refused as `LeaseLost`."""
        try:
            await self.append(lease, events)
        except LeaseLost:
            return True
        return False

    async def must_refuse(
        self, lease: Lease, events: Sequence[LoggedEvent], about: object = None
    ) -> None:
        """See that an append is refused as `LeaseLost`."""
        expect(LeaseLost if await self.refuses(lease, events) else None, LeaseLost, about)

    async def finished(self, run_id: str, user_id: str = "ann", *, length: int = 3) -> Lease:
        """A run that has completed."""
        lease = await self.claim(run_id, user_id)
        await self.append_each(lease, story(length))
        return lease

    async def page(
        self, run_id: str, user_id: str = "ann", *, after: int = 0, limit: int = 1000
    ) -> EventPage:
        """A page of a run that is known."""
        page = await self.log.read(user_id, run_id, after=after, limit=limit)
        return found(page, f"{run_id} of {user_id}")

    async def events(self, run_id: str, user_id: str = "ann") -> list[LoggedEvent]:
        """All events that are held of a run."""
        return list((await self.page(run_id, user_id)).events)

    async def pages(self, run_id: str, limit: int) -> list[LoggedEvent]:
        """All events of a finished run, page by page."""
        events: list[LoggedEvent] = []
        cursor = 0
        while True:
            page = await self.page(run_id, after=cursor, limit=limit)
            if not page.events:
                return events
            events.extend(page.events)
            cursor = max(event.seq for event in page.events)

    async def take(
        self, owner: str = "taker", *, lease_seconds: float = LEASE_SECONDS, limit: int = 100
    ) -> Sequence[TakenRun]:
        """Take what has expired."""
        return await self.log.take_expired(owner, lease_seconds, limit=limit)

    async def take_one(
        self, owner: str = "taker", *, lease_seconds: float = LEASE_SECONDS
    ) -> TakenRun:
        """Take the one run whose lease has expired."""
        taken = await self.take(owner, lease_seconds=lease_seconds)
        expect(len(taken), 1, "runs whose lease has expired")
        return taken[0]

    async def taken(self, owner: str = "taker", *, lease_seconds: float = LEASE_SECONDS) -> Lease:
        """The lease of the one run that has expired."""
        return (await self.take_one(owner, lease_seconds=lease_seconds)).lease


@asynccontextmanager
async def opened(make_log: MakeLog, *, held_events: int | None = None) -> AsyncGenerator[Trial]:
    """A log on trial, closed at the end; nothing of it takes longer than the case's patience."""
    on_trial = await make_log(held_events=held_events)
    try:
        async with patience():
            trial = Trial(on_trial)
            yield trial
            trial.unfollow()
    finally:
        async with patience():
            await on_trial.log.aclose()


async def at_each_step(
    call: Callable[[int], Coroutine[object, object, object]],
    then: Callable[[int], Awaitable[object]],
) -> None:
    """Cancel a call after each number of `TURNS` of the loop, until it is done before that.

    Args:
        call: what is called, given how often it was called before.
        then: looks at what has become of that call.

    Raises:
        ConformanceError: a call that was cancelled did not end as that.
        Exception: what a call raised before.
    """
    for number, turns in enumerate(TURNS):
        outcome = await cancelled_after(turns, call(number))
        if outcome is not None:
            expect(outcome, CANCELLED, f"cancelled after {turns} turns of the loop")
        await then(number)
        if outcome is None:
            break
