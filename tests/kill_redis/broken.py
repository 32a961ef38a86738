"""Logs with one fault each, which the sweep is to find."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from agent_messaging import (
    EventLog,
    EventPage,
    Lease,
    LeaseLost,
    LoggedEvent,
    Notice,
    RunRecord,
    TakenRun,
)


class PassingLog:
    """A log that hands on everything."""

    def __init__(self, inner: EventLog) -> None:
        self.inner = inner

    async def claim(self, lease: Lease, **claim: Any) -> RunRecord:
        return await self.inner.claim(lease, **claim)

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return await self.inner.find_claim(user_id, message_id)

    def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> Awaitable[None]:
        return self.inner.append(lease, events)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        return await self.inner.read(user_id, run_id, after=after, limit=limit)

    async def find_run(self, user_id: str, run_id: str) -> RunRecord | None:
        return await self.inner.find_run(user_id, run_id)

    async def runs(self, user_id: str, thread_id: str, *, limit: int) -> Sequence[RunRecord]:
        return await self.inner.runs(user_id, thread_id, limit=limit)

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


class ClaimsWithoutLooking(PassingLog):
    """Makes a run for each claim, whether the message has one or not."""

    async def find_claim(self, user_id: str, message_id: str) -> RunRecord | None:
        return None

    async def claim(self, lease: Lease, **claim: Any) -> RunRecord:
        message_id: str = claim.pop("message_id")
        record = await self.inner.claim(lease, message_id=f"{message_id} {lease.run_id}", **claim)
        return replace(record, message_id=message_id)


class NeverRecovers(PassingLog):
    """Leaves the runs of workers that are gone as they are."""

    async def take_expired(
        self, owner: str, lease_seconds: float, *, limit: int
    ) -> Sequence[TakenRun]:
        return ()


class IsNotFenced(PassingLog):
    """Goes on showing what a run's former owner says, though the log refuses it."""

    def __init__(self, inner: EventLog) -> None:
        super().__init__(inner)
        self.refused: dict[tuple[str, str], list[LoggedEvent]] = {}
        self.wakes: dict[tuple[str, str], list[Callable[[int], None]]] = {}

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        key = lease.user_id, lease.run_id
        try:
            await self.inner.append(lease, events)
        except LeaseLost:
            self.refused.setdefault(key, []).extend(events)
            for wake in self.wakes.get(key, ()):
                wake(events[-1].seq)

    async def renew(self, leases: Sequence[Lease], lease_seconds: float) -> Sequence[Lease]:
        await self.inner.renew(leases, lease_seconds)
        return ()

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        refused = self.refused.get((user_id, run_id), [])
        shown = [event for event in refused if event.seq > after]
        if not shown or shown[0].seq != after + 1:
            return await self.inner.read(user_id, run_id, after=after, limit=limit)
        return EventPage(shown, 1, shown[-1].seq, "running")

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        self.wakes.setdefault((user_id, run_id), []).append(wake)
        return super().follow(user_id, run_id, wake)


class SendsBeforeItAppends(PassingLog):
    """Shows events at once, and writes them when the run has ended."""

    def __init__(self, inner: EventLog) -> None:
        super().__init__(inner)
        self.shown: dict[tuple[str, str], list[LoggedEvent]] = {}
        self.wakes: dict[tuple[str, str], list[Callable[[int], None]]] = {}

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        key = lease.user_id, lease.run_id
        shown = [*self.shown.get(key, ()), *events]
        if events[-1].type in ("agent_completed", "agent_failed", "agent_cancelled"):
            await self.inner.append(lease, shown)
            self.shown.pop(key, None)
        else:
            self.shown[key] = shown
        for wake in self.wakes.get(key, ()):
            wake(events[-1].seq)

    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        shown = self.shown.get((user_id, run_id))
        if shown is None:
            return await super().read(user_id, run_id, after=after, limit=limit)
        return EventPage(shown[after : after + limit], 1, len(shown), "running")

    def follow(self, user_id: str, run_id: str, wake: Callable[[int], None]) -> Callable[[], None]:
        self.wakes.setdefault((user_id, run_id), []).append(wake)
        return super().follow(user_id, run_id, wake)


#: What is between a worker's endpoint and its log, by name.
VARIANTS: Final[Mapping[str, Callable[[EventLog], EventLog]]] = {
    "sound": lambda inner: inner,
    "claims-without-looking": ClaimsWithoutLooking,
    "never-recovers": NeverRecovers,
    "is-not-fenced": IsNotFenced,
    "sends-before-it-appends": SendsBeforeItAppends,
}
