"""Cases: each call is cancelled at its awaits; it ends as that, done wholly or not at all.

Afterwards the log is usable: whatever the call held on to, it let go of.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from agent_messaging import EventLog, Lease
from agent_messaging.testing.conformance._event_logs.trial import (
    LEASE_SECONDS,
    MakeLog,
    at_each_step,
    opened,
    story,
)
from agent_messaging.testing.conformance._expect import expect

_Question: TypeAlias = Callable[[EventLog], Awaitable[object]]


async def a_claim_that_is_cancelled_was_made_or_not(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:

        def lease(number: int) -> Lease:
            return Lease("ann", f"run {number}", f"token {number}")

        async def call(number: int) -> None:
            await trial.attempt(lease(number), message_id=f"message {number}")

        async def then(number: int) -> None:
            run = await trial.log.find_run("ann", f"run {number}")
            expect(await trial.log.find_claim("ann", f"message {number}"), run)
            listed = await trial.log.runs("ann", "thread", limit=1000)
            expect(
                [one for one in listed if one.run_id == f"run {number}"],
                [] if run is None else [run],
            )
            # Whoever does not know how it ended claims again, and goes on.
            await call(number)
            await trial.append_each(lease(number), story(3))
            expect(await trial.events(f"run {number}"), story(3))

        await at_each_step(call, then)


async def an_append_that_is_cancelled_was_made_wholly_or_not(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        leases: list[Lease] = []

        async def call(number: int) -> None:
            await trial.append(leases[number], story(6)[1:5])

        async def then(number: int) -> None:
            lease = leases[number]
            events = await trial.events(lease.run_id)
            expect(events, story(6)[:1] if len(events) < 5 else story(6)[:5])
            # Whoever does not know how it ended appends the same again.
            await call(number)
            await trial.append(lease, story(6)[5:])
            expect(await trial.events(lease.run_id), story(6))
            await claim(number + 1)

        async def claim(number: int) -> None:
            leases.append(await trial.claim(f"run {number}"))
            await trial.append(leases[number], story(6)[:1])

        await claim(0)
        await at_each_step(call, then)


async def a_question_that_is_cancelled_leaves_the_log_usable(make_log: MakeLog) -> None:
    questions: list[_Question] = [
        lambda log: log.read("ann", "run", after=1, limit=2),
        lambda log: log.find_run("ann", "run"),
        lambda log: log.find_claim("ann", "message of run"),
        lambda log: log.runs("ann", "thread", limit=9),
    ]
    async with opened(make_log) as trial:
        await trial.finished("run", length=5)
        for at, question in enumerate(questions):

            async def call(number: int, question: _Question = question) -> None:
                await question(trial.log)

            async def then(number: int, at: int = at) -> None:
                await trial.claim(f"another {at} {number}", "bob")
                expect(await trial.events("run"), story(5))

            await at_each_step(call, then)
            await trial.finished(f"another {at}", "bob")


async def a_renewal_that_is_cancelled_was_made_or_not(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run")

        async def call(number: int) -> None:
            expect(list(await trial.log.renew([lease], LEASE_SECONDS)), [])

        async def then(number: int) -> None:
            await call(number)
            expect(list(await trial.take()), [])

        await at_each_step(call, then)
        await trial.append_each(lease, story(3))


async def runs_whose_taking_is_cancelled_can_be_taken(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:

        async def call(number: int) -> None:
            await trial.take("lost", lease_seconds=10)

        async def then(number: int) -> None:
            # If it happened, nobody knows the token: the lease expires like any other.
            await trial.advance(11)
            lease = await trial.taken("next")
            await trial.append_each(lease, story(3))
            await claim(number + 1)

        async def claim(number: int) -> None:
            await trial.claim(f"run {number}", lease_seconds=10)
            await trial.advance(11)

        await claim(0)
        await at_each_step(call, then)


async def a_stop_whose_request_is_cancelled_can_be_requested(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        notices = trial.notices()
        await trial.claim("run")

        async def call(number: int) -> None:
            await trial.log.notify("ann", "run", "stop")

        async def then(number: int) -> None:
            notices.told.clear()
            expect(await trial.log.notify("ann", "run", "stop"), True)
            await notices.until("ann", "run")

        await at_each_step(call, then)


async def a_user_is_forgotten_wholly_or_not_when_that_is_cancelled(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:

        async def call(number: int) -> None:
            await trial.log.forget("ann")

        async def then(number: int) -> None:
            known = [
                await trial.log.find_run("ann", f"run {number}") is not None,
                await trial.log.find_claim("ann", f"message of run {number}") is not None,
                await trial.log.read("ann", f"run {number}", after=0, limit=9) is not None,
                bool(await trial.log.runs("ann", "thread", limit=9)),
            ]
            expect(len(set(known)), 1, known)
            await call(number)
            await trial.finished(f"run {number + 1}")

        await trial.finished("run 0")
        await at_each_step(call, then)
