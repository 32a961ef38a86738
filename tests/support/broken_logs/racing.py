"""Logs that are right call by call, and wrong where calls meet: they pass the conformance suite."""

import asyncio
from collections.abc import Callable, Sequence

from agent_messaging import EventPage, Lease, LeaseLost, LoggedEvent
from support.broken_logs.base import BrokenLog, Settings, Wake


class ChecksTheLeaseTooEarly(BrokenLog):
    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        await self.log.append(lease, ())  # raises if it is lost
        await asyncio.sleep(0)
        await self.log.append(self.lost.get(lease, lease), events)


class TellsOfLaterEvictions(BrokenLog):
    async def read(self, user_id: str, run_id: str, *, after: int, limit: int) -> EventPage | None:
        page = await self.log.read(user_id, run_id, after=after, limit=limit)
        await asyncio.sleep(0)
        record = await self.log.find_run(user_id, run_id)
        if page is None or record is None:
            return page
        return page._replace(first_seq=record.first_seq)


class DropsEverybodysWakeUpsWhenOneLeaves(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.pending: dict[tuple[str, str], list[asyncio.Handle]] = {}

    def follow(self, user_id: str, run_id: str, wake: Wake) -> Callable[[], None]:
        pending = self.pending.setdefault((user_id, run_id), [])
        loop = asyncio.get_running_loop()
        unfollow = self.log.follow(
            user_id, run_id, lambda seq: pending.append(loop.call_soon(wake, seq))
        )

        def leave() -> None:
            unfollow()
            for handle in pending:
                handle.cancel()
            pending.clear()

        return leave


class LosesTheGroupOfWhoIsCancelled(BrokenLog):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.group: list[tuple[Lease, Sequence[LoggedEvent], asyncio.Future[None]]] = []

    async def append(self, lease: Lease, events: Sequence[LoggedEvent]) -> None:
        kept = asyncio.get_running_loop().create_future()
        self.group.append((lease, events, kept))
        if len(self.group) == 1:
            try:
                for _ in range(3):
                    await asyncio.sleep(0)
                await self.keep()
            finally:
                group, self.group = self.group, []
                for _, _, future in group:
                    if not future.done():
                        future.set_result(None)
        await kept

    async def keep(self) -> None:
        """Append all that came together."""
        for lease, events, kept in self.group:
            try:
                await self.log.append(lease, events)
            except LeaseLost as error:
                if not kept.done():
                    kept.set_exception(error)
