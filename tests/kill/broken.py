"""Logs with one fault each, which the sweep is to find."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from agent_messaging import (
    EventLog,
    EventPage,
    Lease,
    LoggedEvent,
    MessageType,
    RunRecord,
    TakenRun,
)
from kill.logs import TERMINAL, PassingLog


class SendsBeforeItAppends(PassingLog):
    """Shows events at once, and writes them when the run has ended."""

    def __init__(self, inner: EventLog) -> None:
        super().__init__(inner)
        self.shown: dict[tuple[str, str], list[LoggedEvent]] = {}
        self.wakes: dict[tuple[str, str], list[Callable[[int], None]]] = {}

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        key = lease.user_id, lease.run_id
        shown = [*self.shown.get(key, ()), *events]
        if events[-1].type in TERMINAL:
            await self.inner.append(lease, shown)
            self.shown.pop(key, None)
        else:
            self.shown[key] = shown
        for wake in self.wakes.get(key, ()):
            wake(events[-1].seq)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        shown = self.shown.get((user_id, run_id))
        if shown is None:
            return await super().read(user_id, run_id, after=after, limit=limit)
        return EventPage(shown[after : after + limit], 1, len(shown), "running")

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        self.wakes.setdefault((user_id, run_id), []).append(wake)
        return super().follow(user_id, run_id, wake)


class ClaimsBeforeItCommits(PassingLog):
    """Acknowledges a claim at once, and writes it with the first event."""

    def __init__(self, inner: EventLog) -> None:
        super().__init__(inner)
        self.claims: dict[Lease, dict[str, Any]] = {}

    async def claim(self, lease: Lease, **claim: Any) -> RunRecord:
        found = await self.find_claim(lease.user_id, claim["message_id"])
        if found is not None:
            return found
        self.claims[lease] = claim
        return RunRecord(
            run_id=lease.run_id,
            thread_id=claim["thread_id"],
            message_id=claim["message_id"],
            digest=claim["digest"],
            status="queued",
            first_seq=1,
            last_seq=0,
        )

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        claim = self.claims.pop(lease, None)
        if claim is not None:
            await self.inner.claim(lease, **claim)
        await self.inner.append(lease, events)


class EndsBeforeItCommits(PassingLog):
    """Acknowledges a run's end at once, and writes it a little later."""

    def __init__(self, inner: EventLog) -> None:
        super().__init__(inner)
        self.writing: set[asyncio.Task[None]] = set()

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if events[-1].type in TERMINAL:
            self.writing.add(asyncio.create_task(self.append_later(lease, events)))
        else:
            await self.inner.append(lease, events)

    async def append_later(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await asyncio.sleep(0.5)
        await self.inner.append(lease, events)


class ClaimsWithoutLooking(PassingLog):
    """Makes a run for each claim, whether the message has one or not."""

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return None

    async def claim(self, lease: Lease, **claim: Any) -> RunRecord:
        message_id: str = claim.pop("message_id")
        record = await self.inner.claim(lease, message_id=f"{message_id} {lease.run_id}", **claim)
        return replace(record, message_id=message_id)


class NeverRecovers(PassingLog):
    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return ()


class _Taking(PassingLog):
    """Knows the leases of the runs that it has taken over."""

    def __init__(self, inner: EventLog) -> None:
        super().__init__(inner)
        self.taken: set[Lease] = set()

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        taken = await super().take_expired(owner, lease_seconds, limit=limit)
        self.taken.update(run.lease for run in taken)
        return taken


class RecoversTwice(_Taking):
    """Opens a run again once it has recovered it, and ends it once more."""

    def __init__(self, inner: EventLog, path: str) -> None:
        super().__init__(inner)
        self.path = path

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await self.inner.append(lease, events)
        if lease in self.taken:
            with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
                connection.execute(
                    "UPDATE runs SET ended_at = NULL, last_type = NULL, last_seq = NULL, held = 0"
                    " WHERE run_id = ?",
                    (lease.run_id,),
                )
            await self.inner.append(lease, [events[-1]._replace(seq=events[-1].seq + 1)])


class LeavesToolsOpen(_Taking):
    """Says something else in a recovered run instead of completing its tools."""

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if lease in self.taken:
            kind, payload = MessageType.AGENT_THINKING, '{"text":"recovering"}'
            said = [event._replace(type=kind, payload=payload) for event in events[:-1]]
            events = [*said, events[-1]]
        await self.inner.append(lease, events)


class SkipsAnEvent(PassingLog):
    """Leaves out the first of several events that are read at once."""

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        page = await super().read(user_id, run_id, after=after, limit=limit)
        if page is None or len(page.events) < 2:
            return page
        return page._replace(events=page.events[1:])


#: What is between the host's endpoint and its file, by name.
VARIANTS: Final[Mapping[str, Callable[[EventLog, str], EventLog]]] = {
    "sound": lambda inner, _: inner,
    "sends before it appends": lambda inner, _: SendsBeforeItAppends(inner),
    "claims before it commits": lambda inner, _: ClaimsBeforeItCommits(inner),
    "ends before it commits": lambda inner, _: EndsBeforeItCommits(inner),
    "claims without looking": lambda inner, _: ClaimsWithoutLooking(inner),
    "never recovers": lambda inner, _: NeverRecovers(inner),
    "recovers twice": RecoversTwice,
    "leaves tools open": lambda inner, _: LeavesToolsOpen(inner),
    "skips an event": lambda inner, _: SkipsAnEvent(inner),
}
