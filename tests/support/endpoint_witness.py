"""What a log was told, noted by whoever stands in front of it; and a log that takes its time."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from agent_messaging import (
    EventLogError,
    EventPage,
    Lease,
    LoggedEvent,
    MemoryEventLog,
    Notice,
    RunRecord,
    TakenRun,
)
from support.frames import Json
from support.loop import TICK
from support.recount import TERMINAL
from support.scheduling import Pauses

T = TypeVar("T")

#: How often a log in trouble raises, before or after it did what it was asked for.
_TROUBLE: Final = 0.1


class History:
    """One claimed run: its events in their order, and what is wrong with that order."""

    def __init__(self, lease: Lease, thread_id: str, message_id: str) -> None:
        self.user_id: Final = lease.user_id
        self.run_id: Final = lease.run_id
        self.thread_id: Final = thread_id
        self.message_id: Final = message_id
        self.events: list[LoggedEvent] = []
        self.faults: list[str] = []
        self.is_started = False
        self.is_ended = False
        self._opened: set[str] = set()
        self._open: set[str] = set()

    @property
    def status(self) -> str:
        """Where the run is, as a log has to tell it."""
        last = self.events[-1].type.value if self.events else "agent_queued"
        return last.removeprefix("agent_") if last in (*TERMINAL, "agent_queued") else "running"

    @property
    def reason(self) -> str | None:
        """Why it was cancelled, if it was."""
        reason: str | None = self.payload(len(self.events)).get("reason") if self.events else None
        return reason if self.status == "cancelled" else None

    def payload(self, seq: int) -> Json:
        """The payload of one event."""
        payload: Json = json.loads(self.events[seq - 1].payload)
        return payload

    def add(self, event: LoggedEvent) -> None:
        """One more event: ``seq`` 1..n, one start, one end, tools paired, nothing after the end."""
        kind, payload = event.type.value, json.loads(event.payload)
        if event.seq != len(self.events) + 1:
            self.faults.append(f"event {event.seq} came as number {len(self.events) + 1}")
        if self.is_ended:
            self.faults.append(f"{kind} after the end")
        if kind == "agent_queued":
            self._see(not self.events, "a run was queued that had begun")
        elif kind == "agent_started":
            self._see(not self.is_started, "a second start")
            self.is_started = True
        elif kind in TERMINAL:
            self._see(self.is_started or bool(self.events), "an end without a beginning")
            self._see(not self._open, f"an end while {self._open} are open")
            self.is_ended = True
        else:
            self._see(self.is_started, f"{kind} before the start")
        if kind == "tool_executing":
            self._see(payload["tool_call_id"] not in self._opened, "a tool call's id came twice")
            self._opened.add(payload["tool_call_id"])
            self._open.add(payload["tool_call_id"])
        elif kind == "tool_completed":
            self._see(payload["tool_call_id"] in self._open, "the end of a call that is not open")
            self._open.discard(payload["tool_call_id"])
        self.events.append(event)

    def _see(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


class Witness:
    """An event log over one in memory, that notes each claim and each append.

    Args:
        inner: what keeps the events.
        randomness: makes it take its time over everything; None for a log that is done at once.
        is_troubled: whether it also raises now and then, for a log that takes its time.

    Attributes:
        histories: what became of each run that was claimed, by user and run id, oldest first.
        claims: the same by user and message id.
        active: for each user, those that have not ended, oldest first.
        faults: in words, what no log may be asked to keep.
        heard: called with each event once it is noted.
    """

    def __init__(
        self,
        inner: MemoryEventLog,
        randomness: random.Random | None = None,
        *,
        is_troubled: bool = False,
    ) -> None:
        self.inner: Final = inner
        self.is_prompt: Final = randomness is None
        self.histories: dict[tuple[str, str], History] = {}
        self.claims: dict[tuple[str, str], History] = {}
        self.active: dict[str, dict[str, History]] = {}
        self.faults: list[str] = []
        self.heard: Callable[[History, LoggedEvent], None] = lambda history, event: None
        self._randomness = randomness or random.Random(0)
        self._pause = Pauses(self._randomness)
        self._is_troubled = is_troubled
        self._appending: set[str] = set()
        self._dropped: set[tuple[str, str]] = set()

    def first_seq(self, history: History) -> int:
        """The first event that is still held of a run, or the next one if there is none."""
        asked = self.inner.find_run(history.user_id, history.run_id)
        try:
            asked.send(None)
        except StopIteration as answer:
            record: RunRecord | None = answer.value
            return 1 if record is None else record.first_seq
        raise AssertionError("a log in memory is done at once")

    def held(self, user_id: str) -> int:
        """How many events of a user are still held."""
        runs = [run for (owner, _), run in self.histories.items() if owner == user_id]
        return sum(len(run.events) + 1 - self.first_seq(run) for run in runs)

    # Claims.

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
        async def claimed() -> RunRecord:
            record = await self.inner.claim(
                lease,
                thread_id=thread_id,
                message_id=message_id,
                digest=digest,
                owner=owner,
                lease_seconds=lease_seconds,
            )
            if (
                record.run_id == lease.run_id
                and (lease.user_id, lease.run_id) not in self.histories
            ):
                self._note_claim(History(lease, thread_id, message_id))
            return record

        return await self._take_time(claimed)

    def _note_claim(self, history: History) -> None:
        user_id, message_id = history.user_id, history.message_id
        if (user_id, message_id) in self.claims:
            self.faults.append(f"{message_id} of {user_id} was accepted twice")
        self.histories[user_id, history.run_id] = history
        self.claims[user_id, message_id] = history
        self.active.setdefault(user_id, {})[history.run_id] = history

    @property
    def dropped(self) -> int:
        """How many runs were dropped with all that there was of their users."""
        return len(self._dropped)

    def has_dropped(self, user_id: str, run_id: str) -> bool:
        """Whether this run was dropped with all that there was of its user."""
        return (user_id, run_id) in self._dropped

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return await self._take_time(lambda: self.inner.find_claim(user_id, message_id))

    # Events.

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        if self.is_prompt:
            return self._append(lease, events)
        return self._append_in_time(lease, events)

    def _append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        history = self.histories.get((lease.user_id, lease.run_id))
        if history is None:
            if (lease.user_id, lease.run_id) not in self._dropped:
                self.faults.append(f"events came for {lease}, which nobody claimed")
            return self.inner.append(lease, events)
        # Noted before any reader is woken by it, who may be there at once. One owner's events
        # are never refused, and some that came before are a retry.
        new = [event for event in events if event.seq > len(history.events)]
        for event in new:
            history.add(event)
        if history.is_ended:
            self.active[history.user_id].pop(history.run_id, None)
        appended = self.inner.append(lease, events)
        for event in new:
            self.heard(history, event)
        return appended

    async def _append_in_time(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if lease.run_id in self._appending:
            self.faults.append("two appends to one run at once")
        self._appending.add(lease.run_id)
        try:
            await self._pause()
            self._stumble()
            await self._append(lease, events)
            await self._pause()
            self._stumble()
        finally:
            self._appending.discard(lease.run_id)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return await self._take_time(
            lambda: self.inner.read(user_id, run_id, after=after, limit=limit)
        )

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return await self._take_time(lambda: self.inner.find_run(user_id, run_id))

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        return await self._take_time(
            lambda: self.inner.runs(user_id, thread_id, limit=limit, unended=unended)
        )

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        if self.is_prompt:
            return self.inner.follow(user_id, run_id, wake)
        is_followed = True

        def tell(last_seq: int) -> None:
            if is_followed:
                wake(last_seq)

        def woken(last_seq: int) -> None:
            loop = asyncio.get_running_loop()
            match self._randomness.randint(0, 2):
                case 0:
                    wake(last_seq)
                case 1:
                    loop.call_soon(tell, last_seq)
                case _:
                    loop.call_later(self._randomness.randint(1, 3) * TICK, tell, last_seq)

        unfollow = self.inner.follow(user_id, run_id, woken)

        def end() -> None:
            nonlocal is_followed
            is_followed = False
            unfollow()

        return end

    # Stop requests and leases, and the end.

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await self._take_time(lambda: self.inner.notify(user_id, run_id, notice))

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        return self.inner.follow_notices(owner, tell)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        return await self._take_time(lambda: self.inner.renew(leases, lease_seconds))

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return await self._take_time(
            lambda: self.inner.take_expired(owner, lease_seconds, limit=limit)
        )

    async def forget(self, user_id: str) -> None:
        async def forgotten() -> None:
            await self.inner.forget(user_id)
            self.active.pop(user_id, None)
            for key in [key for key in self.histories if key[0] == user_id]:
                del self.histories[key]
                self._dropped.add(key)
            for key in [key for key in self.claims if key[0] == user_id]:
                del self.claims[key]

        await self._take_time(forgotten)

    async def aclose(self) -> None:
        await self.inner.aclose()

    # Its pace.

    async def _take_time(self, ask: Callable[[], Awaitable[T]]) -> T:
        if self.is_prompt:
            return await ask()
        await self._pause()
        self._stumble()
        answer = await ask()
        await self._pause()
        self._stumble()
        return answer

    def _stumble(self) -> None:
        if self._is_troubled and self._randomness.random() < _TROUBLE:
            raise EventLogError("not now")
