"""Logs with one fault each, which the sweep is to find."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from agent_messaging import EventLog, EventPage, Lease, LeaseLost, LoggedEvent
from kill.broken import ClaimsWithoutLooking, NeverRecovers, SendsBeforeItAppends
from kill.logs import PassingLog


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


#: What is between a worker's endpoint and its log, by name.
VARIANTS: Final[Mapping[str, Callable[[EventLog], EventLog]]] = {
    "sound": lambda inner: inner,
    "claims-without-looking": ClaimsWithoutLooking,
    "never-recovers": NeverRecovers,
    "is-not-fenced": IsNotFenced,
    "sends-before-it-appends": SendsBeforeItAppends,
}
