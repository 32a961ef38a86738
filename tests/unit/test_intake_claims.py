"""A message on its way to a run while its claim takes time, fails, hangs, or is given up."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextvars import ContextVar
from typing import Any, cast

import pytest

from agent_messaging import Limits, Run, RunFinished, ThreadPolicy
from agent_messaging._users import User
from agent_messaging.testing import RecordingTransport, run_virtual
from support import tasks_left
from support.endpoints import Connection, Site, frame, now, settle
from support.logs import Act, Gate, TroubledLog, fails, hangs, loses, site_on, takes, waits_for

PACES = [Act(), Act(yields=2), Act(yields_after=2), takes(1.0), takes(0.0, after=1.0)]


def sends(client: Connection, text: str, message_id: str, thread_id: str) -> asyncio.Task[None]:
    """A message on its way, in a task of the host's."""
    payload = {"text": text}
    text_frame = frame("chat", payload, message_id=message_id, thread_id=thread_id)
    return asyncio.create_task(client.session.receive(text_frame))


def reasons(finished: list[RunFinished]) -> dict[str, str | None]:
    return {each.context.message_id: each.reason for each in finished}


def is_clear(site: Site) -> bool:
    """Whether no run and no place is taken."""
    users: Iterable[User] = cast("Any", site.endpoint)._users.all()
    return not any(user.places or user.threads or user.runs for user in users)


# Claims that take time.


@pytest.mark.parametrize("claim", PACES)
@pytest.mark.parametrize("find", PACES)
def test_a_message_is_accepted_when_its_claim_is_made(find: Act, claim: Act) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("find_claim", find)
        log.always("claim", claim)
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("answer", "m1")
            assert await client.heard() == "m1 started, m1 completed"
            await client.chat("answer", "m1")
            assert await client.heard() == "m1 started, m1 completed"
            assert site.endpoint.stats()["retries"] == 1

    run_virtual(main())


@pytest.mark.parametrize("claims", [(1.0, 1.0), (2.0, 1.0), (1.0, 2.0), (0.0, 1.0), (1.0, 0.0)])
def test_of_two_messages_at_once_on_one_thread_the_first_runs_first(
    claims: tuple[float, float],
) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("claim", *map(takes, claims))
        async with site_on(log) as site:
            first, second = await site.connect(), await site.connect()
            one = sends(first, "work 2", "m1", "t1")
            two = sends(second, "answer", "m2", "t1")
            await asyncio.gather(one, two)
            await asyncio.sleep(10.0)
            assert await first.heard() == "m1 started, m1 completed"
            assert await second.heard() == "m2 queued 1, m2 started, m2 completed"
            assert site.endpoint.stats()["runs_completed"] == 2

    run_virtual(main())


def test_one_whose_turn_comes_while_it_is_claimed_begins_when_it_is() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("claim", Act(), takes(5.0))
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("work 1", "m1", "t1")
            sending = sends(client, "answer", "m2", "t1")
            await asyncio.sleep(3.0)
            assert await client.heard() == "m1 started, m1 completed"
            await sending
            assert await client.heard() == "m2 started, m2 completed"

    run_virtual(main())


def test_the_next_of_a_queue_has_its_turn_when_the_claim_before_it_fails() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log, log_timeout=2.0) as site:
            first, second = await site.connect(), await site.connect()
            log.plan("claim", hangs())
            sending = sends(first, "answer", "m1", "t1")
            await settle()
            await second.chat("answer", "m2", "t1")
            await sending
            assert await first.heard() == "error log_unavailable m1"
            assert await second.heard() == "m2 queued 1, m2 started, m2 completed"

    run_virtual(main())


@pytest.mark.parametrize(("policy", "code"), [("reject", "thread_busy"), ("queue", "queue_full")])
def test_a_thread_is_busy_from_the_claim_on(policy: str, code: str) -> None:
    async def main() -> None:
        log = TroubledLog()
        limits = Limits(queued_per_thread=1)
        async with site_on(log, thread_policy=policy, limits=limits, log_timeout=2.0) as site:
            clients = [await site.connect() for _ in range(3)]
            claimed = clients[:2] if policy == "queue" else clients[:1]
            log.plan("claim", *[hangs()] * len(claimed))
            sending = [
                sends(client, "answer", f"m{number}", "t1") for number, client in enumerate(claimed)
            ]
            await settle()
            await clients[2].chat("answer", "m2", "t1")
            assert await clients[2].heard() == f"error {code} m2"
            await asyncio.gather(*sending)
            assert is_clear(site)
            await clients[2].chat("answer", "m2", "t1")
            assert await clients[2].heard() == "m2 started, m2 completed"

    run_virtual(main())


