"""Cases: a log that lets go of events says so. One that never does passes them all."""

from agent_messaging import Lease
from agent_messaging.testing.conformance._event_logs.trial import (
    MakeLog,
    Trial,
    event,
    opened,
    story,
)
from agent_messaging.testing.conformance._expect import expect, found

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
            expect(page.first_seq, first, run_id)
            record = found(await trial.log.find_run("ann", run_id))
            expect(record.first_seq, first, run_id)


async def a_page_has_no_gap_where_events_were_evicted(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id, last in [*[(run_id, 6) for run_id in RUNS], ("long", 39)]:
            for after in range(last + 1):
                page = await trial.page(run_id, after=after, limit=1000)
                start = max(after + 1, last + 1 - len((await trial.page(run_id)).events))
                seqs = [event.seq for event in page.events]
                expect(seqs, list(range(start, last + 1)), (run_id, after))


async def what_is_held_is_as_it_was_appended(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id, appended in [*[(run_id, story(6)) for run_id in RUNS], ("long", story(40))]:
            others = [event for event in await trial.events(run_id) if event not in appended]
            expect(others, [], run_id)


async def the_status_and_the_last_event_stay_when_events_are_evicted(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id in RUNS:
            page = await trial.page(run_id)
            record = found(await trial.log.find_run("ann", run_id))
            expect((page.status, page.last_seq), ("completed", 6), run_id)
            expect((record.status, record.last_seq), ("completed", 6), run_id)


async def a_claim_outlives_the_events_of_its_run(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        await _filled(trial)
        for run_id in RUNS:
            message_id = f"message of {run_id}"
            record = found(await trial.log.find_claim("ann", message_id), run_id)
            expect(record.run_id, run_id)
            again = await trial.attempt(Lease("ann", "new", "t"), message_id=message_id)
            expect(again.run_id, run_id)


async def a_run_whose_events_are_evicted_goes_on(make_log: MakeLog) -> None:
    async with opened(make_log, held_events=HELD) as trial:
        lease = await trial.claim("long")
        await trial.append_each(lease, story(40)[:-1])
        await trial.append(lease, [event(40)])
        await trial.append(lease, [event(40)])
        await trial.must_refuse(lease, [event(42)])
        expect((await trial.page("long")).last_seq, 40)
