"""Logs that take runs from those who have them, or leave them to those who are gone."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from agent_messaging import Lease, LeaseLost, LoggedEvent, RunRecord, TakenRun
from support.broken_logs.base import BrokenLog, Claim, Settings


class HandsOverAnOldRecord(BrokenLog):
    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        taken = await super().take_expired(owner, lease_seconds, limit=limit)
        return [TakenRun(lease, replace(record, last_seq=0)) for lease, record in taken]


class LetsTheTakerStartOver(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.begun: set[Lease] = set()

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        is_taker = lease in self.lost.values()
        if is_taker and lease not in self.begun and await self.last_seq(lease) > 0:
            raise LeaseLost("the taker is to start at 1")
        self.begun.add(lease)
        await self.log.append(lease, events)


class LetsTheOldOwnerGoOn(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if await self.last_seq(lease) > 0:
            lease = self.lost.get(lease, lease)
        await self.log.append(lease, events)


class _Deadlines(BrokenLog):
    """Knows when leases end."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.deadlines: dict[Lease, float] = {}

    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        self.deadlines.setdefault(lease, self.clock() + claim.lease_seconds)
        return await super().make(lease, claim)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        for lease in leases:
            self.deadlines[lease] = self.clock() + lease_seconds
        return await self.log.renew(leases, lease_seconds)


class TakesWhatIsAboutToExpire(_Deadlines):
    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        now = self.clock()
        if any(deadline <= now for deadline in self.deadlines.values()):
            due = [lease for lease, at in self.deadlines.items() if now < at <= now + 15]
            await self.log.renew(due, 0)
        return await super().take_expired(owner, lease_seconds, limit=limit)


class RefusesAnExpiredLease(_Deadlines):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if self.deadlines.get(lease, self.clock()) < self.clock():
            raise LeaseLost("expired")
        await self.log.append(lease, events)


class TakesWhatHasEnded(_Deadlines):
    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        taken = list(await super().take_expired(owner, lease_seconds, limit=limit))
        for lease, deadline in self.deadlines.items():
            record = await self.log.find_run(lease.user_id, lease.run_id)
            is_due = deadline <= self.clock() and lease not in self.lost
            if is_due and record is not None and record.is_ended:
                taken.append(TakenRun(lease, record))
        return taken


class GivesARunToASecondTaker(BrokenLog):
    due: Sequence[TakenRun] | None = None

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        if self.due is not None:
            return self.due
        self.due = await super().take_expired(owner, lease_seconds, limit=limit)
        try:
            await asyncio.sleep(0)
            return self.due
        finally:
            self.due = None


class TakesAll(BrokenLog):
    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return await super().take_expired(owner, lease_seconds, limit=1000)


class GivesTheFirstTakersTokenAgain(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.tokens: dict[str, str] = {}
        self.meant: dict[Lease, Lease] = {}

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        given: list[TakenRun] = []
        for lease, record in await super().take_expired(owner, lease_seconds, limit=limit):
            token = self.tokens.setdefault(lease.run_id, lease.token)
            self.meant[lease._replace(token=token)] = lease
            given.append(TakenRun(lease._replace(token=token), record))
        return given

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await self.log.append(self.meant.get(lease, lease), events)


class RenewsTwiceAtMost(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.renewed: list[Lease] = []

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        self.renewed.extend(leases)
        good = [lease for lease in leases if self.renewed.count(lease) <= 2]
        return await self.log.renew(good, lease_seconds)


class NeverShortensALease(_Deadlines):
    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        lost: list[Lease] = []
        for lease in leases:
            left = self.deadlines.get(lease, 0.0) - self.clock()
            lost += await super().renew([lease], max(left, lease_seconds))
        return lost


class HidesWhatWasLost(BrokenLog):
    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        lost = await self.log.renew(leases, lease_seconds)
        return [lease for lease in lost if await self.last_seq(lease) < 0]


class RenewsForTheTaker(BrokenLog):
    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        lost = await self.log.renew(leases, lease_seconds)
        await self.log.renew(
            [self.lost[lease] for lease in lost if lease in self.lost], lease_seconds
        )
        return lost


class GivesARunBackToWhoClaimsItAgain(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.again: set[Lease] = set()

    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        self.again.add(lease)
        if lease not in self.lost:
            self.again.discard(lease)
        return await super().make(lease, claim)

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await self.log.append(self.lost[lease] if lease in self.again else lease, events)
