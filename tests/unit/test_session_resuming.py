"""RESUME: what a client missed, then what comes; none of it twice, none missing."""

import asyncio
import json
from typing import Any, Final

import pytest

from agent_messaging import Limits, MemoryEventLog, Run
from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site
from support.logs import TroubledLog, fails, site_on


async def past(site: Site, *names: str, thread: str = "t") -> None:
    """Runs of three chunks each, five events, that have ended."""
    client = await site.connect()
    for name in names:
        await client.chat("say 3", name, thread)
    await client.close()


def seqs(connection: Connection) -> list[int]:
    """The numbers of the events that it got."""
    return [each["seq"] for each in connection.frames if "seq" in each]


# Its forms.

_INVALID: Final = "error invalid_message r"


@pytest.mark.parametrize(
    ("payload", "envelope", "answer"),
    [
        ({"thread_id": "t"}, {}, "resumed a 1-5 completed + b 1-5 completed"),
        ({}, {"thread_id": "t"}, "resumed a 1-5 completed + b 1-5 completed"),
        ({"after": {}}, {"thread_id": "t"}, "resumed a 1-5 completed + b 1-5 completed"),
        ({"after": None, "thread_id": "t"}, {}, "resumed a 1-5 completed + b 1-5 completed"),
        ({"thread_id": "t", "after": {"A": 3}}, {}, "resumed a 4-5 completed + b 1-5 completed"),
        ({"thread_id": "t", "after": {"C": 1}}, {}, "resumed a 1-5 completed + b 1-5 completed "),
        ({"after": {"A": 0}}, {}, "resumed a 1-5 completed"),
        ({"after": {"A": 2}}, {}, "resumed a 3-5 completed"),
        ({"after": {"A": 5}}, {}, "resumed a 6-5 completed"),
        ({"after": {"A": 99}}, {}, "resumed a 1-5 completed evicted"),
        ({"after": {"B": 4, "A": 4}}, {}, "resumed b 5-5 completed + a 5-5 completed"),
        ({"after": {"A": 4}}, {"thread_id": "t"}, "resumed a 5-5 completed"),
        ({"after": {"unknown": 4, "A": 4}}, {}, "resumed a 5-5 completed"),
        ({"after": {"unknown": 4}}, {}, "resumed nothing"),
        ({"thread_id": "unknown"}, {}, "resumed nothing"),
        ({"thread_id": "unknown", "after": {"A": 4}}, {}, "resumed a 5-5 completed"),
        ({}, {}, _INVALID),
        ({"after": {}}, {}, _INVALID),
        ({}, {"run_id": "A"}, _INVALID),
        ({"after": []}, {}, _INVALID),
        ({"after": "A"}, {}, _INVALID),
        ({"after": {"A": -1}}, {}, _INVALID),
        ({"after": {"A": 1.0}}, {}, _INVALID),
        ({"after": {"A": True}}, {}, _INVALID),
        ({"after": {"A": "1"}}, {}, _INVALID),
        ({"after": {"A": None}}, {}, _INVALID),
        ({"after": {"": 1}}, {}, _INVALID),
        ({"after": {"x" * 129: 1}}, {}, _INVALID),
        ({"after": {"A": 1, "B": 1, "C": 1, "D": 1}}, {}, _INVALID),
        ({"thread_id": ""}, {}, _INVALID),
        ({"thread_id": 5}, {}, _INVALID),
        ({"thread_id": 5, "after": {"A": 1}}, {}, _INVALID),
    ],
)
def test_a_resume_names_runs_with_what_the_client_has_or_a_thread_or_both(
    payload: dict[str, Any], envelope: dict[str, Any], answer: str
) -> None:
    async def main() -> None:
        async with Site(limits=Limits(resumed_runs=3)) as site:
            await past(site, "a", "b")
            await past(site, "c", thread="t2")
            known = {name.upper(): site.run_id(name) for name in ("a", "b", "c")}
            text = json.dumps(payload)
            for name, run_id in known.items():
                text = text.replace(f'"{name}":', f'"{run_id}":')
            client = await site.connect()
            await client.send("resume", json.loads(text), message_id="r", **envelope)
            heard = await client.heard()
            more = " + c 2-5 completed" if answer.endswith(" ") else ""
            assert heard.partition(", ")[0] == answer.strip() + more

    run_virtual(main())


# What comes behind it.


@pytest.mark.parametrize("after", range(6))
def test_of_a_past_run_comes_what_was_missed_and_no_more(after: int) -> None:
    async def main() -> None:
        async with Site() as site:
            await past(site, "a")
            client = await site.connect()
            await client.resume(after={"a": after})
            assert seqs(client) == list(range(after + 1, 6))
            assert not client.session.delivery.watches

    run_virtual(main())


