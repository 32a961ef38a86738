"""What is answered at once, whatever agents do: pings, greetings, and stops, which are barriers."""

import asyncio
from typing import Any, Final

import pytest

from agent_messaging import Lease, LoggedEvent, MessageType, OnDisconnect
from agent_messaging.testing import run_virtual
from support.endpoints import Site, frame, now, settle
from support.logs import TroubledLog, fails, site_on

# PING and CONNECT.


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        ({}, "pong"),
        ({"id": None}, "pong"),
        ({"id": "a ping"}, "pong a ping"),
        ({"id": 0}, "pong 0"),
        ({"id": -7}, "pong -7"),
        ({"id": "x" * 128, "more": 1}, "pong " + "x" * 128),
        ({"id": ""}, "error invalid_message p"),
        ({"id": "x" * 129}, "error invalid_message p"),
        ({"id": "a\nb"}, "error invalid_message p"),
        ({"id": True}, "error invalid_message p"),
        ({"id": 1.5}, "error invalid_message p"),
        ({"id": ["a"]}, "error invalid_message p"),
    ],
)
def test_a_ping_is_answered_with_its_id_if_that_can_be_one(payload: Any, answer: str) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.send("ping", payload, message_id="p")
            assert await client.heard() == answer

    run_virtual(main())


@pytest.mark.parametrize("act", ["work 50", "tidy 50", "deaf 50", "say 1000"])
def test_a_ping_is_answered_while_agents_work_and_threads_are_full(act: str) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat(act, "a", "t")
            await client.chat("work 5", "b", "t")
            await client.heard()
            began = now()
            await client.send("ping")
            assert await client.heard() == "pong"
            assert now() - began < 0.01

    run_virtual(main())


def test_answers_are_sent_in_the_order_of_what_was_asked() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect(seconds=0.1)
            for number in range(20):
                await client.session.receive(frame("ping", {"id": number}))
                await client.session.receive(frame("stop_agent", {"run_id": "none"}))
            await asyncio.sleep(10)
            assert await client.heard() == ", ".join(
                f"pong {number}, stopped nothing" for number in range(20)
            )

    run_virtual(main())


# STOP_AGENT: its forms.

_INVALID: Final = "error invalid_message s"


@pytest.mark.parametrize(
    ("payload", "envelope", "answer"),
    [
        ({"run_id": "RUN"}, {}, "a cancelled stopped, stopped a"),
        ({"thread_id": "t"}, {}, "a cancelled stopped, stopped a"),
        ({}, {"run_id": "RUN"}, "a cancelled stopped, stopped a"),
        ({}, {"thread_id": "t"}, "a cancelled stopped, stopped a"),
        ({}, {"run_id": "RUN", "thread_id": "other"}, "a cancelled stopped, stopped a"),
        ({"run_id": None, "thread_id": "t"}, {}, "a cancelled stopped, stopped a"),
        ({"run_id": "RUN"}, {"thread_id": "other"}, "a cancelled stopped, stopped a"),
        ({"thread_id": "other"}, {"run_id": "RUN"}, "stopped nothing"),
        ({"run_id": "t"}, {}, "stopped nothing"),
        ({"thread_id": "RUN"}, {}, "stopped nothing"),
        ({}, {}, _INVALID),
        ({"run_id": "RUN", "thread_id": "t"}, {}, _INVALID),
        ({"run_id": 5}, {}, _INVALID),
        ({"run_id": ""}, {}, _INVALID),
        ({"thread_id": ["t"]}, {}, _INVALID),
        ({"thread_id": "x" * 129}, {}, _INVALID),
    ],
)
def test_a_stop_names_a_run_or_a_thread(
    payload: dict[str, Any], envelope: dict[str, Any], answer: str
) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat("work 50", "a", "t")
            await client.heard()
            run_id = site.run_id("a")
            names = [
                {key: run_id if value == "RUN" else value for key, value in each.items()}
                for each in (payload, envelope)
            ]
            await client.send("stop_agent", names[0], message_id="s", **names[1])
            assert await client.heard() == answer

    run_virtual(main())


# STOP_AGENT: the barrier.


