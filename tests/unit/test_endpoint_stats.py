"""What operators see and do: counters, users, runs, forgetting a user; and the tasks there are."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from agent_messaging import AgentError, ConfigurationError, EventLogError, Run
from agent_messaging.testing import run_virtual
from support import tasks_left
from support.endpoints import Connection, Site, frame, now, settle
from support.logs import TroubledLog, fails, site_on

ZERO: Final[dict[str, object]] = {
    "users": 0,
    "sessions": 0,
    "sessions_opened": 0,
    "runs_in_flight": 0,
    "runs_queued": 0,
    "runs_accepted": 0,
    "runs_completed": 0,
    "runs_failed": 0,
    "runs_cancelled": 0,
    "retries": 0,
    "refusals": {},
    "slow_consumers": 0,
    "agents_abandoned": 0,
    "agents_abandoned_alive": 0,
    "runs_recovered": 0,
    "undelivered_events": 0,
}

EVENTS: Final = dict.fromkeys(
    (
        "agent_queued",
        "agent_started",
        "agent_thinking",
        "agent_response_chunk",
        "agent_progress",
        "tool_executing",
        "tool_completed",
        "agent_completed",
        "agent_failed",
        "agent_cancelled",
    ),
    0,
)


def counters(site: Site) -> dict[str, object]:
    """The statistics without the events and durations, where they are not nothing."""
    stats: dict[str, object] = {**site.endpoint.stats()}
    return {name: value for name, value in stats.items() if ZERO.get(name, value) != value}


def events(site: Site) -> dict[str, int]:
    """The events that were sent, of the types that were."""
    return {name: count for name, count in site.endpoint.stats()["events_sent"].items() if count}


async def agent(run: Run) -> None:
    """Ends as the message says."""
    if run.request == "fail":
        raise AgentError("No.")
    await asyncio.sleep(float(run.request))


# Counting.


def test_an_endpoint_that_has_done_nothing_has_counted_nothing() -> None:
    async def main() -> None:
        async with Site() as site:
            stats = site.endpoint.stats()
            assert stats == {
                **ZERO,
                "events_sent": EVENTS,
                "durations": {
                    "bounds_ms": [
                        *(10, 50, 100, 250, 500),
                        *(1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000),
                    ],
                    "counts": [0] * 13,
                    "total_ms": 0,
                },
            }
            assert site.endpoint.users() == {}
            assert site.endpoint.runs("u1") == ()

    run_virtual(main())


def test_the_counters_follow_what_happens() -> None:
    async def main() -> None:
        async with Site(agent) as site:
            one, two = await site.connect(), await site.connect("u2")
            assert counters(site) == {"users": 2, "sessions": 2, "sessions_opened": 2}
            await one.chat("5", "a", "t")
            await one.chat("5", "b", "t")
            await two.chat("fail", "c")
            await two.send("nonsense")
            busy = {
                "users": 2,
                "sessions": 2,
                "sessions_opened": 2,
                "runs_accepted": 3,
                "runs_failed": 1,
                "refusals": {"unsupported_type": 1},
            }
            assert counters(site) == busy | {"runs_in_flight": 1, "runs_queued": 1}
            await asyncio.sleep(5)
            assert counters(site) == busy | {"runs_in_flight": 1, "runs_completed": 1}
            await two.close()
            await one.stop("b")
            await one.chat("5", "a", "t")
            del busy["users"], busy["sessions"]
            assert counters(site) == busy | {
                "users": 1,
                "sessions": 1,
                "runs_completed": 1,
                "runs_cancelled": 1,
                "retries": 1,
            }

    run_virtual(main())


def test_an_event_counts_once_for_each_session_whose_transport_took_it() -> None:
    async def main() -> None:
        async with Site(agent) as site:
            one, two = await site.connect(), await site.connect()
            await one.chat("5", "a", "t")
            await one.chat("fail", "b", "t")
            assert events(site) == {"agent_started": 1, "agent_queued": 1}
            await two.resume(thread_id="t")
            assert events(site) == {"agent_started": 2, "agent_queued": 2}
            await two.close()
            await asyncio.sleep(5)
            assert events(site) == {
                "agent_started": 3,
                "agent_queued": 2,
                "agent_completed": 1,
                "agent_failed": 1,
            }
            assert site.endpoint.stats()["undelivered_events"] == 0

    run_virtual(main())


def test_an_event_that_no_transport_took_by_the_time_of_the_report_is_undelivered() -> None:
    async def main() -> None:
        async with Site(agent, on_disconnect="detach") as site:
            client = await site.connect()
            await client.chat("2", "a")
            await client.close()
            stalled = await site.connect("u2")
            stalled.transport.hang()
            await stalled.chat("2", "b")
            await asyncio.sleep(2)
            assert site.endpoint.stats()["undelivered_events"] == 1
            assert [each.context.message_id for each in site.finished] == ["a"]
            # The other is waited for, for so long.
            await asyncio.sleep(4.9)
            assert len(site.finished) == 1
            await asyncio.sleep(0.2)
            assert [each.report.undelivered for each in site.finished] == [1, 2]
            stalled.transport.read_on()
            await settle()
            assert site.endpoint.stats()["undelivered_events"] == 3
            assert (await stalled.heard()) == "b started, b completed"
            assert site.finished[1].report.undelivered == 2

    run_virtual(main())


def test_the_durations_are_counted_in_the_first_bound_that_they_do_not_pass() -> None:
    async def main() -> None:
        async with Site(agent) as site:
            client = await site.connect()
            before = site.endpoint.stats()["durations"]
            for seconds in ("0.01", "0.02", "2.5", "300", "301", "301"):
                await client.chat(seconds)
                await asyncio.sleep(float(seconds) + 1)
            await client.chat("5")
            after = site.endpoint.stats()["durations"]
            assert before["counts"] == [0] * 13
            assert after["counts"] == [1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2]
            assert after["total_ms"] == 10 + 20 + 2_500 + 300_000 + 301_000 * 2

    run_virtual(main())


# Looking.


def test_users_and_runs_are_told_as_they_are() -> None:
    async def main() -> None:
        async with Site(on_disconnect="detach") as site:
            one, tab, two = [await site.connect(name) for name in ("u1", "u1", "u2")]
            await one.chat("work 50", "a", "t")
            await one.chat("work 50", "b", "t")
            await asyncio.sleep(2)
            await one.chat("tidy 50", "c", "t2")
            await tab.resume(thread_id="t2")
            await one.stop("c")
            await two.close()
            assert site.endpoint.users() == {
                "u1": {"sessions": 2, "runs_in_flight": 2, "runs_queued": 1}
            }
            told = [
                (info.message_id, info.thread_id, info.state, info.watchers, info.elapsed_ms)
                for info in site.endpoint.runs("u1")
            ]
            assert told == [
                ("a", "t", "running", 1, 2000),
                ("b", "t", "queued", 1, 2000),
                ("c", "t2", "stopping", 2, 0),
            ]
            assert {info.agent for info in site.endpoint.runs("u1")} == {"worker"}
            assert {info.run_id for info in site.endpoint.runs("u1")} == {
                frame["run_id"] for frame in one.frames if "run_id" in frame
            }
            await one.close()
            await tab.close()
            await asyncio.sleep(60)
            assert [info.message_id for info in site.endpoint.runs("u1")] == ["b"]
            assert site.endpoint.users()["u1"]["sessions"] == 0

    run_virtual(main())


def test_what_is_handed_out_is_a_copy() -> None:
    def spoil(value: Any) -> None:
        for key in [*value]:
            if isinstance(value[key], dict):
                spoil(value[key])
            elif isinstance(value[key], list):
                value[key].clear()
            else:
                value[key] = -1
        value["spoiled"] = True

    async def main() -> None:
        async with Site(agent) as site:
            client = await site.connect()
            await client.chat("5", "a")
            await client.send("nonsense")
            endpoint = site.endpoint
            before = (endpoint.stats(), endpoint.users(), endpoint.runs("u1"))
            spoil(endpoint.stats())
            spoil(endpoint.users())
            assert (endpoint.stats(), endpoint.users(), endpoint.runs("u1")) == before

    run_virtual(main())


# Forgetting.


def test_a_user_that_is_forgotten_has_no_sessions_no_runs_and_no_past() -> None:
    async def main() -> None:
        async with Site() as site:
            one, tab, other = [await site.connect(name) for name in ("u1", "u1", "u2")]
            await one.chat("answer", "past", "t")
            await one.chat("tidy 2", "a", "t")
            await one.chat("work 5", "b", "t")
            await other.chat("work 5", "theirs", "t")
            await one.heard()
            began = now()
            await site.endpoint.forget("u1")
            assert now() - began == pytest.approx(2)
            assert one.ended() == tab.ended() == "forgotten"
            assert one.transport.closed == tab.transport.closed == ["forgotten"]
            assert await one.heard() == await tab.heard() == ""
            assert list(site.endpoint.users()) == ["u2"]
            assert await site.history("past", "a", "b") == ""
            assert [each.reason for each in site.finished[1:]] == ["cancelled", "cancelled"]
            await site.endpoint.forget("u1")
            await site.endpoint.forget("nobody")
            back = await site.connect()
            await back.resume(thread_id="t")
            await back.chat("answer", "past", "t")
            assert await back.heard() == "resumed nothing, past started, past completed"
            await asyncio.sleep(5)
            assert await other.heard() == "theirs started, theirs completed"

    run_virtual(main())


def test_a_log_that_cannot_forget_now_may_be_asked_again() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            client = await site.connect()
            await client.chat("work 5", "a")
            log.plan("forget", fails())
            with pytest.raises(EventLogError):
                await site.endpoint.forget("u1")
            assert site.endpoint.runs("u1") == ()
            await site.endpoint.forget("u1")
            assert log.calls["forget"] == 2

    run_virtual(main())


@pytest.mark.parametrize("user_id", ["", "x" * 129, None, 5, "a\nb"])
def test_a_user_that_cannot_be_is_a_configuration_error(user_id: Any) -> None:
    async def main() -> None:
        async with Site() as site:
            with pytest.raises(ConfigurationError, match="user_id"):
                await site.endpoint.forget(user_id)

    run_virtual(main())


# The tasks.


async def busy(site: Site) -> list[Connection]:
    """Clients in every kind of business at once."""
    clients = [await site.connect(f"u{number}") for number in range(5)]
    for client in clients:
        await client.chat("work 50", "a", "t")
        await client.chat("say 10", "b", "t")
        await client.chat("deaf 100", "c", "t2")
        await client.stop("c")
    clients[0].transport.hang()
    await clients[0].send("ping")
    clients[1].transport.fail()
    await clients[1].send("ping")
    await clients[2].close()
    await clients[3].send("disconnect")
    return clients


def test_each_task_bears_the_name_of_the_package_and_none_is_left_behind() -> None:
    async def main() -> None:
        async def silence() -> AsyncIterator[str]:
            await asyncio.Event().wait()
            yield ""

        async with Site(heartbeat=1.0, idle_timeout=20.0) as site:
            clients = await busy(site)
            serving = asyncio.create_task(
                site.endpoint.serve("u9", silence(), clients[4].transport), name="an agent's own"
            )
            stream = await site.endpoint.stream("u8", frame("chat", {"text": "work 50"}))
            names = [task.get_name() for task in tasks_left() if task is not serving]
            assert len(names) > 8
            assert all(name.startswith("agent_messaging ") for name in names)
        await serving
        del stream
        await asyncio.sleep(100)
        assert tasks_left() == []

    run_virtual(main())
