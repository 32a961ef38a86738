"""What an endpoint sees to now and then: its leases, and the runs that others left."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, final

from agent_messaging._errors import EventLogError, LeaseLost, RemoteError
from agent_messaging._log import log
from agent_messaging._log_access import asked, note_trouble, tell_watched
from agent_messaging._recovery import missing_events
from agent_messaging._services import Services
from agent_messaging._users import Users
from agent_messaging.eventlog.protocol import EventPage, LoggedEvent, TakenRun

__all__ = ["Upkeep"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")

#: Runs that are taken over at once: each is ended long before its new lease expires. And those
#: that owners are told of at once.
_BATCH: Final = 32

#: Events of one read.
_PAGE: Final = 256

#: How often in the time of a lease it is renewed.
_RENEWALS: Final = 3

#: Seconds until what the log could not do is tried again, at most.
_RETRY: Final = 1.0


@final
class Upkeep:
    """Renews the leases of an endpoint's runs, and ends the runs whose owners are gone.

    Three tasks, so that no number of runs to be ended, or to be told of, keeps a lease from being
    renewed. A log that cannot answer ends none of them.

    Args:
        services: the log, and what else the endpoint shares.
        users: whose runs and sessions there are.
        owner: as whom the endpoint claims.
    """

    __slots__ = ("_owner", "_services", "_tasks", "_users")

    def __init__(self, services: Services, users: Users, owner: str) -> None:
        self._services = services
        self._users = users
        self._owner = owner
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Begin; the first look at what others left is at once."""
        tasks = self._services.tasks
        self._tasks = (
            tasks.spawn(self._now_and_then(self._keep), "leases"),
            tasks.spawn(self._now_and_then(self._tell), "watchers"),
            tasks.spawn(self._now_and_then(self._recover), "recovery"),
        )
        for task in self._tasks:
            tasks.release(task)  # they do not end by themselves

    async def stop(self) -> None:
        """End; to be called when no run is left. A log that holds it up is waited for no longer."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._services.final_send_timeout)

    async def _now_and_then(self, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            pause = self._services.lease_seconds / _RENEWALS
            # A lease is not to expire for what the log could not do for a moment.
            retry = min(pause, _RETRY)
            try:
                await work()
            except RemoteError:  # which was logged
                pause = retry
            except Exception as error:  # noqa: BLE001 - a log of the host's may raise anything
                note_trouble(error)
                pause = retry
            await asyncio.sleep(pause)

    # Leases, and watchers elsewhere.

    async def _keep(self) -> None:
        """Renew the leases."""
        services = self._services
        users = self._users.all()
        runs = {run.lease: run for user in users for run in user.runs.values() if run.needs_lease}
        if runs:
            leases = tuple(runs)
            lost = await asked(
                lambda: services.log.renew(leases, services.lease_seconds), services.log_timeout
            )
            for lease in runs.keys() & set(lost):
                runs[lease].lose_lease()

    async def _tell(self) -> None:
        """Tell the owners of other runs that they are watched here."""
        event_log, timeout = self._services.log, self._services.log_timeout
        watched = [
            (user.user_id, run_id)
            for user in self._users.all()
            for run_id in user.watched_elsewhere()
        ]
        for start in range(0, len(watched), _BATCH):
            batch = watched[start : start + _BATCH]
            answers = await asyncio.gather(
                *(tell_watched(event_log, *each, timeout) for each in batch), return_exceptions=True
            )
            for answer in answers:
                if answer is not None:
                    raise answer  # one says it for all; they are told again in a moment

    # What others left.

    async def recover(self) -> int:
        """End the runs whose leases have expired; how many that were.

        Raises:
            EventLogError: the log cannot do that now; calling this again is sound.
        """
        try:
            return await self._recover()
        except Exception as error:
            raise EventLogError("the event log could not be asked for runs to recover") from error

    async def _recover(self) -> int:
        services = self._services
        await self._keep()  # an endpoint that stood still has no other take its runs than itself
        ended = 0
        trouble: list[Exception] = []
        while True:
            taken = await asked(
                lambda: services.log.take_expired(
                    self._owner, services.lease_seconds, limit=_BATCH
                ),
                services.log_timeout,
            )
            answers = await asyncio.gather(*(self._end(run) for run in taken))
            refusals = [answer for answer in answers if isinstance(answer, Exception)]
            ended += sum(answer is True for answer in answers)
            trouble += refusals
            if len(taken) < _BATCH or len(refusals) == _BATCH:
                break
        if trouble:  # those are taken again when their new leases have expired
            raise trouble[0]
        return ended

    async def _end(self, taken: TakenRun) -> bool | Exception:
        """End one run; whether that was to be done, or why it cannot be done now."""
        services = self._services
        lease, record = taken

        async def read(cursor: int) -> EventPage | None:
            return await asked(
                lambda: services.log.read(lease.user_id, lease.run_id, after=cursor, limit=_PAGE),
                services.log_timeout,
            )

        async def append(events: Sequence[LoggedEvent]) -> bool:
            try:
                await services.log.append(lease, events)
            except LeaseLost:
                return False  # another has taken it meanwhile, or it was forgotten
            return True

        try:
            events = await missing_events(read, services.dialect, services.clock.wall, record)
            was_ended = await asked(lambda: append(events), services.log_timeout)
        except Exception as error:  # noqa: BLE001 - what the log has may be anything
            return error  # and none of the runs behind it waits for it
        if was_ended:
            services.counters.recovered += 1
            fields: dict[str, object] = {
                "user_id": lease.user_id,
                "thread_id": record.thread_id,
                "run_id": lease.run_id,
            }
            log(_logger, logging.WARNING, "run_recovered", fields)
        return was_ended
