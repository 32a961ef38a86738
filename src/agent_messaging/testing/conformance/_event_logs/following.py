"""Cases: who follows a run is woken, and who then reads misses nothing and gets nothing twice."""

import asyncio

from agent_messaging import Lease, LoggedEvent
from agent_messaging.testing.conformance._event_logs.trial import (
    SETTLED,
    MakeLog,
    Trial,
    Wakes,
    event,
    opened,
    story,
)
from agent_messaging.testing.conformance._expect import expect


async def every_append_wakes_who_follows(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        wakes = trial.wakes()
        await asyncio.sleep(SETTLED)
        for one in story(4):
            await trial.append(lease, [one])
            await wakes.until(one.seq)


async def a_batch_wakes_who_follows_with_its_last_event(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        wakes = trial.wakes()
        await asyncio.sleep(SETTLED)
        await trial.append(lease, story(7)[:5])
        await wakes.until(5)
        await trial.append(lease, story(7)[5:])
        await wakes.until(7)


async def all_who_follow_a_run_are_woken(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        every = [trial.wakes() for _ in range(5)]
        await asyncio.sleep(SETTLED)
        await trial.append(lease, [event(1)])
        for wakes in every:
            await wakes.until(1)


async def nobody_is_woken_who_follows_no_more(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        left, stayed = Wakes(), Wakes()
        unfollow = trial.log.follow("ann", "run", left.wake)
        stay = trial.log.follow("ann", "run", stayed.wake)
        await asyncio.sleep(SETTLED)
        unfollow()
        unfollow()
        await trial.append(lease, [event(1)])
        await stayed.until(1)
        await asyncio.sleep(SETTLED)
        expect(left.seqs, [])
        stay()


async def who_stops_following_while_others_are_woken_is_not_woken(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        calls: list[int] = []
        done = asyncio.Event()

        # Each stops the other: whoever comes first, one of them is never called.
        def first(seq: int) -> None:
            calls.append(1)
            unfollow_second()
            done.set()

        def second(seq: int) -> None:
            calls.append(2)
            unfollow_first()
            done.set()

        unfollow_first = trial.log.follow("ann", "run", first)
        unfollow_second = trial.log.follow("ann", "run", second)
        await asyncio.sleep(SETTLED)
        await trial.append(lease, [event(1)])
        await done.wait()
        await asyncio.sleep(SETTLED)
        expect(len(set(calls)), 1)
        unfollow_first()
        unfollow_second()


async def a_run_that_is_forgotten_wakes_with_zero(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")
        await trial.append(lease, [event(1)])
        wakes = trial.wakes()
        await asyncio.sleep(SETTLED)
        await trial.log.forget("ann")
        await wakes.until(0)


async def a_run_that_is_unknown_may_be_followed(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        unfollow = trial.log.follow("ann", "other", Wakes().wake)
        await trial.finished("run")
        unfollow()
        unfollow()


async def who_follows_and_then_reads_misses_nothing(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        # The reader comes at every moment of a run, whose events come closer and less close.
        for gap in range(4):
            for start in range(12):
                lease = await trial.claim(f"run {gap} {start}")
                reader = asyncio.create_task(_gathered(trial, lease.run_id, start))
                await _tell(trial, lease, gap)
                seqs = [event.seq for event in await reader]
                expect(seqs, [1, 2, 3, 4, 5, 6], (gap, start))


async def _tell(trial: Trial, lease: Lease, gap: int) -> None:
    for one in story(6):
        await trial.append(lease, [one])
        for _ in range(gap):
            await asyncio.sleep(0)


async def _gathered(trial: Trial, run_id: str, start: int) -> list[LoggedEvent]:
    """What a reader gets who comes so many turns of the loop late, and reads when woken."""
    for _ in range(start):
        await asyncio.sleep(0)
    wakes = Wakes()
    unfollow = trial.log.follow("ann", run_id, wakes.wake)
    events: list[LoggedEvent] = []
    while True:
        cursor = events[-1].seq if events else 0
        page = await trial.page(run_id, after=cursor, limit=2)
        events.extend(page.events)
        if not page.events:
            if page.is_ended:
                break
            await wakes.again()
    unfollow()
    return events
