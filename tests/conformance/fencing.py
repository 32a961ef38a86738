"""Cases: only the owner appends, and only what continues the run."""

from conformance.trial import COMPLETED, MakeLog, event, opened, story


async def a_wrong_token_is_refused(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, story(3)[:1])
        assert await trial.refuses(lease._replace(token="other"), story(3)[1:])
        assert await trial.events("run") == story(3)[:1]


async def an_append_to_an_unknown_run_is_refused(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        assert await trial.refuses(lease._replace(run_id="other"), story(3))
        assert await trial.log.find_run("ann", "other") is None


async def a_finished_run_takes_no_more_events(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.finished("run")
        assert await trial.refuses(lease, [event(4)])
        assert await trial.refuses(lease, [event(4, COMPLETED)])
        assert await trial.events("run") == story(3)


async def an_event_that_skips_one_is_refused(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        assert await trial.refuses(lease, [event(2)])
        await trial.append(lease, [event(1)])
        assert await trial.refuses(lease, [event(3)])
        assert await trial.events("run") == [event(1)]


async def an_event_that_comes_again_with_other_content_is_refused(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, [event(1), event(2)])
        for other in (event(2, payload='{"a":1}'), event(2, COMPLETED), event(2, timestamp=1.5)):
            assert await trial.refuses(lease, [other]), other
        assert await trial.refuses(lease, [event(1, payload='{"a":1}'), event(2)])
        assert await trial.events("run") == [event(1), event(2)]


async def an_event_that_is_not_the_last_is_refused_when_it_comes_again(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append_each(lease, story(3)[:2])
        assert await trial.refuses(lease, story(3)[:1])
        assert await trial.refuses(lease, story(3)[1:]), "partly appended before, partly new"
        assert await trial.events("run") == story(3)[:2]


async def the_very_same_events_again_are_no_error_and_are_not_appended(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        for batch in (story(5)[:1], story(5)[1:3], story(5)[3:]):
            await trial.append(lease, batch)
            await trial.append(lease, batch)
        assert await trial.events("run") == story(5)


async def a_batch_that_is_refused_leaves_nothing(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, story(3)[:1])
        assert await trial.refuses(lease, [event(2), event(4)])
        assert await trial.refuses(lease, [event(2), event(2)])
        assert await trial.refuses(lease, [event(2, COMPLETED), event(3)])
        assert await trial.events("run") == story(3)[:1]


async def the_owner_goes_on_after_a_refusal(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, story(3)[:1])
        await trial.refuses(lease, [event(7)])
        await trial.refuses(lease._replace(token="other"), [event(7)])
        await trial.append_each(lease, story(3)[1:])
        assert await trial.events("run") == story(3)