def test_places_are_taken_from_the_claim_on_and_given_back_when_it_fails() -> None:
    async def main() -> None:
        log = TroubledLog()
        limits = Limits(runs_per_user=1)
        async with site_on(log, limits=limits, log_timeout=2.0) as site:
            first, second = await site.connect(), await site.connect()
            log.plan("claim", hangs())
            sending = sends(first, "answer", "m1", "t1")
            await settle()
            await second.chat("answer", "m2", "t2")
            assert await second.heard() == "error too_many_runs m2"
            await sending
            assert is_clear(site)
            await second.chat("answer", "m2", "t2")
            assert await second.heard() == "m2 started, m2 completed"

    run_virtual(main())


def test_one_that_replaces_cancels_nothing_before_it_is_claimed() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log, thread_policy="replace", log_timeout=2.0) as site:
            client = await site.connect()
            await client.chat("work 10", "m1", "t1")
            log.plan("claim", hangs())
            await client.chat("answer", "m2", "t1")
            assert await client.heard() == "m1 started, error log_unavailable m2"
            log.plan("claim", takes(1.0))
            await client.chat("answer", "m3", "t1")
            assert await client.heard() == (
                "m3 queued 1, m1 cancelled replaced, m3 started, m3 completed"
            )

    run_virtual(main())


@pytest.mark.parametrize("claims", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0)])
def test_the_last_of_those_that_replace_one_another_remains(claims: tuple[float, float]) -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log, thread_policy="replace") as site:
            client = await site.connect()
            await client.chat("work 10", "m1", "t1")
            log.plan("claim", *map(takes, claims))
            second = await site.connect()
            await asyncio.gather(
                sends(client, "work 10", "m2", "t1"), sends(second, "answer", "m3", "t1")
            )
            await asyncio.sleep(20.0)
            assert (await second.heard()).endswith("m3 started, m3 completed")
            assert reasons(site.finished) == {"m1": "replaced", "m2": "replaced", "m3": None}

    run_virtual(main())


# While a claim is under way.


def test_a_stop_before_the_log_knows_of_the_run_stops_nothing() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client, other = await site.connect(), await site.connect()
            log.plan("claim", waits_for(gate))
            sending = sends(client, "answer", "m1", "t1")
            await other.stop(thread_id="t1")
            assert await other.heard() == "stopped nothing"
            gate.open()
            await sending
            assert await client.heard() == "m1 started, m1 completed"

    run_virtual(main())


@pytest.mark.parametrize("names", ["thread", "run"])
def test_a_stop_once_the_log_knows_of_the_run_stops_it_as_soon_as_it_is_accepted(
    names: str,
) -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client, other = await site.connect(), await site.connect()
            log.plan("claim", waits_for(gate, answer_alone=True))
            sending = sends(client, "work 100", "m1", "t1")
            await settle()
            [record] = await log.inner.runs("u1", "t1", limit=9)
            if names == "thread":
                await other.stop(thread_id="t1")
            else:
                await other.stop(run_id=record.run_id)
            assert await other.heard() == ""
            gate.open()
            await sending
            assert await client.heard() == "m1 started, m1 cancelled stopped"
            assert await other.heard() == "stopped m1"
            assert now() < 1.0

    run_virtual(main())


def test_a_session_that_resumes_a_run_which_is_being_claimed_is_a_watcher_of_it() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client, other = await site.connect(), await site.connect()
            log.plan("claim", waits_for(gate, answer_alone=True))
            sending = sends(client, "work 5", "m1", "t1")
            await settle()
            await other.resume(thread_id="t1")
            gate.open()
            await sending
            assert [info.watchers for info in site.endpoint.runs("u1")] == [2]
            await client.close()
            await asyncio.sleep(10.0)
            assert (await other.heard()).endswith("m1 started, m1 completed")

    run_virtual(main())


def test_a_watcher_that_leaves_before_the_run_is_accepted_takes_nobody_with_it() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client, other = await site.connect(), await site.connect()
            log.plan("claim", waits_for(gate, answer_alone=True))
            sending = sends(client, "work 5", "m1", "t1")
            await settle()
            await other.resume(thread_id="t1")
            await other.close()
            gate.open()
            await sending
            await asyncio.sleep(10.0)
            assert await client.heard() == "m1 started, m1 completed"

    run_virtual(main())