def test_a_thread_is_stopped_with_all_that_waits_and_none_of_it_begins() -> None:
    async def main() -> None:
        async with Site() as site:
            client, tab = await site.connect(), await site.connect()
            for name in ("a", "b", "c"):
                await client.chat("tidy 2", name, "t")
            await client.chat("work 50", "other", "t2")
            await tab.resume(thread_id="t")
            await tab.heard()
            await client.heard()
            await client.stop(thread_id="t")
            assert await client.heard() == "b cancelled stopped, c cancelled stopped"
            await asyncio.sleep(2)
            assert await client.heard() == "a cancelled stopped, stopped b c a"
            assert await tab.heard() == (
                "b cancelled stopped, c cancelled stopped, a cancelled stopped"
            )
            assert [info.message_id for info in site.endpoint.runs("u1")] == ["other"]

    run_virtual(main())


@pytest.mark.parametrize("act", ["work 50", "tidy 2", "deaf 2", "deaf 50"])
def test_a_message_right_behind_a_stop_begins_behind_the_end_of_what_was_stopped(act: str) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat(act, "a", "t")
            await client.session.receive(frame("stop_agent", {"thread_id": "t"}))
            await client.session.receive(
                frame("chat", {"text": "answer"}, message_id="b", thread_id="t")
            )
            await asyncio.sleep(20)
            assert await client.heard() == (
                "a started, b queued 1, a cancelled stopped, stopped a, b started, b completed"
            )

    run_virtual(main())


def test_a_message_that_is_stopped_before_its_first_step_has_a_start_and_an_end() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.session.receive(
                frame("chat", {"text": "work 5"}, message_id="a", thread_id="t")
            )
            await client.session.receive(frame("stop_agent", {"thread_id": "t"}))
            assert await client.heard() == "a started, a cancelled stopped, stopped a"
            assert now() < 0.1

    run_virtual(main())


def test_stopping_twice_is_answered_twice_when_it_is_over() -> None:
    async def main() -> None:
        async with Site() as site:
            client, tab = await site.connect(), await site.connect()
            await client.chat("tidy 2", "a", "t")
            await client.stop("a")
            await client.stop(thread_id="t")
            await tab.stop("a")
            await tab.send("ping")
            assert (await client.heard(), await tab.heard()) == ("a started", "pong")
            await asyncio.sleep(2)
            assert await client.heard() == "a cancelled stopped, stopped a, stopped a"
            assert await tab.heard() == "stopped a"
            await tab.stop("a")
            await tab.stop(thread_id="t")
            assert await tab.heard() == "stopped nothing, stopped nothing"

    run_virtual(main())


def test_stopped_comes_behind_the_end_on_a_session_that_lags_and_holds_up_nothing_else() -> None:
    async def main() -> None:
        async with Site(on_disconnect="detach") as site:
            first = await site.connect()
            await first.chat("tidy 1", "a", "t")
            slow = await site.connect(seconds=1.0)
            await slow.resume(thread_id="t")
            slow.transport.hang()
            await slow.stop("a")
            await slow.send("ping")
            await asyncio.sleep(5)
            slow.transport.read_on()
            await asyncio.sleep(10)
            heard = await slow.heard()
            assert heard == (
                "resumed a 1-1 running, pong, a started, a cancelled stopped, stopped a"
            )

    run_virtual(main())


def test_a_stop_is_waited_for_by_a_session_that_has_ended_meanwhile_no_more() -> None:
    async def main() -> None:
        async with Site() as site:
            client, tab = await site.connect(), await site.connect()
            await client.chat("tidy 2", "a", "t")
            await tab.stop("a")
            await tab.close()
            await asyncio.sleep(5)
            assert await tab.heard() == ""
            assert await client.heard() == "a started, a cancelled stopped"

    run_virtual(main())


def test_another_users_run_is_stopped_as_one_that_there_is_not_the_log_asked_the_same() -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            owner, stranger = await site.connect(), await site.connect("u2")
            await owner.chat("work 50", "a", "t")
            calls: list[dict[str, int]] = []
            for target in ({"run_id": site.run_id("a")}, {"run_id": "none"}):
                log.calls.clear()
                await stranger.send("stop_agent", target)
                calls.append(dict(log.calls))
            for target in ({"thread_id": "t"}, {"thread_id": "none"}):
                log.calls.clear()
                await stranger.send("stop_agent", target)
                calls.append(dict(log.calls))
            assert calls[0] == calls[1]
            assert calls[2] == calls[3]
            assert await stranger.heard() == ", ".join(["stopped nothing"] * 4)
            assert await owner.heard() == "a started"

    run_virtual(main())


