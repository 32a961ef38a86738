"""Logs that do things by halves when they are cancelled, or go on when they are closed."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from agent_messaging import (
    EventLogError,
    EventPage,
    Lease,
    LoggedEvent,
    Notice,
    RunRecord,
    TakenRun,
)
from support.broken_logs.base import BrokenLog, Claim, Settings, Wake

# Cancellation.


class _Locked(BrokenLog):
    """Locks, and unlocks unless it is cancelled in between."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.lock = asyncio.Lock()

    async def enter(self) -> None:
        """Lock."""
        await self.lock.acquire()
        await asyncio.sleep(0)


class ClaimsBehindALock(_Locked):
    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        await self.enter()
        record = await super().make(lease, claim)
        self.lock.release()
        return record


class ReadsBehindALock(_Locked):
    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        await self.enter()
        page = await self.log.read(user_id, run_id, after=after, limit=limit)
        self.lock.release()
        return page


class RenewsBehindALock(_Locked):
    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        await self.enter()
        lost = await self.log.renew(leases, lease_seconds)
        self.lock.release()
        return lost


class StopsBehindALock(_Locked):
    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        await self.enter()
        is_known = await self.log.notify(user_id, run_id, notice)
        self.lock.release()
        return is_known


class RenewsThoughItIsCancelled(BrokenLog):
    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return await self.log.renew(leases, lease_seconds)


class AppendsByHalves(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if len(events) >= 4 and events[0].seq == await self.last_seq(lease) + 1:
            await self.log.append(lease, events[:2])
            await asyncio.sleep(0)
            await self.log.append(lease, events[2:])
        else:
            await self.log.append(lease, events)


class LosesWhatItWasToHandOver(BrokenLog):
    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        taken = await super().take_expired(owner, 1e9, limit=limit)
        await asyncio.sleep(0)
        await self.log.renew([lease for lease, _ in taken], lease_seconds)
        return taken


class ForgetsByHalves(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.hidden: set[str] = set()

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        found = await self.log.find_claim(user_id, message_id)
        return None if user_id in self.hidden else found

    async def forget(self, user_id: str) -> None:
        self.hidden.add(user_id)
        await asyncio.sleep(0)
        await self.log.forget(user_id)
        self.hidden.discard(user_id)


# Closing.


class FindsRunsWhenClosed(BrokenLog):
    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        try:
            return await self.log.find_run(user_id, run_id)
        except EventLogError:
            return None


class _Counting(BrokenLog):
    """Counts how often it is closed."""

    closings = 0

    async def aclose(self) -> None:
        await self.log.aclose()
        self.closings += 1


class StumblesOverClosingAgain(_Counting):
    async def aclose(self) -> None:
        await super().aclose()
        if self.closings > 2:
            raise RuntimeError("closed before")


class StumblesOverClosingWhatWasNotUsed(_Counting):
    async def aclose(self) -> None:
        await super().aclose()
        if not self.leases:
            raise RuntimeError("never opened")


class StumblesOverLeavingWhenClosed(_Counting):
    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        unfollow = self.log.follow(user_id, run_id, wake)

        def leave() -> None:
            if self.closings:
                raise RuntimeError("closed")
            unfollow()

        return leave
