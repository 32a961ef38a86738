"""Logs that give a message to several runs, or a run to several owners."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from agent_messaging import Lease, LeaseLost, LoggedEvent, RunRecord
from support.broken_logs.base import BrokenLog, Claim, Settings

# Claims.


class SaysThatANewRunIsRunning(BrokenLog):
    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        record = await super().make(lease, claim)
        return replace(record, status="running") if record.status == "queued" else record


class TakesTheLaterDigest(BrokenLog):
    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        return replace(await super().make(lease, claim), digest=claim.digest)


class LetsTheLoserAppend(BrokenLog):
    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        record = await super().make(lease, claim)
        if record.run_id != lease.run_id:
            self.lost[lease] = self.leases[lease.user_id, record.run_id]
        return record

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        winner = self.lost.get(lease, lease)
        await self.log.append(winner if winner.run_id != lease.run_id else lease, events)


class SwallowsWhatTheLoserAppends(LetsTheLoserAppend):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if self.lost.get(lease, lease).run_id == lease.run_id:
            await self.log.append(lease, events)


class ClaimsTwice(BrokenLog):
    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        found = await self.log.find_claim(lease.user_id, claim.message_id)
        await asyncio.sleep(0)
        record = await super().make(lease, claim)
        return record if found is not None else replace(record, run_id=lease.run_id)


class AnswersARetryAsTheFirstTime(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.made: dict[tuple[Lease, str], RunRecord] = {}

    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        record = await super().make(lease, claim)
        return self.made.setdefault((lease, claim.message_id), record)


class FindsClaimsUnderWayForEver(BrokenLog):
    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        record = await self.log.find_claim(user_id, message_id)
        return replace(record, status="running") if record and record.is_ended else record


class KeepsClaimsForAnHour(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # The good log refuses to be asked for that.
        self.log._claim_seconds = 3600  # pyright: ignore[reportPrivateUsage]


# Fencing.


class AcceptsAWrongToken(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if lease not in self.lost.values():
            lease = self.leases.get((lease.user_id, lease.run_id), lease)
        await self.log.append(lease, events)


class SwallowsEventsOfUnknownRuns(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        is_known = any(run == lease.run_id for _, run in self.leases)
        # A loser's run is unknown too, but so is its token.
        if is_known or all(lease.token != known.token for known in self.leases.values()):
            await self.log.append(lease, events)


class SwallowsEventsAfterTheEnd(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        record = await self.log.find_run(lease.user_id, lease.run_id)
        last_seq = record.last_seq if record is not None and record.is_ended else None
        if last_seq is None or not events or events[0].seq <= last_seq:
            await self.log.append(lease, events)


class ClosesGaps(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        last = await self.last_seq(lease)
        if last in {0, 1} and [event.seq for event in events] == [last + 2]:
            events = [events[0]._replace(seq=last + 1)]
        await self.log.append(lease, events)


class ComparesOnlyTheNumberOfARetry(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if [event.seq for event in events] != [await self.last_seq(lease)]:
            await self.log.append(lease, events)


class TakesEarlierEventsForARetry(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if not events or events[-1].seq >= await self.last_seq(lease):
            await self.log.append(lease, events)


class RefusesARetry(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if 1 < len(events) < 4 and events[-1].seq == await self.last_seq(lease):
            raise LeaseLost("appended before")
        await self.log.append(lease, events)


class TakesOnlyTheLastBatchForARetry(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.batches: dict[str, Sequence[LoggedEvent]] = {}

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        is_retry = bool(events) and events[-1].seq == await self.last_seq(lease)
        if is_retry and events != self.batches.get(lease.run_id, events):
            raise LeaseLost("not what came last")
        await self.log.append(lease, events)
        if events:
            self.batches[lease.run_id] = events


class AppendsUpToWhatItRefuses(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if events and events[0].seq == await self.last_seq(lease) + 1:
            for event in events:
                await self.log.append(lease, [event])
        else:
            await self.log.append(lease, events)


class ShutsOutWhomItRefusedTwice(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.refusals: list[str] = []

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        try:
            if self.refusals.count(lease.run_id) > 1:
                raise LeaseLost("refused before")
            await self.log.append(lease, events)
        except LeaseLost:
            self.refusals.append(lease.run_id)
            raise
