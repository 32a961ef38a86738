"""An event log that takes its time: calls that end some turns of the loop later, late wake-ups."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar, final

from agent_messaging import (
    EventPage,
    Lease,
    LoggedEvent,
    MemoryEventLog,
    Notice,
    RunRecord,
    TakenRun,
)

__all__ = ["GradualLog"]

T = TypeVar("T")

#: Turns of the loop that a call takes at most before it is done, and as many after.
_TURNS: Final = 3


@final
class GradualLog:
    """An `EventLog` over one in memory, as one over a database is.

    Each call does its work at once, some turns of the loop after it was made, and is answered some
    turns after that. Wake-ups come in a later turn; those that come before it are merged.

    Args:
        inner: what keeps the events.
        seed: makes the turns.
        seconds: of the loop's time that a call takes too, before it does its work.

    Attributes:
        inner: what keeps the events.
    """

    def __init__(self, inner: MemoryEventLog, seed: int = 0, *, seconds: float = 0.0) -> None:
        self.inner: Final = inner
        self._seconds = seconds
        self._randomness = random.Random(seed)

    async def _pass(self) -> None:
        for _ in range(self._randomness.randint(0, _TURNS)):
            await asyncio.sleep(0)

    async def _take_time(self, ask: Callable[[], Awaitable[T]]) -> T:
        await self._pass()
        if self._seconds:
            await asyncio.sleep(self._seconds)
        answer = await ask()
        await self._pass()
        return answer

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
        return await self._take_time(
            lambda: self.inner.claim(
                lease,
                thread_id=thread_id,
                message_id=message_id,
                digest=digest,
                owner=owner,
                lease_seconds=lease_seconds,
            )
        )

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return await self._take_time(lambda: self.inner.find_claim(user_id, message_id))

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await self._take_time(lambda: self.inner.append(lease, events))

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return await self._take_time(
            lambda: self.inner.read(user_id, run_id, after=after, limit=limit)
        )

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return await self._take_time(lambda: self.inner.find_run(user_id, run_id))

    async def runs(
        self, user_id: str, thread_id: str, *, limit: int, unended: bool = False
    ) -> Sequence[RunRecord]:
        return await self._take_time(
            lambda: self.inner.runs(user_id, thread_id, limit=limit, unended=unended)
        )

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        newest: list[int] = []
        is_followed = True

        def tell() -> None:
            last_seq = newest[-1]
            newest.clear()
            if is_followed:
                wake(last_seq)

        def woken(last_seq: int) -> None:
            if not newest:
                loop.call_soon(tell)
            newest.append(last_seq)

        unfollow = self.inner.follow(user_id, run_id, woken)

        def leave() -> None:
            nonlocal is_followed
            is_followed = False
            unfollow()

        return leave

    async def notify(self, user_id: str, run_id: str, notice: Notice) -> bool:
        return await self._take_time(lambda: self.inner.notify(user_id, run_id, notice))

    def follow_notices(
        self, owner: str, tell: Callable[[str, str, Notice], None]
    ) -> Callable[[], None]:
        return self.inner.follow_notices(owner, tell)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        return await self._take_time(lambda: self.inner.renew(leases, lease_seconds))

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return await self._take_time(
            lambda: self.inner.take_expired(owner, lease_seconds, limit=limit)
        )

    async def forget(self, user_id: str) -> None:
        await self._take_time(lambda: self.inner.forget(user_id))

    async def aclose(self) -> None:
        await self.inner.aclose()
