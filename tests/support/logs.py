"""An event log in trouble: a memory log whose calls are slow, fail, hang, or lose their answer."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

from agent_messaging import EventLogError, LeaseLost, MemoryEventLog, Run
from agent_messaging.eventlog.protocol import (
    EventPage,
    Lease,
    LoggedEvent,
    Notice,
    RunRecord,
    TakenRun,
)
from support.endpoints import Site, worker

__all__ = [
    "FINE",
    "Act",
    "Gate",
    "TroubledLog",
    "appended",
    "down",
    "fails",
    "hangs",
    "loses",
    "lost",
    "site_on",
    "takes",
    "waits_for",
]

T = TypeVar("T")


@final
class Gate:
    """Holds up the calls that come to it until it is opened."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        """Let all through, now and later."""
        self._open.set()

    async def passed(self) -> None:
        """Wait at it."""
        self.waiting += 1
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What becomes of one call: a wait, an error, the work, and the same again behind the work."""

    yields: int = 0
    seconds: float = 0.0
    gate: Gate | None = None
    hangs: bool = False
    error: Callable[[], BaseException] | None = None
    yields_after: int = 0
    seconds_after: float = 0.0
    gate_after: Gate | None = None
    error_after: Callable[[], BaseException] | None = None

    async def before(self) -> None:
        """What happens before the work is done."""
        await _pass(self.yields, self.seconds, self.gate)
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error()

    async def after(self) -> None:
        """What happens between the work and its answer."""
        await _pass(self.yields_after, self.seconds_after, self.gate_after)
        if self.error_after is not None:
            raise self.error_after()


async def _pass(yields: int, seconds: float, gate: Gate | None) -> None:
    for _ in range(yields):
        await asyncio.sleep(0)
    if seconds:
        await asyncio.sleep(seconds)
    if gate is not None:
        await gate.passed()


#: Done at once.
FINE: Final = Act()


def down() -> EventLogError:
    """What a log says that cannot do its work now."""
    return EventLogError("the log is down")


def lost() -> LeaseLost:
    """What a log says of a run that is another's."""
    return LeaseLost("another's by now")


def fails(error: Callable[[], BaseException] = down, seconds: float = 0.0) -> Act:
    """It raises, and nothing happened."""
    return Act(seconds=seconds, error=error)


def takes(seconds: float, after: float = 0.0) -> Act:
    """It takes a while before the work is done, and after."""
    return Act(seconds=seconds, seconds_after=after)


def loses(error: Callable[[], BaseException] = down, seconds: float = 0.0) -> Act:
    """The work is done, and its answer lost."""
    return Act(seconds_after=seconds, error_after=error)


def hangs() -> Act:
    """It never answers, and nothing happens."""
    return Act(hangs=True)


def waits_for(gate: Gate, *, answer_alone: bool = False) -> Act:
    """It waits at a gate, with its work or with its answer alone."""
    return Act(gate_after=gate) if answer_alone else Act(gate=gate)


@final
class TroubledLog:
    """An `EventLog` over a `MemoryEventLog`, whose next calls go as it was told.

    Args:
        usual: what becomes of the calls for which nothing is planned.
        is_prompt: whether an append that takes no time is done when it returns, as a memory
            log's; what it is to raise it then raises at once.
        inner: the log that does the work.

    Attributes:
        inner: the log that does the work.
        calls: how often each method was called.
        appends: the run and the numbers of the events of each append that was tried.
        faults: what the callers did that they may not do.
    """

    def __init__(
        self, usual: Act = FINE, *, is_prompt: bool = False, inner: MemoryEventLog | None = None
    ) -> None:
        self.inner = inner or MemoryEventLog()
        self.calls = Counter[str]()
        self.appends: list[tuple[str, tuple[int, ...]]] = []
        self.faults: list[str] = []
        self.usual = usual
        self._is_prompt = is_prompt
        self._usual: dict[str, Act] = {}
        self._planned: dict[str, list[Act]] = {}
        self._appending = Counter[str]()

    def plan(self, method: str, *acts: Act) -> None:
        """What becomes of the next calls of one method, in their order."""
        self._planned.setdefault(method, []).extend(acts)

    def always(self, method: str, act: Act) -> None:
        """What becomes of the calls of one method from now on, where nothing is planned."""
        self._usual[method] = act

    def _next(self, method: str) -> Act:
        self.calls[method] += 1
        planned = self._planned.get(method)
        return planned.pop(0) if planned else self._usual.get(method, self.usual)

    async def _do(self, method: str, work: Callable[[], Awaitable[T]]) -> T:
        act = self._next(method)
        await act.before()
        done = await work()
        await act.after()
        return done

    # What takes its time.

    async def claim(
        self,
        lease: Lease,
        *,
        thread_id: str,
        message_id: str,
        digest: str,
        owner: str,
        lease_seconds: float,
    ) -> RunRecord:
        return await self._do(
            "claim",
            lambda: self.inner.claim(
                lease,
                thread_id=thread_id,
                message_id=message_id,
                digest=digest,
                owner=owner,
                lease_seconds=lease_seconds,
            ),
        )

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return await self._do("find_claim", lambda: self.inner.find_claim(user_id, message_id))

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        self.appends.append((lease.run_id, tuple(event.seq for event in events)))
        act = self._next("append")
        if not self._is_prompt or act.yields or act.seconds or act.gate or act.hangs:
            return self._append(act, lease, events)
        if act.error is not None:
            raise act.error()
        appended = self.inner.append(lease, events)
        if act.error_after is not None:
            raise act.error_after()
        return appended

    async def _append(self, act: Act, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if self._appending[lease.run_id]:
            self.faults.append(f"two appends at once to {lease.run_id}")
        self._appending[lease.run_id] += 1
        try:
            await act.before()
            await self.inner.append(lease, events)
            await act.after()
        finally:
            self._appending[lease.run_id] -= 1

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return await self._do(
            "read", lambda: self.inner.read(user_id, run_id, after=after, limit=limit)
        )

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return await self._do("find_run", lambda: self.inner.find_run(user_id, run_id))

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        return await self._do(
            "runs", lambda: self.inner.runs(user_id, thread_id, limit=limit, unended=unended)
        )

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await self._do("notify", lambda: self.inner.notify(user_id, run_id, notice))

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        return await self._do("renew", lambda: self.inner.renew(leases, lease_seconds))

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return await self._do(
            "take_expired", lambda: self.inner.take_expired(owner, lease_seconds, limit=limit)
        )

    async def forget(self, user_id: str) -> None:
        await self._do("forget", lambda: self.inner.forget(user_id))

    # What does not.

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        return self.inner.follow(user_id, run_id, wake)

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        return self.inner.follow_notices(owner, tell)

    async def aclose(self) -> None:
        await self.inner.aclose()


@asynccontextmanager
async def site_on(
    log: TroubledLog,
    agent: Callable[[Run], Awaitable[object]] = worker,
    *,
    is_kept: bool = True,
    **options: Any,
) -> AsyncGenerator[Site, None]:
    """A `Site` over a log in trouble, which at its end is to have misused the log nowhere.

    Args:
        log: the endpoint's.
        agent: the agent.
        is_kept: whether the log has each run's terminal event in the end.
        options: the endpoint's.
    """
    site = Site(agent, log=log, **options)
    if is_kept:
        site.log = log.inner
    async with site:
        yield site
    assert not log.faults
    assert not site.endpoint.users()


def appended(log: TroubledLog, run_id: str) -> list[tuple[int, ...]]:
    """The numbers of the events of each append to one run that was tried."""
    return [seqs for name, seqs in log.appends if name == run_id]
