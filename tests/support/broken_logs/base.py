"""What every broken log is but for its fault: a good one, asked in its place."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from agent_messaging import (
    EventPage,
    Lease,
    LoggedEvent,
    MemoryEventLog,
    Notice,
    RunRecord,
    TakenRun,
)

__all__ = ["BrokenLog", "Claim", "Settings", "Wake", "nothing"]

Wake = Callable[[int], None]


class Claim(NamedTuple):
    """What is claimed beside the lease."""

    thread_id: str
    message_id: str
    digest: str
    owner: str
    lease_seconds: float


class Settings(NamedTuple):
    """How the good log is made."""

    events_per_user: int
    clock: Callable[[], float]


def nothing() -> None:
    """What is to be undone where nothing was done."""


class BrokenLog:
    """Asks a good log; the classes below derive from it, each with one fault.

    A fault is as narrow as it takes to be seen in one way alone.

    Attributes:
        log: the good log.
        clock: the time.
        leases: the first lease of each run that was claimed.
        lost: leases whose run was taken, with the leases that took their place.
    """

    def __init__(self, settings: Settings) -> None:
        self.clock: Final = settings.clock
        self.log: Final = MemoryEventLog(
            events_per_user=settings.events_per_user,
            clock=settings.clock,
        )
        self.leases: Final[dict[tuple[str, str], Lease]] = {}
        self.lost: Final[dict[Lease, Lease]] = {}

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
        return await self.make(lease, Claim(thread_id, message_id, digest, owner, lease_seconds))

    async def make(self, lease: Lease, claim: Claim) -> RunRecord:
        """What `claim` does."""
        record = await self.log.claim(lease, **claim._asdict())
        if record.run_id == lease.run_id:
            self.leases.setdefault((lease.user_id, lease.run_id), lease)
        return record

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return await self.log.find_claim(user_id, message_id)

    # A coroutine function, so that a fault may ask the good log what it has.
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await self.log.append(lease, events)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        page = await self.log.read(user_id, run_id, after=after, limit=limit)
        return None if page is None else self.shown(user_id, run_id, page)

    def shown(self, user_id: str, run_id: str, page: EventPage) -> EventPage:
        """What `read` makes of a page."""
        return page

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return await self.log.find_run(user_id, run_id)

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        return await self.log.runs(user_id, thread_id, limit=limit, unended=unended)

    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        return self.log.follow(user_id, run_id, wake)

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await self.log.notify(user_id, run_id, notice)

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        return self.log.follow_notices(owner, tell)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        return await self.log.renew(leases, lease_seconds)

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        taken = await self.log.take_expired(owner, lease_seconds, limit=limit)
        for lease, _ in taken:
            old = self.leases[lease.user_id, lease.run_id]
            self.lost[old] = lease
        return taken

    async def forget(self, user_id: str) -> None:
        await self.log.forget(user_id)

    async def aclose(self) -> None:
        await self.log.aclose()

    # What faults ask.

    async def last_seq(self, lease: Lease) -> int:
        """The last event of a run; -1 if there is no such run."""
        record = await self.log.find_run(lease.user_id, lease.run_id)
        return -1 if record is None else record.last_seq

    def others(self, user_id: str, run_id: str) -> list[str]:
        """Other users who have had a run of this id."""
        return [user for user, run in self.leases if run == run_id and user != user_id]
