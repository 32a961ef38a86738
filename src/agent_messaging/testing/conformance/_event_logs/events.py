"""Cases: what is appended is read."""

import asyncio

from agent_messaging import MessageType
from agent_messaging.testing.conformance._event_logs.trial import (
    COMPLETED,
    STARTED,
    MakeLog,
    event,
    opened,
    story,
)
from agent_messaging.testing.conformance._expect import expect, found

#: Enough for several pages of any size that a log may use inside.
LENGTH = 300


async def events_are_read_in_the_order_in_which_they_were_appended(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run", length=LENGTH)
        seqs = [event.seq for event in await trial.pages("run", 64)]
        expect(seqs, sorted(seqs))


async def no_event_is_missing(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run", length=LENGTH)
        seqs = {event.seq for event in await trial.pages("run", 64)}
        expect(sorted(set(range(1, LENGTH + 1)) - seqs), [], "missing")


async def no_event_comes_twice(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run", length=LENGTH)
        seqs = [event.seq for event in await trial.pages("run", 64)]
        expect(len(seqs), len(set(seqs)))


async def events_are_read_as_they_were_appended(make_log: MakeLog) -> None:
    payloads = ["{}", '{"text":"\\u00e9\\ud83d\\ude00\\u0000\\n"}', f'{{"long":"{"x" * 100_000}"}}']
    times = [0.0, 1_700_000_000.123456, 1e-9, 0.1 + 0.2]
    events = [event(1, STARTED)]
    events += [event(2 + at, payload=payload) for at, payload in enumerate(payloads)]
    events += [event(len(events) + 1 + at, timestamp=time) for at, time in enumerate(times)]
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append_each(lease, events)
        read = await trial.events("run")
        expect(read, events)
        expect({type(event.type) for event in read}, {MessageType})


async def events_that_were_appended_together_are_read(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, story(5)[:3])
        await trial.append(lease, story(5)[3:])
        expect(await trial.events("run"), story(5))


async def nothing_is_appended_where_there_is_nothing_to_append(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, [])
        await trial.append_each(lease, story(3))
        await trial.append(lease, [])
        expect(await trial.events("run"), story(3))


async def a_page_starts_after_its_cursor_and_ends_at_its_limit(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run", length=5)
        for after in range(8):
            for limit in (1, 2, 4, 5, 6):
                page = await trial.page("run", after=after, limit=limit)
                expect(list(page.events), story(5)[after : after + limit], (after, limit))
                expect((page.first_seq, page.last_seq), (1, 5), "those of the run, not the page")


async def a_run_is_where_its_last_event_says(make_log: MakeLog) -> None:
    statuses = {
        MessageType.AGENT_QUEUED: "queued",
        MessageType.AGENT_STARTED: "running",
        MessageType.AGENT_THINKING: "running",
        MessageType.TOOL_EXECUTING: "running",
        MessageType.TOOL_COMPLETED: "running",
        MessageType.AGENT_RESPONSE_CHUNK: "running",
        MessageType.AGENT_PROGRESS: "running",
        MessageType.AGENT_COMPLETED: "completed",
        MessageType.AGENT_FAILED: "failed",
        MessageType.AGENT_CANCELLED: "cancelled",
    }
    async with opened(make_log) as trial:
        for kind, status in statuses.items():
            lease = await trial.claim(kind.value)
            expect((await trial.page(kind.value)).status, "queued", "before the first event")
            await trial.append(lease, [event(1, kind)])
            page = await trial.page(kind.value)
            record = found(await trial.log.find_run("ann", kind.value))
            expect(page.status, status, kind)
            expect(record.status, status, kind)


async def a_page_and_a_record_tell_the_same_first_and_last_event(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        for last in range(4):
            page = await trial.page("run")
            record = found(await trial.log.find_run("ann", "run"))
            expect((page.first_seq, page.last_seq), (1, last))
            expect((record.first_seq, record.last_seq), (1, last))
            await trial.append(lease, [event(last + 1)])


async def a_page_that_was_read_stays_as_it_is(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append_each(lease, story(4)[:2])
        page = await trial.page("run")
        await trial.append_each(lease, story(4)[2:])
        await trial.log.forget("ann")
        expect(list(page.events), story(4)[:2])


async def the_newest_runs_of_a_thread_come_oldest_first(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        names = ["c", "a", "d", "b"]
        leases = [await trial.claim(name, thread_id="one") for name in names]
        await trial.claim("e", thread_id="two")
        # The order is that of the claims: it does not matter which ends, or speaks, first.
        await trial.append_each(leases[2], story(3))
        await trial.append(leases[0], [event(1, COMPLETED)])
        for limit in (1, 2, 4, 9):
            runs = await trial.log.runs("ann", "one", limit=limit)
            expect([run.run_id for run in runs], names[-limit:], limit)
        expect(list(await trial.log.runs("ann", "three", limit=9)), [])


async def those_that_have_not_ended_are_found_behind_any_number_that_have(
    make_log: MakeLog,
) -> None:
    async with opened(make_log) as trial:
        names = ["queued", "ended", "under way", "failed", "new"]
        leases = {name: await trial.claim(name) for name in names}
        await trial.claim("elsewhere", thread_id="another")
        await trial.append_each(leases["ended"], story(3))
        await trial.append(leases["failed"], [event(1, MessageType.AGENT_FAILED)])
        await trial.append(leases["under way"], story(3)[:1])
        unended = ["queued", "under way", "new"]
        for limit in (1, 2, 3, 9):
            runs = await trial.log.runs("ann", "thread", limit=limit, unended=True)
            expect([run.run_id for run in runs], unended[-limit:], limit)
        expect(list(await trial.log.runs("bob", "thread", limit=9, unended=True)), [])


async def a_run_that_nobody_has_is_told_as_none(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run")
        expect(await trial.log.read("ann", "other", after=0, limit=9), None)
        expect(await trial.log.find_run("ann", "other"), None)
        expect(await trial.log.find_claim("ann", "other"), None)


async def runs_are_appended_to_at_once(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        leases = [await trial.claim(f"run {number}") for number in range(8)]
        await asyncio.gather(*[trial.append_each(lease, story(6)) for lease in leases])
        for lease in leases:
            expect(await trial.events(lease.run_id), story(6), lease.run_id)