# STOP_AGENT: runs of another worker over the same log.


class Elsewhere:
    """A run ``r`` of thread ``t`` that another owner has claimed of the log."""

    def __init__(self, site: Site) -> None:
        self.stops: list[str] = []
        self._log = site.log
        self._lease = Lease("u1", "r", "token")
        self._seq = 0

    async def begin(self) -> None:
        await self._log.claim(
            self._lease,
            thread_id="t",
            message_id="theirs",
            digest="",
            owner="another",
            lease_seconds=30,
        )
        self._log.follow_notices(
            "another", lambda user_id, run_id, notice: self.stops.append(run_id)
        )
        await self.emit(MessageType.AGENT_STARTED)

    async def emit(self, kind: MessageType) -> None:
        self._seq += 1
        await self._log.append(self._lease, [LoggedEvent(kind, "{}", self._seq, now())])


@pytest.mark.parametrize("target", [{"run_id": "r"}, {"thread_id": "t"}])
def test_another_workers_run_is_asked_to_stop_and_stopped_comes_behind_its_end(
    target: dict[str, str],
) -> None:
    async def main() -> None:
        async with Site() as site:
            other = Elsewhere(site)
            await other.begin()
            client = await site.connect()
            await client.send("stop_agent", target)
            assert other.stops == ["r"]
            await other.emit(MessageType.AGENT_THINKING)
            assert await client.heard() == ""
            await other.emit(MessageType.AGENT_CANCELLED)
            assert await client.heard() == "stopped r"
            await client.send("stop_agent", target)
            assert await client.heard() == "stopped nothing"

    run_virtual(main())


def test_runs_here_and_elsewhere_are_stopped_as_one_thread() -> None:
    async def main() -> None:
        async with Site() as site:
            other = Elsewhere(site)
            await other.begin()
            client = await site.connect()
            await client.chat("tidy 1", "a", "t")
            await client.stop(thread_id="t")
            await asyncio.sleep(5)
            assert await client.heard() == "a started, a cancelled stopped"
            await other.emit(MessageType.AGENT_CANCELLED)
            assert await client.heard() == "stopped a r"

    run_virtual(main())


def test_another_workers_run_that_never_ends_is_waited_for_as_long_as_the_session() -> None:
    async def main() -> None:
        async with Site(drain_timeout=5.0) as site:
            await Elsewhere(site).begin()
            client, tab = await site.connect(), await site.connect()
            for each in (client, tab):
                await each.stop(run_id="r")
            await asyncio.sleep(100)
            await client.close()
            began = now()
        assert now() - began < 6
        assert await tab.heard() == "error shutting_down"

    run_virtual(main())


def test_another_workers_run_that_is_forgotten_has_ended() -> None:
    async def main() -> None:
        async with Site() as site:
            await Elsewhere(site).begin()
            client = await site.connect()
            await client.stop(run_id="r")
            await site.log.forget("u1")
            assert await client.heard() == "stopped r"

    run_virtual(main())


@pytest.mark.parametrize("method", ["notify", "runs", "find_run"])
def test_a_stop_that_the_log_cannot_see_through_is_answered_so(method: str) -> None:
    async def main() -> None:
        log = TroubledLog()
        async with site_on(log) as site:
            await Elsewhere(site).begin()
            client = await site.connect()
            log.always(method, fails())
            await client.stop(thread_id="t")
            await asyncio.sleep(12)
            assert await client.heard() == "error log_unavailable"
            assert site.endpoint.stats()["refusals"] == {"log_unavailable": 1}
            await client.send("ping")
            assert await client.heard() == "pong"

    run_virtual(main())


# DISCONNECT.


@pytest.mark.parametrize("policy", ["cancel", "detach"])
def test_a_goodbye_is_as_if_the_socket_had_closed(policy: OnDisconnect) -> None:
    async def main() -> None:
        async with Site(on_disconnect=policy) as site:
            client = await site.connect()
            await client.chat("work 5", "a")
            await client.session.receive(frame("disconnect"))
            assert client.ended() == "disconnected"
            await client.send("ping")
            await settle()
            assert await client.heard() == "a started"
            await asyncio.sleep(10)
            end = "completed at 5" if policy == "detach" else "cancelled disconnected at 0"
            assert (await site.history("a")).endswith(end)

    run_virtual(main())
