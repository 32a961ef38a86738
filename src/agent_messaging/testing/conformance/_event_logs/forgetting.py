"""Cases: a user who is forgotten leaves nothing, and nobody else notices."""

from agent_messaging.testing.conformance._event_logs.trial import MakeLog, opened, story
from agent_messaging.testing.conformance._expect import expect, found


async def of_a_user_who_is_forgotten_no_run_is_known(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("ended")
        await trial.claim("under way")
        await trial.log.forget("ann")
        for run_id in ("ended", "under way"):
            expect(await trial.log.read("ann", run_id, after=0, limit=9), None, run_id)
            expect(await trial.log.find_run("ann", run_id), None, run_id)
        expect(list(await trial.log.runs("ann", "thread", limit=9)), [])


async def of_a_user_who_is_forgotten_no_claim_is_known(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("ended")
        await trial.claim("under way")
        await trial.log.forget("ann")
        for run_id in ("ended", "under way"):
            expect(await trial.log.find_claim("ann", f"message of {run_id}"), None, run_id)


async def a_run_that_was_forgotten_takes_no_events(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, story(3)[:1])
        await trial.log.forget("ann")
        await trial.must_refuse(lease, story(3)[1:])
        await trial.must_refuse(lease, story(3))


async def a_run_that_was_forgotten_is_neither_stopped_nor_taken(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run", lease_seconds=10)
        await trial.log.forget("ann")
        expect(await trial.log.notify("ann", "run", "stop"), False)
        expect(list(await trial.log.renew([lease], 10)), [lease])
        await trial.advance(11)
        expect(list(await trial.take()), [])


async def the_others_keep_what_they_have_when_a_user_is_forgotten(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run of ann", "ann")
        await trial.finished("ended", "bob")
        lease = await trial.claim("under way", "bob")
        await trial.append(lease, story(3)[:1])
        await trial.log.forget("ann")
        await trial.append_each(lease, story(3)[1:])
        for run_id in ("ended", "under way"):
            expect(await trial.events(run_id, "bob"), story(3))
            found(await trial.log.find_claim("bob", f"message of {run_id}"), run_id)
        expect(len(await trial.log.runs("bob", "thread", limit=9)), 2)


async def a_user_may_be_forgotten_again(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run")
        await trial.log.forget("ann")
        await trial.log.forget("ann")
        await trial.log.forget("nobody")


async def a_user_who_was_forgotten_starts_anew(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run", length=5)
        await trial.log.forget("ann")
        lease = await trial.claim("new", message_id="message of run")
        await trial.append_each(lease, story(3))
        expect(await trial.events("new"), story(3))
        expect([run.run_id for run in await trial.log.runs("ann", "thread", limit=9)], ["new"])
