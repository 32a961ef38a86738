"""Cases: only the owner appends, and only what continues the run."""

from agent_messaging.testing.conformance._event_logs.trial import (
    COMPLETED,
    MakeLog,
    event,
    opened,
    story,
)
from agent_messaging.testing.conformance._expect import expect


async def a_wrong_token_is_refused(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, story(3)[:1])
        await trial.must_refuse(lease._replace(token="other"), story(3)[1:])
        expect(await trial.events("run"), story(3)[:1])


async def an_append_to_an_unknown_run_is_refused(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.must_refuse(lease._replace(run_id="other"), story(3))
        expect(await trial.log.find_run("ann", "other"), None)


async def a_finished_run_takes_no_more_events(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.finished("run")
        await trial.must_refuse(lease, [event(4)])
        await trial.must_refuse(lease, [event(4, COMPLETED)])
        expect(await trial.events("run"), story(3))


async def an_event_that_skips_one_is_refused(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.must_refuse(lease, [event(2)])
        await trial.append(lease, [event(1)])
        await trial.must_refuse(lease, [event(3)])
        expect(await trial.events("run"), [event(1)])


async def an_event_that_comes_again_with_other_content_is_refused(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, [event(1), event(2)])
        for other in (event(2, payload='{"a":1}'), event(2, COMPLETED), event(2, timestamp=1.5)):
            await trial.must_refuse(lease, [other], other)
        await trial.must_refuse(lease, [event(1, payload='{"a":1}'), event(2)])
        expect(await trial.events("run"), [event(1), event(2)])


async def an_event_that_is_not_the_last_is_refused_when_it_comes_again(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append_each(lease, story(3)[:2])
        await trial.must_refuse(lease, story(3)[:1])
        await trial.must_refuse(lease, story(3)[1:], "partly appended before, partly new")
        expect(await trial.events("run"), story(3)[:2])


async def the_very_same_events_again_are_no_error_and_are_not_appended(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        for batch in (story(5)[:1], story(5)[1:3], story(5)[3:]):
            await trial.append(lease, batch)
            await trial.append(lease, batch)
            # Those that the run ends with, however they came: less than that batch, and more.
            for start in range(batch[-1].seq):
                await trial.append(lease, story(5)[start : batch[-1].seq])
        expect(await trial.events("run"), story(5))


async def a_batch_that_is_refused_leaves_nothing(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, story(3)[:1])
        await trial.must_refuse(lease, [event(2), event(4)])
        await trial.must_refuse(lease, [event(2), event(2)])
        await trial.must_refuse(lease, [event(2, COMPLETED), event(3)])
        expect(await trial.events("run"), story(3)[:1])


async def the_owner_goes_on_after_a_refusal(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, story(3)[:1])
        await trial.must_refuse(lease, [event(7)])
        await trial.must_refuse(lease._replace(token="other"), [event(7)])
        await trial.append_each(lease, story(3)[1:])
        expect(await trial.events("run"), story(3))
