"""Cases: a run's owner is told what there is to say of it, and nobody else."""

import asyncio
from typing import Final, get_args

from agent_messaging import Notice
from conformance.following import SETTLED
from conformance.trial import MakeLog, opened, story

_NOTICES: Final[tuple[Notice, ...]] = get_args(Notice)


class Notices:
    """What an owner was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Notice]] = []
        self._heard = asyncio.Event()

    def tell(self, user_id: str, run_id: str, notice: Notice) -> None:
        self.told.append((user_id, run_id, notice))
        self._heard.set()

    async def until(self, user_id: str, run_id: str, notice: Notice = "stop") -> None:
        """Wait to be told this of a run."""
        while (user_id, run_id, notice) not in self.told:
            self._heard.clear()
            await self._heard.wait()


async def a_stop_is_told_to_the_owner_of_the_run(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = Notices()
        unfollow = trial.log.follow_notices("owner", notices.tell)
        lease = await trial.claim("queued")
        await asyncio.sleep(SETTLED)
        assert await trial.log.notify("ann", "queued", "stop")
        await notices.until("ann", "queued")
        lease = await trial.claim("running")
        await trial.append(lease, story(3)[:1])
        assert await trial.log.notify("ann", "running", "stop")
        await notices.until("ann", "running")
        unfollow()


async def a_notice_is_told_as_it_was_given(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = Notices()
        unfollow = trial.log.follow_notices("owner", notices.tell)
        await trial.claim("run")
        await asyncio.sleep(SETTLED)
        for notice in _NOTICES:
            assert await trial.log.notify("ann", "run", notice)
            await notices.until("ann", "run", notice)
        assert [notice for _, _, notice in notices.told] == list(_NOTICES)
        unfollow()


async def a_stop_is_not_told_to_another_owner(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices, others = Notices(), Notices()
        unfollows = [
            trial.log.follow_notices("other", others.tell),
            trial.log.follow_notices("owner", notices.tell),
        ]
        await trial.claim("run")
        await asyncio.sleep(SETTLED)
        assert await trial.log.notify("ann", "run", "stop")
        await notices.until("ann", "run")
        await asyncio.sleep(SETTLED)
        assert others.told == []
        for unfollow in unfollows:
            unfollow()


async def a_run_with_nobody_to_tell_may_be_stopped(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("run")
        assert await trial.log.notify("ann", "run", "stop")


async def an_unknown_run_and_another_users_run_look_alike_to_a_stop(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = Notices()
        unfollow = trial.log.follow_notices("owner", notices.tell)
        await trial.claim("run of ann", "ann")
        await trial.claim("run of bob", "bob")
        assert await trial.log.notify("bob", "unknown", "stop") is False
        assert await trial.log.notify("bob", "run of ann", "stop") is False
        assert await trial.log.notify("eve", "run of ann", "stop") is False
        await asyncio.sleep(SETTLED)
        assert notices.told == []
        unfollow()


async def a_run_that_has_ended_is_not_stopped(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = Notices()
        unfollow = trial.log.follow_notices("owner", notices.tell)
        await trial.finished("run")
        assert await trial.log.notify("ann", "run", "stop") is False
        await asyncio.sleep(SETTLED)
        assert notices.told == []
        unfollow()


async def nobody_is_told_of_stops_who_follows_them_no_more(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        left, stayed = Notices(), Notices()
        unfollow = trial.log.follow_notices("owner", left.tell)
        stay = trial.log.follow_notices("owner", stayed.tell)
        await trial.claim("run")
        await asyncio.sleep(SETTLED)
        unfollow()
        unfollow()
        assert await trial.log.notify("ann", "run", "stop")
        await stayed.until("ann", "run")
        await asyncio.sleep(SETTLED)
        assert left.told == []
        stay()


async def a_stop_is_told_to_who_took_the_run(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        old, new = Notices(), Notices()
        unfollows = [
            trial.log.follow_notices("owner", old.tell),
            trial.log.follow_notices("taker", new.tell),
        ]
        await trial.claim("run", lease_seconds=10)
        await trial.advance(11)
        await trial.taken("taker")
        await asyncio.sleep(SETTLED)
        assert await trial.log.notify("ann", "run", "stop")
        await new.until("ann", "run")
        await asyncio.sleep(SETTLED)
        assert old.told == []
        for unfollow in unfollows:
            unfollow()
