"""Logs that mix up users, or keep what is to be forgotten."""

from collections.abc import Callable, Sequence

from agent_messaging import EventPage, Lease, LoggedEvent, Notice, RunRecord
from support.broken_logs.base import BrokenLog, Claim, Settings, Wake

# Isolation.


class FindsRunsByTheirIdAlone(BrokenLog):
    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        if (user_id, run_id) in self.leases:
            user_id = next(user for user, run in self.leases if run == run_id)
        return await self.log.read(user_id, run_id, after=after, limit=limit)


class WakesForAnyUsersRun(BrokenLog):
    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        users = (user_id, *self.others(user_id, run_id))
        unfollows = [self.log.follow(user, run_id, wake) for user in users]

        def leave() -> None:
            for unfollow in unfollows:
                unfollow()

        return leave


class FindsClaimsByTheirMessageAlone(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.users: dict[str, str] = {}

    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        user_id = self.users.setdefault(claim.message_id, lease.user_id)
        return await super().make(lease._replace(user_id=user_id), claim)


class FindsThreadsByTheirIdAlone(BrokenLog):
    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        found: list[RunRecord] = []
        for user in {user_id} if unended else {user for user, _ in self.leases} | {user_id}:
            found += await self.log.runs(user, thread_id, limit=limit, unended=unended)
        return found


class LeaksAnotherUsersRun(BrokenLog):
    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        for user in (user_id, *self.others(user_id, run_id)):
            record = await self.log.find_run(user, run_id)
            if record is not None:
                return record
        return None


class ChecksTheTokenAndNotTheUser(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        for user in self.others(lease.user_id, lease.run_id):
            if self.leases[user, lease.run_id] == lease._replace(user_id=user):
                lease = lease._replace(user_id=user)
        await self.log.append(lease, events)


class JoinsIds(BrokenLog):
    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        for user, run in self.leases:
            if f"{user}:{run}" == f"{user_id}:{run_id}":
                return await self.log.find_run(user, run)
        return await self.log.find_run(user_id, run_id)


class KnowsOneAlphabet(BrokenLog):
    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        claim.message_id.encode("latin-1")
        return await super().make(lease, claim)


# Forgetting.


class KeepsForgottenRuns(BrokenLog):
    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        page = await self.log.read(user_id, run_id, after=after, limit=limit)
        if page is None and run_id == "under way" and (user_id, run_id) in self.leases:
            return EventPage([], 1, 0, "queued")
        return page


class KeepsForgottenClaims(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.claims: dict[tuple[str, str], RunRecord] = {}

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        found = await self.log.find_claim(user_id, message_id)
        return found or self.claims.get((user_id, message_id))

    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        record = await super().make(lease, claim)
        if lease.run_id == "under way":
            self.claims[lease.user_id, claim.message_id] = record
        return record


class _Forgotten(BrokenLog):
    """Knows whom it forgot."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.forgotten: set[str] = set()

    async def forget(self, user_id: str) -> None:
        await super().forget(user_id)
        self.forgotten.add(user_id)


class SwallowsEventsOfForgottenRuns(_Forgotten):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        if lease.user_id not in self.forgotten or await self.last_seq(lease) >= 0:
            await self.log.append(lease, events)


class StopsForgottenRuns(_Forgotten):
    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await self.log.notify(user_id, run_id, notice) or user_id in self.forgotten


class ForgetsOthersToo(BrokenLog):
    async def forget(self, user_id: str) -> None:
        for user, run in self.leases:
            record = await self.log.find_run(user, run)
            if record is not None and not record.is_ended:
                await self.log.forget(user)
        await self.log.forget(user_id)


class StumblesOverForgettingNobody(BrokenLog):
    async def forget(self, user_id: str) -> None:
        await self.log.forget(user_id)
        if all(user != user_id for user, _ in self.leases):
            raise KeyError(user_id)


class RemembersMessagesOfForgottenUsers(_Forgotten):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.messages: set[tuple[str, str]] = set()

    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        message = lease.user_id, claim.message_id
        if lease.user_id in self.forgotten and message in self.messages:
            raise KeyError(claim.message_id)
        self.messages.add(message)
        return await super().make(lease, claim)
