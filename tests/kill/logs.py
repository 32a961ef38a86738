"""The host's log: it asks another, and comes to points before and after."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, final

from agent_messaging import (
    EventLog,
    EventPage,
    Lease,
    LoggedEvent,
    MessageType,
    Notice,
    RunRecord,
    TakenRun,
)
from kill.gate import Gate, say

TERMINAL: Final = frozenset(
    {MessageType.AGENT_COMPLETED, MessageType.AGENT_FAILED, MessageType.AGENT_CANCELLED}
)


class PassingLog:
    """An `EventLog` that hands every call on to another one; made to be subclassed."""

    def __init__(self, inner: EventLog) -> None:
        self.inner: Final = inner

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
        return await self.inner.claim(
            lease,
            thread_id=thread_id,
            message_id=message_id,
            digest=digest,
            owner=owner,
            lease_seconds=lease_seconds,
        )

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return await self.inner.find_claim(user_id, message_id)

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        return self.inner.append(lease, events)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return await self.inner.read(user_id, run_id, after=after, limit=limit)

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return await self.inner.find_run(user_id, run_id)

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        return await self.inner.runs(user_id, thread_id, limit=limit, unended=unended)

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        return self.inner.follow(user_id, run_id, wake)

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await self.inner.notify(user_id, run_id, notice)

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        return self.inner.follow_notices(owner, tell)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        return await self.inner.renew(leases, lease_seconds)

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return await self.inner.take_expired(owner, lease_seconds, limit=limit)

    async def forget(self, user_id: str) -> None:
        await self.inner.forget(user_id)

    async def aclose(self) -> None:
        await self.inner.aclose()


@final
class AnnouncingLog(PassingLog):
    """Tells the parent what the log below has acknowledged, before the endpoint hears of it."""

    def __init__(self, inner: EventLog, gate: Gate) -> None:
        super().__init__(inner)
        self._gate = gate
        self._messages: dict[Lease, str] = {}
        self._message_of_runs: dict[str, str] = {}

    def message_of(self, run_id: str) -> str | None:
        """The message of a run that was claimed here."""
        return self._message_of_runs.get(run_id)

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
        await self._gate.tell_at("before claim", message_id)
        record = await super().claim(
            lease,
            thread_id=thread_id,
            message_id=message_id,
            digest=digest,
            owner=owner,
            lease_seconds=lease_seconds,
        )
        if record.run_id == lease.run_id:
            self._messages[lease] = message_id
            self._message_of_runs[lease.run_id] = message_id
            await self._gate.tell_at(
                "claimed",
                message_id,
                user_id=lease.user_id,
                thread_id=thread_id,
                run_id=lease.run_id,
            )
        return record

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        # By the lease, not by the run: one that is recovered here may be one of ours.
        message_id = self._messages.get(lease)
        is_end = events[-1].type in TERMINAL
        if is_end and message_id is not None:
            await self._gate.tell_at("ending", message_id)
        await super().append(lease, events)
        say(
            appended=lease.run_id,
            user_id=lease.user_id,
            seq=events[-1].seq,
            is_recovery=message_id is None,
        )
        if message_id is not None:
            if events[0].type == MessageType.AGENT_QUEUED:
                await self._gate.tell_at("queued", message_id)
            if is_end:
                await self._gate.tell_at("ended", message_id)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        lost = await super().renew(leases, lease_seconds)
        say(renewed=len(leases) - len(lost))
        return lost

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        taken = await super().take_expired(owner, lease_seconds, limit=limit)
        for run in taken:
            await self._gate.tell_at("recovering", run.record.message_id, run_id=run.lease.run_id)
        return taken
