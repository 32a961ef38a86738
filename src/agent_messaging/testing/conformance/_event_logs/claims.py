"""Cases: one message, one run."""

import asyncio

from agent_messaging import Lease, RunRecord
from agent_messaging.testing.conformance._event_logs.trial import MakeLog, opened, story
from agent_messaging.testing.conformance._expect import expect, found


async def a_claim_makes_its_run(make_log: MakeLog) -> None:
    expected = RunRecord(
        run_id="run",
        thread_id="thread",
        message_id="message",
        digest="digest",
        status="queued",
        first_seq=1,
        last_seq=0,
    )
    async with opened(make_log) as trial:
        expect(await trial.attempt(Lease("ann", "run", "t"), message_id="message"), expected)
        expect(await trial.log.find_run("ann", "run"), expected)
        expect(await trial.log.find_claim("ann", "message"), expected)
        expect(list(await trial.log.runs("ann", "thread", limit=9)), [expected])


async def a_later_claim_of_a_message_gets_the_first_run(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("first", message_id="message")
        record = await trial.attempt(
            Lease("ann", "second", "t"), message_id="message", thread_id="other", digest="other"
        )
        expect(record.run_id, "first")
        expect((record.thread_id, record.digest), ("thread", "digest"))
        expect(await trial.log.find_run("ann", "second"), None)
        expect(list(await trial.log.runs("ann", "other", limit=9)), [])


async def a_claim_that_lost_appends_nothing(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.claim("first", message_id="message")
        second = Lease("ann", "second", "t")
        await trial.attempt(second, message_id="message")
        await trial.must_refuse(second, story(3))
        expect(await trial.events("first"), [])


async def of_many_claims_at_once_one_makes_its_run_and_all_get_that(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        leases = [Lease("ann", f"run {number}", f"token {number}") for number in range(20)]
        records = await asyncio.gather(
            *[trial.attempt(lease, message_id="message") for lease in leases]
        )
        expect(len({record.run_id for record in records}), 1)
        known = [await trial.log.find_run("ann", lease.run_id) for lease in leases]
        expect([run.run_id for run in known if run is not None], [records[0].run_id])


async def the_same_claim_again_wins_again(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", message_id="message")
        expect((await trial.attempt(lease, message_id="message")).run_id, "run")
        await trial.append_each(lease, story(3)[:2])
        expect((await trial.attempt(lease, message_id="message")).last_seq, 2)
        await trial.append_each(lease, story(3)[2:])
        expect(await trial.events("run"), story(3))


async def a_claim_is_found_after_its_run_has_ended(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run")
        record = found(await trial.log.find_claim("ann", "message of run"))
        expect((record.run_id, record.status, record.last_seq), ("run", "completed", 3))
        again = await trial.attempt(Lease("ann", "new", "t"), message_id="message of run")
        expect(again, record)


async def a_claim_is_kept_for_a_day(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run")
        await trial.advance(24 * 3600 - 1)
        record = found(await trial.log.find_claim("ann", "message of run"))
        expect(record.run_id, "run")
