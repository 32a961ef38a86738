"""Cases: a run's owner is told to stop it, and nobody else."""

import asyncio

from conformance.following import SETTLED
from conformance.trial import MakeLog, opened, story


class Stops:
    """What an owner was told to stop."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str]] = []
        self._told = asyncio.Event()

    def stop(self, user_id: str, run_id: str) -> None:
        self.runs.append((user_id, run_id))
        self._told.set()

    async def until(self, user_id: str, run_id: str) -> None:
        """Wait to be told to stop this run."""
        while (user_id, run_id) not in self.runs:
            self._told.clear()
            await self._told.wait()


async def a_stop_is_told_to_the_owner_of_the_run(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        stops = Stops()
        unfollow = trial.log.follow_stops("owner", stops.stop)
        lease = await trial.claim("queued")
        await asyncio.sleep(SETTLED)
        assert await trial.log.request_stop("ann", "queued")
        await stops.until("ann", "queued")
        lease = await trial.claim("running")
        await trial.append(lease, story(3)[:1])
        assert await trial.log.request_stop("ann", "running")
        await stops.until("ann", "running")
        unfollow()


async def a_stop_is_not_told_to_another_owner(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        stops, others = Stops(), Stops()
        unfollows = [
            trial.log.follow_stops("other", others.stop),
            trial.log.follow_stops("owner", stops.stop),
        ]
        await trial.claim("run")
        await asyncio.sleep(SETTLED)
        assert await trial.log.request_stop("ann", "run")
        await stops.until("ann", "run")
        await asyncio.sleep(SETTLED)
        assert others.runs == []
        for unfollow in unfollows:
            unfollow()


async def a_run_with_nobody_to_tell_may_be_stopped(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("run")
        assert await trial.log.request_stop("ann", "run")


async def an_unknown_run_and_another_users_run_look_alike_to_a_stop(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        stops = Stops()
        unfollow = trial.log.follow_stops("owner", stops.stop)
        await trial.claim("run of ann", "ann")
        await trial.claim("run of bob", "bob")
        assert await trial.log.request_stop("bob", "unknown") is False
        assert await trial.log.request_stop("bob", "run of ann") is False
        assert await trial.log.request_stop("eve", "run of ann") is False
        await asyncio.sleep(SETTLED)
        assert stops.runs == []
        unfollow()


async def a_run_that_has_ended_is_not_stopped(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        stops = Stops()
        unfollow = trial.log.follow_stops("owner", stops.stop)
        await trial.finished("run")
        assert await trial.log.request_stop("ann", "run") is False
        await asyncio.sleep(SETTLED)
        assert stops.runs == []
        unfollow()


async def nobody_is_told_of_stops_who_follows_them_no_more(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        left, stayed = Stops(), Stops()
        unfollow = trial.log.follow_stops("owner", left.stop)
        stay = trial.log.follow_stops("owner", stayed.stop)
        await trial.claim("run")
        await asyncio.sleep(SETTLED)
        unfollow()
        unfollow()
        assert await trial.log.request_stop("ann", "run")
        await stayed.until("ann", "run")
        await asyncio.sleep(SETTLED)
        assert left.runs == []
        stay()


async def a_stop_is_told_to_who_took_the_run(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        old, new = Stops(), Stops()
        unfollows = [
            trial.log.follow_stops("owner", old.stop),
            trial.log.follow_stops("taker", new.stop),
        ]
        await trial.claim("run", lease_seconds=10)
        await trial.advance(11)
        await trial.taken("taker")
        await asyncio.sleep(SETTLED)
        assert await trial.log.request_stop("ann", "run")
        await new.until("ann", "run")
        await asyncio.sleep(SETTLED)
        assert old.runs == []
        for unfollow in unfollows:
            unfollow()
