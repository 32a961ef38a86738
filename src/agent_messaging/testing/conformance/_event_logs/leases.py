"""Cases: runs whose owner is gone are taken over, by one, and only those."""

import asyncio

from agent_messaging import Lease
from agent_messaging.testing.conformance._event_logs.trial import (
    COMPLETED,
    MakeLog,
    event,
    opened,
    story,
)
from agent_messaging.testing.conformance._expect import expect


async def an_expired_lease_is_taken_with_a_new_token(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        await trial.append(lease, story(3)[:2])
        await trial.advance(11)
        taken = await trial.take_one()
        expect((taken.lease.user_id, taken.lease.run_id), ("ann", "run"))
        expect(taken.lease.token == lease.token, False, "the same token")
        expect(taken.record, await trial.log.find_run("ann", "run"))
        expect(taken.record.last_seq, 2)


async def who_took_a_run_appends_to_it(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        await trial.append(lease, story(3)[:2])
        await trial.advance(11)
        await trial.append(await trial.taken(), story(3)[2:])
        expect(await trial.events("run"), story(3))


async def an_owner_whose_lease_was_taken_is_fenced_off(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        await trial.append(lease, story(3)[:1])
        await trial.advance(11)
        await trial.taken()
        await trial.must_refuse(lease, story(3)[1:])
        expect(await trial.events("run"), story(3)[:1])


async def a_lease_that_has_not_expired_is_left_alone(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("long", lease_seconds=30)
        expect(list(await trial.take()), [])
        await trial.claim("short", lease_seconds=10)
        await trial.advance(20)
        expect([taken.lease.run_id for taken in await trial.take()], ["short"])
        await trial.advance(20)
        expect([taken.lease.run_id for taken in await trial.take()], ["long"])


async def of_many_takers_at_once_one_gets_each_run(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        names = [f"run {number}" for number in range(12)]
        for name in names:
            await trial.claim(name, lease_seconds=10)
        await trial.advance(11)
        shares = await asyncio.gather(*[trial.take(f"taker {number}") for number in range(6)])
        expect(sorted(taken.lease.run_id for share in shares for taken in share), sorted(names))


async def no_more_runs_are_taken_than_asked_for(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        names = {f"run {number}" for number in range(5)}
        for number, name in enumerate(sorted(names)):
            await trial.claim(name, lease_seconds=10 + number % 2)
        await trial.advance(20)
        shares = [await trial.take(limit=2) for _ in range(4)]
        expect([len(share) for share in shares], [2, 2, 1, 0])
        expect({taken.lease.run_id for share in shares for taken in share}, names)


async def a_lease_that_was_taken_expires_again(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("run", lease_seconds=10)
        await trial.advance(11)
        first = await trial.taken("first", lease_seconds=5)
        expect(list(await trial.take()), [])
        await trial.advance(6)
        second = await trial.taken("second")
        expect(second.token == first.token, False, "the same token")
        await trial.must_refuse(first, story(3))
        await trial.append_each(second, story(3))


async def a_lease_that_is_renewed_in_time_is_left_alone(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        for _ in range(3):
            await trial.advance(6)
            expect(list(await trial.log.renew([lease], 10)), [])
        await trial.advance(6)
        expect(list(await trial.take()), [])
        await trial.append_each(lease, story(3))


async def a_lease_is_renewed_for_as_long_as_is_said(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        shorter = await trial.claim("shorter", lease_seconds=100)
        longer = await trial.claim("longer", lease_seconds=10)
        await trial.log.renew([shorter], 10)
        await trial.log.renew([longer], 100)
        await trial.advance(50)
        expect([taken.lease.run_id for taken in await trial.take()], ["shorter"])
        await trial.advance(51)
        expect([taken.lease.run_id for taken in await trial.take()], ["longer"])


async def renewing_tells_which_leases_were_lost(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lost = await trial.claim("lost", lease_seconds=10)
        kept = await trial.claim("kept")
        await trial.advance(11)
        await trial.taken()
        unknown = Lease("ann", "unknown", "token")
        wrong = kept._replace(token="wrong")
        told = await trial.log.renew([lost, kept, unknown, wrong], 10)
        expect(sorted(told), sorted([lost, unknown, wrong]))
        expect(list(await trial.log.renew([], 10)), [])


async def renewing_a_lease_that_was_lost_takes_nothing_back(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        await trial.advance(11)
        taken = await trial.taken(lease_seconds=10)
        await trial.log.renew([lease], 1000)
        await trial.append(taken, story(3)[:1])
        await trial.advance(11)
        expect(len(await trial.take()), 1, "the taker's lease ends when it would have")


async def an_expired_lease_that_nobody_took_is_still_its_owners(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        await trial.advance(11)
        await trial.append(lease, story(3)[:1])
        expect(list(await trial.log.renew([lease], 10)), [])
        expect(list(await trial.take()), [])
        await trial.append_each(lease, story(3)[1:])
        expect(await trial.events("run"), story(3))


async def a_run_that_has_ended_is_not_taken(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        await trial.append(lease, [event(1, COMPLETED)])
        await trial.claim("other", lease_seconds=10)
        await trial.advance(11)
        expect([taken.lease.run_id for taken in await trial.take()], ["other"])


async def the_same_claim_again_leaves_a_run_to_who_took_it(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        await trial.advance(11)
        taken = await trial.taken()
        expect((await trial.attempt(lease)).run_id, "run")
        await trial.must_refuse(lease, story(3))
        await trial.append_each(taken, story(3))
