"""An event log that notes what it is asked, word for word."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, final

from agent_messaging import (
    EventLog,
    EventPage,
    Lease,
    LoggedEvent,
    MemoryEventLog,
    Notice,
    RunRecord,
    TakenRun,
)


class Call(NamedTuple):
    """One call: the method, and every argument that is no callback, in the protocol's order."""

    method: str
    arguments: tuple[object, ...]


@final
class RecordingLog:
    """An `EventLog` that hands every call on to another one.

    Attributes:
        inner: the log that does the work.
        calls: what was asked, in the order in which it was.
    """

    def __init__(self, inner: EventLog | None = None) -> None:
        self.inner: Final[EventLog] = MemoryEventLog() if inner is None else inner
        self.calls: Final[list[Call]] = []

    def methods(self) -> list[str]:
        """The methods that were called, in that order."""
        return [call.method for call in self.calls]

    def _note(self, method: str, *arguments: object) -> None:
        self.calls.append(Call(method, arguments))

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
        self._note("claim", lease, thread_id, message_id, digest, owner, lease_seconds)
        return await self.inner.claim(
            lease,
            thread_id=thread_id,
            message_id=message_id,
            digest=digest,
            owner=owner,
            lease_seconds=lease_seconds,
        )

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        self._note("find_claim", user_id, message_id)
        return await self.inner.find_claim(user_id, message_id)

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        self._note("append", lease, tuple(events))
        return self.inner.append(lease, events)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        self._note("read", user_id, run_id, after, limit)
        return await self.inner.read(user_id, run_id, after=after, limit=limit)

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        self._note("find_run", user_id, run_id)
        return await self.inner.find_run(user_id, run_id)

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        self._note("runs", user_id, thread_id, limit)
        return await self.inner.runs(user_id, thread_id, limit=limit, unended=unended)

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        self._note("follow", user_id, run_id)
        return self.inner.follow(user_id, run_id, wake)

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        self._note("notify", user_id, run_id, notice)
        return await self.inner.notify(user_id, run_id, notice)

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        self._note("follow_notices", owner)
        return self.inner.follow_notices(owner, tell)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        self._note("renew", tuple(leases), lease_seconds)
        return await self.inner.renew(leases, lease_seconds)

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        self._note("take_expired", owner, lease_seconds, limit)
        return await self.inner.take_expired(owner, lease_seconds, limit=limit)

    async def forget(self, user_id: str) -> None:
        self._note("forget", user_id)
        await self.inner.forget(user_id)

    async def aclose(self) -> None:
        self._note("aclose")
        await self.inner.aclose()
