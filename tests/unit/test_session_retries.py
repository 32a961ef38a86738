"""Sending a message again: the first run answers, and it never runs twice."""

import asyncio
from typing import Any, Final

import pytest

from agent_messaging import Limits, MemoryEventLog, ThreadPolicy
from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site, frame, settle
from support.logs import Gate, TroubledLog, fails, site_on, takes, waits_for


def runs_of(connection: Connection) -> set[str]:
    """The runs that it heard of."""
    return {each["run_id"] for each in connection.frames if "run_id" in each}


@pytest.mark.parametrize(
    ("state", "heard", "later"),
    [
        ("running", "a started", "a completed"),
        ("queued", "a queued 1", "a started, a completed"),
        ("stopping", "a started", "a cancelled stopped"),
        ("over", "a started, a completed", ""),
    ],
)
def test_another_tab_that_sends_it_again_watches_the_first_run(
    state: str, heard: str, later: str
) -> None:
    act = {"running": "work 5", "queued": "work 5", "stopping": "tidy 5", "over": "answer"}[state]

    async def main() -> None:
        async with Site() as site:
            first, second = await site.connect(), await site.connect()
            if state == "queued":
                await first.chat("work 5", "before", "t")
            await first.chat(act, "a", "t")
            if state == "stopping":
                await first.stop("a")
            await second.chat(act, "a", "t")
            assert await second.heard() == heard
            await asyncio.sleep(20)
            assert await second.heard() == later
            assert runs_of(second) <= runs_of(first)
            stats = site.endpoint.stats()
            assert stats["retries"] == 1
            assert stats["runs_accepted"] == (2 if state == "queued" else 1)

    run_virtual(main())


def test_the_session_that_watches_it_gets_nothing_twice() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            for _ in range(3):
                await client.chat("work 5", "a", "t")
            assert await client.heard() == "a started"
            await asyncio.sleep(5)
            assert await client.heard() == "a completed"

    run_virtual(main())


def test_the_session_that_has_seen_its_end_gets_all_of_it_again() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            for _ in range(3):
                await client.chat("answer", "a", "t")
                assert await client.heard() == "a started, a completed"

    run_virtual(main())


@pytest.mark.parametrize("policy", ["queue", "reject", "replace", "parallel"])
def test_a_retry_is_no_message_on_its_thread(policy: ThreadPolicy) -> None:
    async def main() -> None:
        async with Site(thread_policy=policy) as site:
            client, other = await site.connect(), await site.connect()
            await client.chat("answer", "a", "t")
            await client.chat("work 5", "b", "t")
            await other.chat("answer", "a", "t")
            assert await other.heard() == "a started, a completed"
            await asyncio.sleep(5)
            assert await client.heard() == "a started, a completed, b started, b completed"

    run_virtual(main())


# The same message, or another.

FIRST: Final[dict[str, Any]] = {
    "kind": "chat",
    "payload": {"text": "answer", "more": {"a": [1, 2], "b": None}},
    "thread_id": "t",
}


@pytest.mark.parametrize(
    "again",
    [
        {},
        {"payload": {"more": {"b": None, "a": [1, 2]}, "text": "answer"}},
        {"thread_id": None},
        {"timestamp": 12.5},
        {"user_id": "u1"},
    ],
)
def test_the_same_content_is_a_retry_whatever_the_order_of_its_keys(again: dict[str, Any]) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.send(**FIRST, message_id="a")
            await client.send(**(FIRST | again), message_id="a")
            assert await client.heard() == "a started, a completed, a started, a completed"
            assert len(runs_of(client)) == 1

    run_virtual(main())


@pytest.mark.parametrize(
    "again",
    [
        {"kind": "user_message"},
        {"payload": {"text": "other"}},
        {"payload": {"text": "answer", "more": {"a": [2, 1], "b": None}}},
        {"payload": {"text": "answer", "more": {"a": [1, 2]}}},
        {"payload": {"text": "answer", "more": {"a": [True, 2], "b": None}}},
        {"payload": {"text": "answer", "more": {"a": [1, 2.0], "b": None}}},
        {"thread_id": "t2"},
    ],
)
def test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing(
    again: dict[str, Any],
) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.send(**FIRST, message_id="a")
            await client.send(**(FIRST | again), message_id="a")
            assert await client.heard() == "a started, a completed, error message_id_conflict a"
            assert site.endpoint.stats()["retries"] == 0
            await client.send(**FIRST, message_id="a")
            assert await client.heard() == "a started, a completed"

    run_virtual(main())


def test_messages_without_an_id_and_those_of_other_users_are_others() -> None:
    async def main() -> None:
        async with Site() as site:
            client, stranger = await site.connect(), await site.connect("u2")
            for _ in range(3):
                await client.chat("answer", None, "t")
            assert len(runs_of(client)) == 3
            await client.chat("answer", "a", "t")
            await stranger.chat("something else", "a", "t2")
            assert await stranger.heard() == "a started, a completed"
            assert not runs_of(client) & runs_of(stranger)

    run_virtual(main())


