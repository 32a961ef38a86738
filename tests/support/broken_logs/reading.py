"""Logs that keep or show events wrongly, or let go of them without a word."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from agent_messaging import EventPage, Lease, LeaseLost, LoggedEvent, RunRecord
from support.broken_logs.base import BrokenLog, Settings


class Reorders(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        events = list(page.events)
        for at in range(len(events) - 1):
            if events[at].seq == 50:
                events[at : at + 2] = [events[at + 1], events[at]]
        return page._replace(events=events)


class DropsOne(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        return page._replace(events=[event for event in page.events if event.seq != 50])


class DuplicatesOne(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        events = [event for event in page.events for _ in range(1 + (event.seq == 50))]
        return page._replace(events=events)


class RoundsTimes(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        events = [event._replace(timestamp=round(event.timestamp, 3)) for event in page.events]
        return page._replace(events=events)


class EmptiesTheMiddleOfABatch(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if len(events) == 3 and await self.last_seq(lease) == 0:
            events = [events[0], events[1]._replace(payload="{}"), events[2]]
        await self.log.append(lease, events)


class RefusesAnEmptyBatch(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if not events:
            raise LeaseLost("there is nothing to append")
        await self.log.append(lease, events)


class ReadsBeyondTheLimit(BrokenLog):
    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return await self.log.read(user_id, run_id, after=after, limit=limit + 1)


class TakesCancelledForCompleted(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        return page._replace(status="completed") if page.status == "cancelled" else page


class KnowsTheLastEventLate(BrokenLog):
    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        record = await self.log.find_run(user_id, run_id)
        if record is not None and record.last_seq == 3:
            return replace(record, last_seq=2)
        return record


class GoesOnFillingItsPages(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.filled: dict[tuple[str, str], list[LoggedEvent]] = {}

    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        events = self.filled[user_id, run_id] = list(page.events)
        return page._replace(events=events)

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await self.log.append(lease, events)
        if (lease.user_id, lease.run_id) in self.filled:
            self.filled[lease.user_id, lease.run_id].extend(events)


class ListsTheNewestRunFirst(BrokenLog):
    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        runs = await self.log.runs(user_id, thread_id, limit=limit, unended=unended)
        return runs if unended else runs[::-1]


class LooksAtTheNewestAlone(BrokenLog):
    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        runs = await self.log.runs(user_id, thread_id, limit=limit)
        return [run for run in runs if not (unended and run.is_ended)]


class StumblesOverAnUnknownRun(BrokenLog):
    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        known = {user for user, _ in self.leases}
        if user_id in known and not any(run == run_id for _, run in self.leases):
            raise KeyError(run_id)
        return await self.log.read(user_id, run_id, after=after, limit=limit)


class MixesUpAppends(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        self.work = lease, events
        await asyncio.sleep(0)
        lease, events = self.work
        await self.log.append(lease, events)


# Eviction.


class EvictsDishonestly(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        return page._replace(first_seq=1)


class EvictsFromTheMiddle(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        if page.first_seq == 1 or len(page.events) < 3:
            return page
        return page._replace(events=[page.events[0], *page.events[2:]])


class EmptiesWhatItIsToEvict(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        if page.first_seq == 1 or not page.events:
            return page
        return page._replace(events=[page.events[0]._replace(payload="{}"), *page.events[1:]])


class EvictsTheStatus(BrokenLog):
    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        return page._replace(status="running") if page.first_seq > page.last_seq > 0 else page


class EvictsClaimsWithTheirEvents(BrokenLog):
    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        record = await self.log.find_claim(user_id, message_id)
        if record is not None and record.first_seq > record.last_seq > 0:
            return None
        return record


class ForgetsToComparePastAnEviction(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        record = await self.log.find_run(lease.user_id, lease.run_id)
        if record is not None and record.first_seq > 1 and events[0].seq <= record.last_seq:
            raise LeaseLost("appended before")
        await self.log.append(lease, events)