@pytest.mark.parametrize("answer_alone", [True, False])
@pytest.mark.parametrize(("policy", "reason"), [("cancel", "disconnected"), ("detach", None)])
def test_a_message_whose_client_leaves_while_it_is_claimed_is_accepted(
    policy: str, reason: str | None, answer_alone: bool
) -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, on_disconnect=policy) as site:
            client = await site.connect()
            log.plan("claim", waits_for(gate, answer_alone=answer_alone))
            sending = sends(client, "work 5", "m1", "t1")
            await settle()
            await client.close()
            gate.open()
            await sending
            await asyncio.sleep(10.0)
            assert reasons(site.finished) == {"m1": reason}
            again = await site.connect()
            await again.chat("work 5", "m1")
            outcome = "completed" if reason is None else "cancelled disconnected"
            assert await again.heard() == f"m1 started, m1 {outcome}"

    run_virtual(main())


@pytest.mark.parametrize("is_known", [True, False])
def test_a_message_whose_client_leaves_while_it_is_looked_up_has_not_come(is_known: bool) -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, on_disconnect="detach") as site:
            client, other = await site.connect(), await site.connect()
            if is_known:
                await other.chat("answer", "m1", "t1")
            log.plan("find_claim", waits_for(gate))
            sending = sends(client, "answer", "m1", "t1")
            await settle()
            await client.close()
            gate.open()
            await sending
            assert log.calls["claim"] == is_known
            assert len(site.finished) == is_known
            assert site.endpoint.stats()["retries"] == 0
            assert is_clear(site)

    run_virtual(main())


def test_a_client_that_comes_back_while_its_message_is_claimed_watches_the_run() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client = await site.connect()
            log.plan("claim", waits_for(gate, answer_alone=True))
            sending = sends(client, "work 5", "m1", "t1")
            await settle()
            again = await site.connect()
            await again.chat("work 5", "m1", "t1")
            await client.close()
            gate.open()
            await sending
            await asyncio.sleep(10.0)
            assert await again.heard() == "m1 started, m1 completed"
            assert site.endpoint.stats()["runs_accepted"] == 1

    run_virtual(main())


@pytest.mark.parametrize("timeout", [100.0, 1.0])
@pytest.mark.parametrize("answer_alone", [True, False])
def test_draining_waits_for_a_message_that_is_being_claimed(
    answer_alone: bool, timeout: float
) -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client = await site.connect()
            log.plan("claim", waits_for(gate, answer_alone=answer_alone))
            sending = sends(client, "work 5", "m1", "t1")
            await settle()
            draining = asyncio.create_task(site.endpoint.drain(timeout))
            await asyncio.sleep(2.0)
            assert not draining.done()
            gate.open()
            await sending
            await draining
            end = "completed" if timeout == 100.0 else "cancelled shutdown"
            assert await client.heard() == f"m1 started, m1 {end}"

    run_virtual(main())


def test_a_message_whose_claim_was_not_looked_up_before_draining_is_refused() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client = await site.connect()
            log.plan("find_claim", waits_for(gate))
            sending = sends(client, "answer", "m1", "t1")
            await settle()
            await site.endpoint.drain()
            gate.open()
            await sending
            assert await client.heard() == "error shutting_down m1"

    run_virtual(main())


def test_a_cancelled_leaving_waits_for_a_message_that_is_being_claimed() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        sites: list[Site] = []
        sendings: list[asyncio.Task[None]] = []

        async def host() -> None:
            async with site_on(log) as site:
                sites.append(site)
                client = await site.connect()
                log.plan("claim", waits_for(gate))
                sendings.append(sends(client, "work 5", "m1", "t1"))
                await settle()

        hosting = asyncio.create_task(host())
        await asyncio.sleep(1.0)
        hosting.cancel()
        await asyncio.sleep(1.0)
        assert not hosting.done()
        gate.open()
        await asyncio.gather(hosting, return_exceptions=True)
        assert hosting.cancelled()
        assert reasons(sites[0].finished) == {"m1": "shutdown"}
        assert tasks_left() == []
        await sendings[0]

    run_virtual(main())


def test_forgetting_a_user_waits_for_a_message_that_is_being_claimed() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client = await site.connect()
            log.plan("claim", waits_for(gate))
            sending = sends(client, "work 100", "m1", "t1")
            await settle()
            forgetting = asyncio.create_task(site.endpoint.forget("u1"))
            await settle()
            assert not forgetting.done()
            gate.open()
            await sending
            await forgetting
            assert await log.inner.runs("u1", "t1", limit=9) == ()
            assert reasons(site.finished) == {"m1": "cancelled"}

    run_virtual(main())


