"""Cases: a run's owner is told what there is to say of it, and nobody else."""

import asyncio
from typing import Final, get_args

from agent_messaging import Notice
from agent_messaging.testing.conformance._event_logs.trial import (
    SETTLED,
    MakeLog,
    Notices,
    opened,
    story,
)
from agent_messaging.testing.conformance._expect import expect

_NOTICES: Final[tuple[Notice, ...]] = get_args(Notice)


async def a_stop_is_told_to_the_owner_of_the_run(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = trial.notices()
        lease = await trial.claim("queued")
        await asyncio.sleep(SETTLED)
        expect(await trial.log.notify("ann", "queued", "stop"), True)
        await notices.until("ann", "queued")
        lease = await trial.claim("running")
        await trial.append(lease, story(3)[:1])
        expect(await trial.log.notify("ann", "running", "stop"), True)
        await notices.until("ann", "running")


async def a_notice_is_told_as_it_was_given(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = trial.notices()
        await trial.claim("run")
        await asyncio.sleep(SETTLED)
        for notice in _NOTICES:
            expect(await trial.log.notify("ann", "run", notice), True)
            await notices.until("ann", "run", notice)
        expect([notice for _, _, notice in notices.told], list(_NOTICES))


async def a_stop_is_not_told_to_another_owner(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices, others = trial.notices(), trial.notices("other")
        await trial.claim("run")
        await asyncio.sleep(SETTLED)
        expect(await trial.log.notify("ann", "run", "stop"), True)
        await notices.until("ann", "run")
        await asyncio.sleep(SETTLED)
        expect(others.told, [])


async def a_run_with_nobody_to_tell_may_be_stopped(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("run")
        expect(await trial.log.notify("ann", "run", "stop"), True)


async def an_unknown_run_and_another_users_run_look_alike_to_a_stop(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = trial.notices()
        await trial.claim("run of ann", "ann")
        await trial.claim("run of bob", "bob")
        expect(await trial.log.notify("bob", "unknown", "stop"), False)
        expect(await trial.log.notify("bob", "run of ann", "stop"), False)
        expect(await trial.log.notify("eve", "run of ann", "stop"), False)
        await asyncio.sleep(SETTLED)
        expect(notices.told, [])


async def a_run_that_has_ended_is_not_stopped(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = trial.notices()
        await trial.finished("run")
        expect(await trial.log.notify("ann", "run", "stop"), False)
        await asyncio.sleep(SETTLED)
        expect(notices.told, [])


async def nobody_is_told_of_stops_who_follows_them_no_more(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        left = Notices()
        unfollow = trial.log.follow_notices("owner", left.tell)
        stayed = trial.notices()
        await trial.claim("run")
        await asyncio.sleep(SETTLED)
        unfollow()
        unfollow()
        expect(await trial.log.notify("ann", "run", "stop"), True)
        await stayed.until("ann", "run")
        await asyncio.sleep(SETTLED)
        expect(left.told, [])


async def a_stop_is_told_to_who_took_the_run(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        old, new = trial.notices(), trial.notices("taker")
        await trial.claim("run", lease_seconds=10)
        await trial.advance(11)
        await trial.taken("taker")
        await asyncio.sleep(SETTLED)
        expect(await trial.log.notify("ann", "run", "stop"), True)
        await new.until("ann", "run")
        await asyncio.sleep(SETTLED)
        expect(old.told, [])