@pytest.mark.parametrize("after", range(6))
def test_of_a_run_under_way_comes_what_was_missed_and_what_is_to_come(after: int) -> None:
    async def agent(run: Run) -> None:
        for number in range(8):
            await run.chunk(str(number))
            await asyncio.sleep(1)

    async def main() -> None:
        async with Site(agent) as site:
            client, back = await site.connect(), await site.connect()
            await client.chat("x", "a", "t")
            await asyncio.sleep(3.5)
            await back.resume(after={"a": after})
            assert (await back.heard()).startswith(f"resumed a {after + 1}-5 running")
            assert seqs(back) == list(range(after + 1, 6))
            await asyncio.sleep(10)
            assert seqs(back) == list(range(after + 1, 11))
            assert seqs(client) == list(range(1, 11))

    run_virtual(main())


def test_a_queued_run_is_resumed_too_and_heard_as_it_begins() -> None:
    async def main() -> None:
        async with Site() as site:
            client, back = await site.connect(), await site.connect()
            await client.chat("work 5", "a", "t")
            await client.chat("work 5", "b", "t")
            await back.resume(after={"b": 0})
            assert await back.heard() == "resumed b 1-1 queued, b queued 1"
            await asyncio.sleep(10)
            assert await back.heard() == "b started, b completed"

    run_virtual(main())


def test_the_newest_runs_of_a_long_thread_come_back_oldest_first() -> None:
    async def main() -> None:
        async with Site(limits=Limits(resumed_runs=3)) as site:
            await past(site, *"abcdef")
            client = await site.connect()
            await client.resume(thread_id="t")
            assert (await client.heard()).startswith(
                "resumed d 1-5 completed + e 1-5 completed + f 1-5 completed, d started"
            )
            # An older one still comes if it is named.
            await client.resume(after={"a": 4}, thread_id="t")
            assert (await client.heard()).startswith(
                "resumed d 1-5 completed + e 1-5 completed + f 1-5 completed + a 5-5 completed, "
            )

    run_virtual(main())


# The same session again, and other tabs.


def test_what_a_session_watches_already_goes_on_where_it_is() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat("work 5", "a", "t")
            for _ in range(3):
                await client.resume(thread_id="t")
                await client.resume(after={"a": 0})
            assert await client.heard() == ", ".join(["a started", *["resumed a 2-1 running"] * 6])
            await asyncio.sleep(5)
            assert await client.heard() == "a completed"

    run_virtual(main())


def test_what_a_session_has_seen_to_its_end_comes_again_when_it_asks() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat("answer", "a", "t")
            assert await client.heard() == "a started, a completed"
            for _ in range(2):
                await client.resume(thread_id="t")
                assert await client.heard() == "resumed a 1-2 completed, a started, a completed"

    run_virtual(main())


def test_a_resume_during_a_replay_adds_nothing_to_it() -> None:
    async def main() -> None:
        async with Site() as site:
            await past(site, "a")
            client = await site.connect(seconds=1.0)
            await client.resume(after={"a": 0})
            await asyncio.sleep(2.5)
            await client.resume(after={"a": 0})
            await asyncio.sleep(20)
            assert seqs(client) == [1, 2, 3, 4, 5]
            told = [each for each in client.frames if each["type"] == "resumed"]
            # The second event was on its way, and came before the answer.
            assert [each["payload"]["runs"][0]["from_seq"] for each in told] == [1, 3]

    run_virtual(main())


def test_a_second_tab_hears_all_of_it_and_either_may_leave() -> None:
    async def main() -> None:
        async with Site(on_disconnect="cancel") as site:
            first, second = await site.connect(), await site.connect()
            await first.chat("work 5", "a", "t")
            await second.resume(thread_id="t")
            await first.close()
            await asyncio.sleep(5)
            assert await second.heard() == "resumed a 1-1 running, a started, a completed"

    run_virtual(main())


# Whose runs they are.


def test_another_users_runs_are_resumed_as_runs_that_there_are_not() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            owner, stranger = await site.connect(), await site.connect("u2")
            await owner.chat("work 5", "a", "t")
            calls: list[tuple[dict[str, int], str]] = []
            for run_id, thread in ((site.run_id("a"), "t"), ("none", "none")):
                for payload in ({"after": {run_id: 0}}, {"thread_id": thread}):
                    log.calls.clear()
                    await stranger.send("resume", payload)
                    calls.append((dict(log.calls), await stranger.heard()))
            assert calls[:2] == calls[2:]
            assert {answer for _, answer in calls} == {"resumed nothing"}
            assert site.endpoint.runs("u1")[0].watchers == 1

    run_virtual(main())


# What the log holds no more.


def test_a_run_that_is_evicted_is_told_as_evicted_and_nothing_of_it_comes() -> None:
    async def main() -> None:
        log = MemoryEventLog(events_per_user=12)
        async with Site(log=log) as site:
            site.log = log
            await past(site, "a", "b", "c")
            client = await site.connect()
            await client.resume(thread_id="t")
            assert (await client.heard()).startswith(
                "resumed a 6-5 completed evicted + b 1-5 completed + c 1-5 completed, b started"
            )
            await client.resume(after={"a": 3})
            assert await client.heard() == "resumed a 6-5 completed evicted"
            # The client has all of it, so that nothing is missing.
            await client.resume(after={"a": 5})
            assert await client.heard() == "resumed a 6-5 completed"

    run_virtual(main())