# Claims that fail.


@pytest.mark.parametrize("method", ["find_claim", "claim"])
@pytest.mark.parametrize("act", [fails(), fails(seconds=1.0), fails(lambda: TypeError("a fault"))])
def test_a_claim_that_fails_is_tried_again_and_nobody_sees_it(method: str, act: Act) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan(method, act, act, act)
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("answer", "m1", "t1")
            assert await client.heard() == "m1 started, m1 completed"
            assert log.calls[method] == 4

    run_virtual(main())


@pytest.mark.parametrize("act", [loses(), loses(seconds=1.0)])
def test_a_claim_whose_answer_is_lost_is_won_all_the_same(act: Act) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("claim", act, act)
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("answer", "m1", "t1")
            assert await client.heard() == "m1 started, m1 completed"
            assert len(await log.inner.runs("u1", "t1", limit=9)) == 1

    run_virtual(main())


@pytest.mark.parametrize("method", ["find_claim", "claim"])
@pytest.mark.parametrize("act", [fails(), hangs(), takes(60.0)])
def test_a_message_that_cannot_be_claimed_is_refused_and_leaves_nothing(
    method: str, act: Act
) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always(method, act)
        async with site_on(log, log_timeout=3.0) as site:
            client = await site.connect()
            begin = now()
            await client.chat("answer", "m1", "t1")
            assert now() - begin == pytest.approx(3.0, abs=0.01)
            assert await client.heard() == "error log_unavailable m1"
            assert is_clear(site)
            assert site.endpoint.stats()["refusals"] == {"log_unavailable": 1}
            log.always(method, Act())
            await client.chat("answer", "m1", "t1")
            assert await client.heard() == "m1 started, m1 completed"

    run_virtual(main())


def test_a_session_whose_message_hangs_is_not_held_up_for_ever() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("claim", hangs())
        async with site_on(log, log_timeout=3.0) as site:
            client = await site.connect()
            one = sends(client, "answer", "m1", "t1")
            two = asyncio.create_task(client.session.receive(frame("ping", {"id": "p"})))
            await asyncio.gather(one, two)
            assert await client.heard() == "error log_unavailable m1, pong p"

    run_virtual(main())


# A host that gives a frame up.


