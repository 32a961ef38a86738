"""Cases: every lookup is within a user, whatever the ids are made of."""

import asyncio

from agent_messaging import Lease
from agent_messaging.testing.conformance._event_logs.trial import (
    COMPLETED,
    SETTLED,
    MakeLog,
    event,
    opened,
    story,
)
from agent_messaging.testing.conformance._expect import expect, found

#: What keys may be joined with, and what may be more than itself in a key, a query or a path.
SEPARATORS = (
    *":/|.,;-_ %*?{}[]\\'\"#$&=+@~é",
    *("::", "--", "%3A", "\\:", "{}"),
)

ODD_IDS = (
    *("0", "-1", "None", "null", "*", "%", "_", "?", "..", ".", "a b", "' OR 1=1 --", '"', "\\"),
    *("{ann}", "[a]", "%s", "é", "e\u0301", "É", "漢字", "😀", "A", "a", "ß", "SS", "x" * 128),
)


async def the_same_run_id_under_two_users_is_two_runs(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        told = {"ann": story(3), "bob": story(5)}
        leases = [
            await trial.claim("run", user_id, message_id=f"message of {user_id}")
            for user_id in told
        ]
        for lease in leases:
            await trial.append_each(lease, told[lease.user_id])
        for user_id, events in told.items():
            expect(await trial.events("run", user_id), events)
            record = found(await trial.log.find_run(user_id, "run"))
            expect(record.message_id, f"message of {user_id}")


async def the_same_run_id_under_two_users_wakes_the_followers_of_the_one_alone(
    make_log: MakeLog,
) -> None:
    async with opened(make_log) as trial:
        anns, bobs = [
            await trial.claim("run", user_id, message_id=f"message of {user_id}")
            for user_id in ("ann", "bob")
        ]
        await trial.append(bobs, [event(1, COMPLETED)])
        of_ann, of_bob = trial.wakes(), trial.wakes(user_id="bob")
        await asyncio.sleep(SETTLED)
        await trial.append_each(anns, story(3)[:2])
        await of_ann.until(2)
        await trial.log.forget("ann")
        await asyncio.sleep(SETTLED)
        # A wake-up without cause is no fault, where it tells of Bob's own run.
        expect([seq for seq in of_bob.seqs if seq != 1], [], "Bob's, of Ann's run")


async def the_same_message_id_of_two_users_is_two_claims(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        for user_id in ("ann", "bob"):
            lease = Lease(user_id, f"run of {user_id}", f"token of {user_id}")
            record = await trial.attempt(lease, message_id="message")
            expect(record.run_id, f"run of {user_id}")
        for user_id in ("ann", "bob"):
            record = found(await trial.log.find_claim(user_id, "message"))
            expect(record.run_id, f"run of {user_id}")


async def the_same_thread_id_of_two_users_is_two_threads(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        for user_id in ("ann", "bob"):
            await trial.claim(f"run of {user_id}", user_id, thread_id="thread")
        for user_id in ("ann", "bob"):
            runs = await trial.log.runs(user_id, "thread", limit=9)
            expect([run.run_id for run in runs], [f"run of {user_id}"])


async def another_users_run_is_unknown(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        await trial.finished("run of ann", "ann")
        await trial.finished("run of bob", "bob")
        for user_id in ("bob", "eve"):
            expect(await trial.log.read(user_id, "run of ann", after=0, limit=9), None)
            expect(await trial.log.find_run(user_id, "run of ann"), None)
            expect(await trial.log.find_claim(user_id, "message of run of ann"), None)


async def another_users_run_takes_no_events(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        lease = await trial.claim("run of ann", "ann")
        await trial.claim("run of bob", "bob")
        for user_id in ("bob", "eve"):
            await trial.must_refuse(lease._replace(user_id=user_id), story(3))
        expect(await trial.events("run of ann"), [])


async def ids_that_would_join_to_the_same_text_are_kept_apart(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        for at, join in enumerate(SEPARATORS):
            # "u" and "a:b", and "u:a" and "b".
            left, right = f"u{at}", f"u{at}{join}a"
            one, other = f"a{join}b{at}", f"b{at}"
            await trial.claim(one, left, message_id=one, thread_id=one)
            expect(await trial.log.find_run(right, other), None, join)
            expect(await trial.log.find_claim(right, other), None, join)
            expect(list(await trial.log.runs(right, other, limit=9)), [], join)
            await trial.claim(other, right, message_id=other, thread_id=other)
            expect([run.run_id for run in await trial.log.runs(left, one, limit=9)], [one])


async def ids_of_odd_characters_are_ids_as_any(make_log: MakeLog) -> None:
    async with opened(make_log) as trial:
        for odd in ODD_IDS:
            lease = Lease(odd, odd, odd)
            record = await trial.attempt(
                lease, message_id=odd, thread_id=odd, digest=odd, owner=odd
            )
            expect((record.run_id, record.thread_id, record.message_id), (odd, odd, odd))
            await trial.append(lease, [event(1, payload=f'{{"n":{len(odd)}}}')])
        for odd in ODD_IDS:
            record = found(await trial.log.find_claim(odd, odd), odd)
            expect((record.run_id, record.digest, record.last_seq), (odd, odd, 1))
            expect([run.run_id for run in await trial.log.runs(odd, odd, limit=9)], [odd])
            expect(await trial.events(odd, odd), [event(1, payload=f'{{"n":{len(odd)}}}')])
