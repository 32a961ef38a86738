"""An event log of the host's own: one in memory that also writes down who ended how."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from agent_messaging import (
    EventLog,
    EventPage,
    Lease,
    LeaseLost,
    LoggedEvent,
    MemoryEventLog,
    MessageType,
    Notice,
    RunRecord,
    TakenRun,
)

ENDS = {MessageType.AGENT_COMPLETED, MessageType.AGENT_FAILED, MessageType.AGENT_CANCELLED}


class Entry(NamedTuple):
    user_id: str
    run_id: str
    outcome: MessageType


class AuditedEventLog:
    def __init__(self, log: EventLog | None = None) -> None:
        self.entries: list[Entry] = []
        self._log = MemoryEventLog(runs_per_user=20) if log is None else log

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
        return await self._log.claim(
            lease,
            thread_id=thread_id,
            message_id=message_id,
            digest=digest,
            owner=owner,
            lease_seconds=lease_seconds,
        )

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return await self._log.find_claim(user_id, message_id)

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        try:
            await self._log.append(lease, events)
        except LeaseLost:
            self.entries.append(Entry(lease.user_id, lease.run_id, MessageType.ERROR_MESSAGE))
            raise
        self.entries += [
            Entry(lease.user_id, lease.run_id, event.type) for event in events if event.type in ENDS
        ]

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return await self._log.read(user_id, run_id, after=after, limit=limit)

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return await self._log.find_run(user_id, run_id)

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        return await self._log.runs(user_id, thread_id, limit=limit, unended=unended)

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        return self._log.follow(user_id, run_id, wake)

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await self._log.notify(user_id, run_id, notice)

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        return self._log.follow_notices(owner, tell)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        return await self._log.renew(leases, lease_seconds)

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return await self._log.take_expired(owner, lease_seconds, limit=limit)

    async def forget(self, user_id: str) -> None:
        await self._log.forget(user_id)

    async def aclose(self) -> None:
        await self._log.aclose()