def test_of_a_run_that_lost_its_oldest_events_comes_what_is_left() -> None:
    async def main() -> None:
        log = MemoryEventLog(events_per_user=16)
        async with Site(log=log) as site:
            site.log = log
            client = await site.connect()
            await client.chat("say 30", "a", "t")
            await client.heard()
            back = await site.connect()
            await back.resume(thread_id="t")
            (told,) = back.frames[1]["payload"]["runs"]
            assert told["evicted"] is True
            assert told["from_seq"] > 10
            assert seqs(back) == list(range(told["from_seq"], 33))

    run_virtual(main())


@pytest.mark.parametrize("is_over", [False, True])
def test_one_that_reads_so_slowly_that_events_go_under_it_is_told(is_over: bool) -> None:
    async def agent(run: Run) -> None:
        for number in range(30):
            await run.chunk(str(number))
        await asyncio.sleep(1)
        for number in range(100):
            await run.chunk(str(number))
        await asyncio.sleep(0.0 if is_over else 50.0)

    async def main() -> None:
        log = MemoryEventLog(events_per_user=64)
        async with Site(agent, log=log) as site:
            site.log = log
            site.may_have_gaps = True
            client, slow = await site.connect(), await site.connect(seconds=0.1)
            await client.chat("x", "a", "t")
            await slow.resume(thread_id="t")
            await asyncio.sleep(40)
            gaps = [each for each in slow.frames if each["type"] == "resumed"][1:]
            runs = [each["payload"]["runs"][0] for each in gaps]
            assert [each["evicted"] for each in runs] == [True]
            got = seqs(slow)
            missed = next(at for at, seq in enumerate(got) if seq != at + 1)
            assert got[missed:] == list(range(runs[0]["from_seq"], got[-1] + 1))
            assert got[-1] == (132 if is_over else 131)

    run_virtual(main())


@pytest.mark.parametrize("way", ["forgotten", "evicted"])
def test_one_whose_run_goes_whole_under_it_is_told_and_watches_it_no_more(way: str) -> None:
    async def main() -> None:
        log = MemoryEventLog(events_per_user=300)
        async with Site(log=log) as site:
            site.log = log
            site.may_have_gaps = True
            client = await site.connect()
            await client.chat("say 200", "a", "t")
            await client.heard()
            slow = await site.connect(seconds=0.1)
            await slow.resume(thread_id="t")
            await asyncio.sleep(2)
            if way == "forgotten":
                await log.forget("u1")
            else:
                await client.chat("say 200", "b", "t")
            await asyncio.sleep(30)
            last = slow.frames[-1]
            assert last["type"] == "resumed"
            (told,) = last["payload"]["runs"]
            assert (told["run_id"], told["evicted"]) == (site.run_id("a"), True)
            assert not slow.session.delivery.watches

    run_virtual(main())


# The thread of a session.


@pytest.mark.parametrize("first", ["a message", "a resume", "a retry"])
def test_messages_that_name_no_thread_are_of_the_first_that_their_session_used(first: str) -> None:
    async def main() -> None:
        async with Site() as site:
            await past(site, "a")
            client = await site.connect()
            if first == "a message":
                await client.chat("answer", "b", "t")
            elif first == "a resume":
                await client.resume(thread_id="t")
            else:
                await client.chat("say 3", "a")
            await client.chat("answer", "c", "elsewhere")
            await client.chat("answer", "d")
            threads = {each["thread_id"] for each in client.frames if "seq" in each}
            assert threads == {"t", "elsewhere"}
            assert client.frames[-1]["thread_id"] == "t"

    run_virtual(main())


def test_a_session_that_names_no_thread_ever_has_one_of_its_own() -> None:
    async def main() -> None:
        async with Site() as site:
            first, second = await site.connect(), await site.connect()
            for client in (first, second, first, second):
                await client.chat("answer")
            threads = [
                {each["thread_id"] for each in client.frames if "seq" in each}
                for client in (first, second)
            ]
            assert [len(each) for each in threads] == [1, 1]
            assert threads[0] != threads[1]

    run_virtual(main())


@pytest.mark.parametrize("method", ["runs", "find_run"])
def test_a_resume_that_the_log_cannot_answer_is_answered_so(method: str) -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            await past(site, "a")
            client = await site.connect()
            log.always(method, fails())
            if method == "runs":
                await client.resume(thread_id="t")
            else:
                await client.resume(after={"a": 1})
            await asyncio.sleep(12)
            assert await client.heard() == "error log_unavailable"

    run_virtual(main())