# Two at once.


@pytest.mark.parametrize("again", ["work 2", "another"])
def test_the_same_message_on_several_connections_at_once_runs_once(again: str) -> None:
    async def main() -> None:
        log = TroubledLog()
        gate = Gate()
        async with site_on(log) as site:
            first, second, third = [await site.connect() for _ in range(3)]
            log.plan("claim", takes(1), waits_for(gate))
            sending = [
                asyncio.create_task(client.chat(text, "a", "t"), name="an agent's own")
                for client, text in ((first, "work 2"), (second, again), (third, again))
            ]
            await asyncio.sleep(1.5)
            gate.open()
            await asyncio.wait(sending)
            assert await first.heard() == "a started"
            conflict = "error message_id_conflict a"
            for other in (second, third):
                assert await other.heard() == ("a started" if again == "work 2" else conflict)
            await asyncio.sleep(2)
            assert await first.heard() == "a completed"
            assert site.endpoint.stats()["runs_accepted"] == 1
            # What the loser had taken of the thread, it has given back.
            await first.chat("answer", "b", "t")
            assert await first.heard() == "b started, b completed"

    run_virtual(main())


def test_what_comes_behind_a_message_that_came_twice_at_once_has_its_turn() -> None:
    async def main() -> None:
        log = TroubledLog()
        gates = Gate(), Gate()
        limits = Limits(runs_per_user=1)
        async with site_on(log, limits=limits) as site:
            first, second, third = [await site.connect() for _ in range(3)]
            log.plan("claim", waits_for(gates[0]), waits_for(gates[1], answer_alone=True))
            sending = [
                asyncio.create_task(client.chat("work 2", name, "t"), name="an agent's own")
                for client, name in ((first, "a"), (second, "a"), (third, "c"))
            ]
            await settle()
            gates[0].open()
            await settle()
            gates[1].open()
            await asyncio.wait(sending)
            await asyncio.sleep(10)
            assert await first.heard() == await second.heard() == "a started, a completed"
            assert (await third.heard()).endswith("c started, c completed")
            assert site.endpoint.stats()["runs_accepted"] == 2

    run_virtual(main())


# What the log holds no more.


def test_a_retry_of_a_run_that_is_evicted_is_told_so_and_does_not_run_again() -> None:
    async def main() -> None:
        log = MemoryEventLog(events_per_user=8)
        async with Site(log=log) as site:
            site.log = log
            client = await site.connect()
            for name in ("a", "b"):
                await client.chat("say 3", name, "t")
            await client.heard()
            await client.chat("say 3", "a", "t")
            assert await client.heard() == "resumed a 6-5 completed evicted"
            assert not client.session.delivery.watches
            await client.chat("other", "a", "t")
            assert await client.heard() == "error message_id_conflict a"
            assert site.endpoint.stats()["runs_accepted"] == 2

    run_virtual(main())


def test_a_retry_of_a_run_that_lost_its_oldest_events_is_told_first_and_gets_the_rest() -> None:
    async def main() -> None:
        log = MemoryEventLog(events_per_user=16)
        async with Site(log=log) as site:
            site.log = log
            client, back = await site.connect(), await site.connect()
            await client.chat("say 30", "a", "t")
            await client.heard()
            await back.chat("say 30", "a", "t")
            await back.heard()
            told = back.frames[1]["payload"]["runs"][0]
            assert told["evicted"] is True
            got = [each["seq"] for each in back.frames if "seq" in each]
            assert got == list(range(told["from_seq"], 33))

    run_virtual(main())


# Calls that are cancelled, and a log in trouble.


@pytest.mark.parametrize("is_claimed", [False, True])
def test_a_message_whose_receive_was_cancelled_is_accepted_all_the_same(is_claimed: bool) -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            client = await site.connect()
            log.plan("claim", takes(0, after=2) if is_claimed else takes(2))
            sending = asyncio.create_task(client.chat("answer", "a", "t"), name="an agent's own")
            await asyncio.sleep(1)
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled()
            await asyncio.sleep(5)
            assert await client.heard() == "a started, a completed"
            await client.chat("answer", "a", "t")
            assert await client.heard() == "a started, a completed"

    run_virtual(main())


@pytest.mark.parametrize("method", ["find_claim", "claim"])
def test_a_message_that_the_log_cannot_claim_is_refused_and_may_be_sent_again(method: str) -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log, limits=Limits(runs_per_user=1)) as site:
            client = await site.connect()
            log.always(method, fails())
            await client.session.receive(
                frame("chat", {"text": "answer"}, message_id="a", thread_id="t")
            )
            assert await client.heard() == "error log_unavailable a"
            log.always(method, takes(0))
            await client.chat("answer", "a", "t")
            assert await client.heard() == "a started, a completed"

    run_virtual(main())