@pytest.mark.parametrize("act", [takes(2.0), takes(0.0, after=2.0), hangs()])
def test_a_message_that_is_given_up_while_it_is_looked_up_has_not_come(act: Act) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("find_claim", act)
        async with site_on(log) as site:
            client = await site.connect()
            sending = sends(client, "answer", "m1", "t1")
            await asyncio.sleep(1.0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            assert sending.cancelled()
            await asyncio.sleep(10.0)
            assert log.calls["claim"] == 0
            assert is_clear(site)
            await client.chat("answer", "m1", "t1")
            assert await client.heard() == "m1 started, m1 completed"

    run_virtual(main())


@pytest.mark.parametrize("again", [Act(), takes(1.0), fails(), loses()])
@pytest.mark.parametrize("act", [takes(2.0), takes(0.0, after=2.0)])
def test_a_message_that_is_given_up_while_it_is_claimed_is_accepted_all_the_same(
    act: Act, again: Act
) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("claim", act, again)
        async with site_on(log) as site:
            client = await site.connect()
            sending = sends(client, "answer", "m1", "t1")
            await asyncio.sleep(1.0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            assert sending.cancelled()
            await asyncio.sleep(10.0)
            assert await client.heard() == "m1 started, m1 completed"
            assert len(await log.inner.runs("u1", "t1", limit=9)) == 1
            assert is_clear(site)

    run_virtual(main())


def test_a_message_that_is_given_up_and_cannot_be_claimed_is_refused() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("claim", hangs())
        async with site_on(log, log_timeout=3.0) as site:
            client = await site.connect()
            sending = sends(client, "answer", "m1", "t1")
            await asyncio.sleep(1.0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            assert not is_clear(site)
            await asyncio.sleep(3.1)
            assert await client.heard() == "error log_unavailable m1"
            assert is_clear(site)
            assert site.endpoint.stats()["refusals"] == {"log_unavailable": 1}

    run_virtual(main())


def test_leaving_waits_for_the_claim_of_a_message_that_was_given_up() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("claim", takes(0.0, after=2.0), takes(4.0))
        async with site_on(log) as site:
            client = await site.connect()
            sending = sends(client, "answer", "m1", "t1")
            await asyncio.sleep(1.0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert reasons(site.finished) == {"m1": None}

    run_virtual(main())


def test_a_message_that_is_given_up_and_was_used_for_another_is_refused_once() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site, site_on(log) as elsewhere:
            client, other = await site.connect(), await elsewhere.connect()
            log.plan("claim", waits_for(gate))
            sending = sends(client, "answer", "m1", "t1")
            await settle()
            sending.cancel()
            log.plan("claim", Act(), takes(1.0))
            await other.chat("work 1", "m1", "t2")
            await asyncio.sleep(1.0)
            assert await client.heard() == "error message_id_conflict m1"
            await asyncio.sleep(1.0)
            assert await other.heard() == "m1 started, m1 completed"
            assert is_clear(site)

    run_virtual(main())


def test_a_message_that_is_given_up_and_came_twice_is_answered_as_a_retry() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            client, other = await site.connect(), await site.connect()
            log.plan("claim", waits_for(gate))
            sending = sends(client, "work 1", "m1", "t1")
            await settle()
            sending.cancel()
            log.plan("claim", Act(), takes(1.0))
            await other.chat("work 1", "m1", "t1")
            await asyncio.sleep(5.0)
            assert (await other.heard()).endswith("m1 started, m1 completed")
            assert (await client.heard()).endswith("m1 started, m1 completed")
            assert site.endpoint.stats()["runs_accepted"] == 1
            assert is_clear(site)

    run_virtual(main())


def test_a_served_socket_that_closes_while_a_message_is_claimed_leaves_the_run_its_end() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log, on_disconnect="detach") as site:
            client = RecordingTransport()

            async def frames() -> AsyncGenerator[str, None]:
                yield frame("chat", {"text": "answer"}, message_id="m1", thread_id="t1")

            log.plan("claim", waits_for(gate))
            serving = asyncio.create_task(site.endpoint.serve("u1", frames(), client))
            await settle()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            assert serving.cancelled()
            gate.open()
            await asyncio.sleep(1.0)
            assert len(client.frames) == 1
            assert reasons(site.finished) == {"m1": None}
            assert is_clear(site)

    run_virtual(main())


def test_a_stream_that_is_given_up_while_its_message_is_claimed_leaves_the_run_its_end() -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        async with site_on(log) as site:
            log.plan("claim", waits_for(gate))
            body = frame("chat", {"text": "work 5"}, message_id="m1")
            streaming = asyncio.create_task(site.endpoint.stream("u1", body))
            await settle()
            streaming.cancel()
            await asyncio.gather(streaming, return_exceptions=True)
            assert streaming.cancelled()
            gate.open()
            await asyncio.sleep(1.0)
            assert reasons(site.finished) == {"m1": "disconnected"}
            assert site.endpoint.users() == {}

    run_virtual(main())


# The same message twice at once.


@pytest.mark.parametrize("policy", ["queue", "replace", "parallel"])
@pytest.mark.parametrize("finds", PACES)
@pytest.mark.parametrize(
    "claims",
    [
        (Act(), Act()),
        (takes(1.0), takes(1.0)),
        (takes(2.0), takes(1.0)),
        (takes(1.0), takes(2.0)),
        (takes(0.0, after=2.0), takes(1.0)),
        (takes(1.0), takes(0.0, after=2.0)),
        (fails(), Act()),
        (Act(yields=1), Act()),
    ],
)
def test_the_same_message_at_once_is_one_run_and_both_get_its_events(
    claims: tuple[Act, Act], finds: Act, policy: str
) -> None:
    async def main() -> None:
        log = TroubledLog()
        log.plan("find_claim", finds, finds)
        log.plan("claim", *claims)
        async with site_on(log, thread_policy=policy) as site:
            clients = [await site.connect(), await site.connect()]
            await asyncio.gather(*[sends(client, "work 3", "m1", "t1") for client in clients])
            [info] = site.endpoint.runs("u1")
            assert info.watchers == 2
            await asyncio.sleep(10.0)
            for client in clients:
                kinds = [received["type"] for received in client.frames if "seq" in received]
                assert kinds[-2:] == ["agent_started", "agent_completed"]
                assert len({each["run_id"] for each in client.frames if "seq" in each}) == 1
            stats = site.endpoint.stats()
            assert (stats["runs_accepted"], stats["retries"]) == (1, 1)
            assert is_clear(site)

    run_virtual(main())


def test_other_content_at_once_is_a_conflict_for_the_second() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("claim", takes(1.0))
        async with site_on(log) as site:
            first, second = await site.connect(), await site.connect()
            await asyncio.gather(
                sends(first, "answer", "m1", "t1"), sends(second, "work 1", "m1", "t1")
            )
            assert await first.heard() == "m1 started, m1 completed"
            assert await second.heard() == "error message_id_conflict m1"
            assert is_clear(site)

    run_virtual(main())


def test_another_thread_at_once_is_a_conflict_for_the_second() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("claim", takes(1.0))
        async with site_on(log) as site:
            first, second = await site.connect(), await site.connect()
            await asyncio.gather(
                sends(first, "answer", "m1", "t1"), sends(second, "answer", "m1", "t2")
            )
            assert await first.heard() == "m1 started, m1 completed"
            assert await second.heard() == "error message_id_conflict m1"
            assert is_clear(site)

    run_virtual(main())


def test_the_same_message_of_two_users_is_two_messages() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("claim", takes(1.0))
        async with site_on(log) as site:
            first, second = await site.connect("u1"), await site.connect("u2")
            await asyncio.gather(
                sends(first, "answer", "m1", "t1"), sends(second, "answer", "m1", "t1")
            )
            await settle()
            assert site.endpoint.stats()["runs_accepted"] == 2
            assert [len(client.frames) for client in (first, second)] == [3, 3]

    run_virtual(main())


def test_a_claim_that_was_made_and_never_answered_is_nobodys_run_until_it_is_taken_over() -> None:
    async def main() -> None:
        log = TroubledLog()
        log.always("claim", takes(0.0, after=60.0))
        async with Site(log=log, log_timeout=2.0) as site:
            client = await site.connect()
            await client.chat("answer", "m1", "t1")
            assert await client.heard() == "error log_unavailable m1"
            assert is_clear(site)
            # A retry finds the claim, and watches what has no owner that works on it.
            await client.chat("answer", "m1", "t1")
            await asyncio.sleep(5.0)
            assert await client.heard() == ""
            await client.send("ping")
            assert await client.heard() == "pong"

    run_virtual(main())


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="nothing")


def test_an_agent_runs_in_the_context_of_its_message_however_late_it_is_claimed() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def agent(run: Run) -> None:
            seen.append(VARIABLE.get())

        async def traced(client: Connection, message_id: str) -> None:
            VARIABLE.set(f"trace of {message_id}")
            await sends(client, "go", message_id, "t1")

        log = TroubledLog()
        log.plan("claim", takes(2.0), takes(0.0, after=2.0), takes(1.0))
        async with site_on(log, agent) as site:
            client = await site.connect()
            await asyncio.create_task(traced(client, "m1"))
            given_up = asyncio.create_task(traced(client, "m2"))
            await asyncio.sleep(1.0)
            given_up.cancel()
            await asyncio.sleep(5.0)
            assert seen == ["trace of m1", "trace of m2"]

    run_virtual(main())


@pytest.mark.parametrize("policy", ["queue", "reject"])
def test_a_message_that_comes_again_while_it_is_claimed_is_a_retry_whatever_the_limits(
    policy: ThreadPolicy,
) -> None:
    async def main() -> None:
        log, gate = TroubledLog(), Gate()
        limits = Limits(runs_per_user=1, messages_per_minute=1)
        async with site_on(log, thread_policy=policy, limits=limits) as site:
            client, other = await site.connect(), await site.connect()
            log.plan("claim", waits_for(gate))
            first = sends(client, "answer", "m1", "t1")
            await settle()
            again = sends(other, "answer", "m1", "t1")
            await settle()
            gate.open()
            await asyncio.gather(first, again)
            await settle()
            assert await client.heard() == "m1 started, m1 completed"
            assert await other.heard() == "m1 started, m1 completed"
            assert site.endpoint.stats()["retries"] == 1
            assert is_clear(site)

    run_virtual(main())


def test_a_message_that_comes_again_while_its_claim_fails_is_claimed_then() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            client, other = await site.connect(), await site.connect()
            log.plan("claim", hangs())
            first = sends(client, "answer", "m1", "t1")
            await settle()
            again = sends(other, "answer", "m1", "t1")
            await asyncio.gather(first, again)
            assert await client.heard() == "error log_unavailable m1"
            assert await other.heard() == "m1 started, m1 completed"
            assert is_clear(site)

    run_virtual(main())
