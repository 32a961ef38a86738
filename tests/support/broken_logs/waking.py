"""Logs that wake or tell the wrong ones, or nobody."""

import asyncio
from collections.abc import Callable, Sequence

from agent_messaging import Lease, LoggedEvent, Notice, RunRecord, TakenRun
from support.broken_logs.base import BrokenLog, Claim, Settings, Wake, nothing

# Followers.


class ForgetsAWakeUp(BrokenLog):
    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        return self.log.follow(user_id, run_id, lambda seq: wake(seq) if seq != 3 else None)


class WakesForSingleEventsAlone(BrokenLog):
    is_batch = False

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        self.is_batch = len(events) > 1
        await self.log.append(lease, events)

    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        return self.log.follow(user_id, run_id, lambda seq: None if self.is_batch else wake(seq))


class _Wakes(BrokenLog):
    """Wakes followers itself; how, the fault says."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.followers: dict[tuple[str, str], list[Wake]] = {}
        self.is_waking = False

    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        # The good log is asked too: it knows when it is closed, and what was forgotten.
        unfollow = self.log.follow(user_id, run_id, lambda seq: None if seq else wake(0))
        followers = self.followers.setdefault((user_id, run_id), [])
        followers.append(wake)

        def leave() -> None:
            unfollow()
            self.leave(followers, wake)

        return leave

    def leave(self, followers: list[Wake], wake: Wake) -> None:
        """What leaving does."""
        if wake in followers:
            followers.remove(wake)

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await self.log.append(lease, events)
        self.is_waking = True
        self.wake(self.followers.get((lease.user_id, lease.run_id), []), await self.last_seq(lease))
        self.is_waking = False

    def wake(self, followers: list[Wake], seq: int) -> None:
        """Wake those who are followers still."""
        for wake in tuple(followers):
            if wake in followers:
                wake(seq)


class WakesTheFirstAlone(_Wakes):
    def wake(self, followers: list[Wake], seq: int) -> None:
        super().wake(followers[:1], seq)


class KeepsFollowersForEver(_Wakes):
    def leave(self, followers: list[Wake], wake: Wake) -> None:
        if self.is_waking:
            super().leave(followers, wake)


class WakesWhoHasJustLeft(_Wakes):
    def wake(self, followers: list[Wake], seq: int) -> None:
        for wake in tuple(followers):
            wake(seq)


class SaysNothingOfForgottenRuns(BrokenLog):
    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        return self.log.follow(user_id, run_id, lambda seq: wake(seq) if seq else None)


class WakesInAThreadWhenARunIsForgotten(BrokenLog):
    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def woken(seq: int) -> None:
            if seq:
                wake(seq)
            else:
                loop.run_in_executor(None, wake, seq)

        return self.log.follow(user_id, run_id, woken)


class WakesReadersInAThread(BrokenLog):
    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def woken(seq: int) -> None:
            if run_id.startswith("run "):
                loop.run_in_executor(None, wake, seq)
            else:
                wake(seq)

        return self.log.follow(user_id, run_id, woken)


class StumblesOverFollowersOfNothing(BrokenLog):
    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        unfollow = self.log.follow(user_id, run_id, wake)
        if (user_id, run_id) not in self.leases:
            raise KeyError(run_id)
        return unfollow


class WakesFromTheNextTurnOn(BrokenLog):
    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        self.log.follow(user_id, run_id, wake)()
        unfollows: list[Callable[[], None]] = []
        loop = asyncio.get_running_loop()
        later = loop.call_soon(lambda: unfollows.append(self.log.follow(user_id, run_id, wake)))

        def unfollow() -> None:
            later.cancel()
            for undo in unfollows:
                undo()

        return unfollow


# Notices.


class _Tells(BrokenLog):
    """Tells owners itself; whom, the fault says."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.listeners: list[tuple[str, Callable[[str, str, Notice], None]]] = []
        self.owners: dict[tuple[str, str], str] = {}

    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        record = await super().make(lease, claim)
        self.owners.setdefault((lease.user_id, record.run_id), claim.owner)
        return record

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        taken = await super().take_expired(owner, lease_seconds, limit=limit)
        for lease, _ in taken:
            self.take(owner, (lease.user_id, lease.run_id))
        return taken

    def take(self, owner: str, run: tuple[str, str]) -> None:
        """Put the taker in the owner's place."""
        self.owners[run] = owner

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        self.log.follow_notices(owner, tell)()
        listener = owner, tell
        self.listeners.append(listener)

        def unfollow() -> None:
            if listener in self.listeners:
                self.listeners.remove(listener)

        return unfollow

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        if not await self.log.notify(user_id, run_id, notice):
            return False
        for tell in self.told(user_id, run_id):
            tell(user_id, run_id, notice)
        return True

    def told(self, user_id: str, run_id: str) -> list[Callable[[str, str, Notice], None]]:
        """Who is told."""
        return [tell for owner, tell in self.listeners if owner == self.owners[user_id, run_id]]


class StopsWhatHasNotStartedAlone(_Tells):
    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        record = await self.log.find_run(user_id, run_id)
        if record is not None and record.status == "running":
            return True
        return await super().notify(user_id, run_id, notice)


class TellsOfStopsAlone(_Tells):
    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await super().notify(user_id, run_id, "stop")


class TellsOfWatchersInAThread(BrokenLog):
    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def told(user_id: str, run_id: str, notice: Notice) -> None:
            if notice == "watched":
                loop.run_in_executor(None, tell, user_id, run_id, notice)
            else:
                tell(user_id, run_id, notice)

        return self.log.follow_notices(owner, told)


class TellsEveryOwner(_Tells):
    def told(self, user_id: str, run_id: str) -> list[Callable[[str, str, Notice], None]]:
        if self.lost:
            return super().told(user_id, run_id)
        return [tell for _, tell in self.listeners]


class DeniesRunsWithNobodyToTell(_Tells):
    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await super().notify(user_id, run_id, notice) and bool(self.told(user_id, run_id))


class AdmitsAnotherUsersRun(BrokenLog):
    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        known = await self.log.notify(user_id, run_id, notice)
        return known or bool(self.others(user_id, run_id))


class StopsWhatHasEnded(BrokenLog):
    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        known = await self.log.notify(user_id, run_id, notice)
        return known or await self.log.find_run(user_id, run_id) is not None


class KeepsTelling(BrokenLog):
    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        self.log.follow_notices(owner, tell)
        return nothing


class TellsTheOldOwner(_Tells):
    def take(self, owner: str, run: tuple[str, str]) -> None:
        pass
