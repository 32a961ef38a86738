"""Cases: a log that lets go of events says so. One that never does passes them all."""

from agent_messaging import Lease
from conformance.trial import MakeLog, Trial, event, opened, story

HELD = 8
RUNS = [f"run {number}" for number in range(5)]


async def _filled(trial: Trial) -> None:
    """Several finished runs, and a long one under way: far more than there is room for."""
    for run_id in RUNS:
        await trial.finished(run_id, length=6)
    lease = await trial.claim("long")
    await trial.append_each(lease, story(40)[:-1])


async def the_first_event_that_is_held_is_told(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id in [*RUNS, "long"]:
            page = await trial.page(run_id)
            first = page.events[0].seq if page.events else page.last_seq + 1
            assert page.first_seq == first, run_id
            record = await trial.log.find_run("ann", run_id)
            assert record is not None
            assert record.first_seq == first, run_id


async def a_page_has_no_gap_where_events_were_evicted(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id, last in [*[(run_id, 6) for run_id in RUNS], ("long", 39)]:
            for after in range(last + 1):
                page = await trial.page(run_id, after=after, limit=1000)
                start = max(after + 1, last + 1 - len((await trial.page(run_id)).events))
                seqs = [event.seq for event in page.events]
                assert seqs == list(range(start, last + 1)), (run_id, after)


async def what_is_held_is_as_it_was_appended(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id, appended in [*[(run_id, story(6)) for run_id in RUNS], ("long", story(40))]:
            assert set(await trial.events(run_id)) <= set(appended), run_id


async def the_status_and_the_last_event_stay_when_events_are_evicted(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id in RUNS:
            page = await trial.page(run_id)
            record = await trial.log.find_run("ann", run_id)
            assert record is not None
            assert (page.status, page.last_seq) == ("completed", 6), run_id
            assert (record.status, record.last_seq) == ("completed", 6), run_id


async def a_claim_outlives_the_events_of_its_run(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id in RUNS:
            message_id = f"message of {run_id}"
            found = await trial.log.find_claim("ann", message_id)
            assert found is not None, run_id
            assert found.run_id == run_id
            again = await trial.attempt(Lease("ann", "new", "t"), message_id=message_id)
            assert again.run_id == run_id


async def a_run_whose_events_are_evicted_goes_on(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        lease = await trial.claim("long")
        await trial.append_each(lease, story(40)[:-1])
        await trial.append(lease, [event(40)])
        await trial.append(lease, [event(40)])
        assert await trial.refuses(lease, [event(42)])
        assert (await trial.page("long")).last_seq == 40
