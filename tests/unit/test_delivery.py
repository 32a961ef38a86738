"""What one connection is sent: answers first, then live runs, then what is replayed."""

import asyncio
from typing import Any, Final

import pytest

from agent_messaging import Run
from agent_messaging.testing import run_virtual
from support import tasks_left
from support.endpoints import Connection, Site, frame, now, settle

#: An endpoint's defaults, in seconds.
_SEND_TIMEOUT: Final = 30.0
_FINAL_SEND_TIMEOUT: Final = 5.0


def texts(connection: Connection) -> list[str]:
    """What chunks it got, in their order."""
    return [
        each["payload"]["text"]
        for each in connection.frames
        if each["type"] == "agent_response_chunk"
    ]


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


# Transports that take turns of the loop, and no time.


@pytest.mark.parametrize("yields", [0, 1, 2, 3])
@pytest.mark.parametrize("runs", [1, 4])
def test_a_transport_that_only_yields_is_never_too_slow(yields: int, runs: int) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect(turns=yields)
            for number in range(runs):
                await client.session.receive(
                    frame("chat", {"text": "say 2000"}, thread_id=f"t{number}")
                )
            await settle()
            assert len(texts(client)) == 2000 * runs
            assert now() == pytest.approx(0, abs=1e-3)
            assert site.endpoint.stats()["slow_consumers"] == 0

    run_virtual(main())


@pytest.mark.parametrize("others", [[0], [0, 0, 1], [3, 2, 1]])
def test_one_that_yields_is_not_too_slow_beside_others_that_do_so_less(others: list[int]) -> None:
    async def main() -> None:
        async with Site() as site:
            yielding = await site.connect(turns=3)
            clients = [yielding, *[await site.connect(turns=yields) for yields in others]]
            await yielding.chat("work 1", "first", "t")
            await yielding.chat("say 2000", "m", "t")
            for client in clients[1:]:
                await client.resume(thread_id="t")
            await asyncio.sleep(2)
            assert [texts(client) == numbers(2000) for client in clients] == [True] * len(clients)

    run_virtual(main())


def test_one_that_takes_time_is_too_slow_for_an_agent_that_takes_none() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect(seconds=1e-4)
            await client.chat("say 200", "short")
            await asyncio.sleep(1)
            assert texts(client) == numbers(200)
            await client.chat("say 2000", "long")
            await asyncio.sleep(1)
            assert client.ended() == "slow_consumer"

    run_virtual(main())


def test_what_an_agent_emits_without_awaiting_it_is_sent_when_there_is_a_turn() -> None:
    async def agent(run: Run) -> None:
        for number in range(2000):
            run.chunk(str(number))

    async def main() -> None:
        async with Site(agent) as site:
            client = await site.connect(turns=3)
            await client.chat("x", "m")
            assert texts(client) == numbers(2000)

    run_virtual(main())


# Replays, at the pace of the socket.


async def past_run(site: Site, chunks: int) -> None:
    """A run of ``m`` in ``t``, long over."""
    client = await site.connect()
    await client.chat(f"say {chunks}", "m", "t")
    await client.heard()
    await client.close()


def test_a_long_past_run_is_resumed_at_the_pace_of_a_slow_socket() -> None:
    async def main() -> None:
        async with Site() as site:
            await past_run(site, 5000)
            client = await site.connect(seconds=0.5)
            await client.resume(after={"m": 0})
            await asyncio.sleep(0.5 * 5000 + 5)
            assert texts(client) == numbers(5000)
            assert client.frames[-1]["type"] == "agent_completed"
            assert client.ended() is None

    run_virtual(main())


def test_answers_and_live_runs_go_before_what_is_replayed() -> None:
    async def main() -> None:
        async with Site() as site:
            await past_run(site, 5000)
            client = await site.connect(seconds=0.1)
            await client.resume(after={"m": 0})
            await asyncio.sleep(10)
            await client.heard()
            await client.send("ping")
            await client.chat("work 1", "new", "t2")
            await asyncio.sleep(2)
            heard = (await client.heard()).split(", ")
            # What was under way when they came, goes first.
            assert heard.index("pong") <= 1
            assert heard.index("new started") <= 2
            assert heard.index("new completed") <= 13
            await asyncio.sleep(600)
            assert texts(client) == numbers(5000)

    run_virtual(main())


def test_replays_go_one_after_the_other_in_the_order_of_the_runs() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            for name in ("a", "b"):
                await client.chat("say 200", name, "t")
            back = await site.connect()
            await back.resume(thread_id="t")
            runs = [each["run_id"] for each in back.frames if "run_id" in each]
            assert runs == [site.run_id("a")] * 202 + [site.run_id("b")] * 202

    run_virtual(main())


def test_a_replay_that_is_overtaken_by_its_run_goes_over_into_the_live_run() -> None:
    async def agent(run: Run) -> None:
        for number in range(1000):
            await run.chunk(str(number))
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with Site(agent) as site:
            first = await site.connect()
            await first.chat("x", "m", "t")
            await asyncio.sleep(5)
            slow = await site.connect(seconds=0.005)
            await slow.resume(thread_id="t")
            await asyncio.sleep(10)
            assert texts(slow) == texts(first) == numbers(1000)
            assert slow.frames[-1]["type"] == "agent_completed"

    run_virtual(main())


# Sends that take too long.


def test_a_send_may_take_as_long_as_the_endpoint_says() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            client.transport.hang()
            await client.send("ping")
            await asyncio.sleep(_SEND_TIMEOUT - 0.1)
            client.transport.read_on()
            assert await client.heard() == "pong"
            client.transport.hang()
            await client.send("ping")
            await asyncio.sleep(_SEND_TIMEOUT - 0.1)
            assert client.ended() is None
            client.transport.read_on()
            assert await client.heard() == "pong"

    run_virtual(main())


@pytest.mark.parametrize("what", ["ping", "chat"])
def test_a_send_that_takes_longer_is_cut_and_its_session_ends_without_a_farewell(what: str) -> None:
    async def main() -> None:
        async with Site(send_timeout=7.0) as site:
            client = await site.connect()
            await asyncio.sleep(3)
            client.transport.hang()
            await client.send(what, {"text": "answer"})
            began = now()
            await asyncio.sleep(6.9)
            assert client.ended() is None
            await asyncio.sleep(0.2)
            assert client.ended() == "slow_consumer"
            assert client.transport.closed == ["slow_consumer"]
            client.transport.read_on()
            assert await client.heard() == ""
            assert client.transport.sends == 2
            assert now() - began < 7.2
            assert site.endpoint.stats()["slow_consumers"] == 1

    run_virtual(main())


def test_many_sends_that_each_take_their_time_are_no_send_that_takes_too_long() -> None:
    async def main() -> None:
        async with Site(send_timeout=5.0) as site:
            client = await site.connect(seconds=4.9)
            await client.chat("say 20", "m")
            await asyncio.sleep(200)
            assert texts(client) == numbers(20)

    run_virtual(main())


def test_a_socket_that_is_stalled_when_its_session_ends_has_a_while_for_the_farewell() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            client.transport.hang()
            await client.send("ping")
            await site.endpoint.__aexit__(None, None, None)
            assert now() == pytest.approx(2 * _FINAL_SEND_TIMEOUT, abs=0.1)
            assert client.ended() == "shutdown"
            assert client.transport.closed == ["shutdown"]
            client.transport.read_on()
            assert await client.heard() == ""

    run_virtual(main())


@pytest.mark.parametrize("pace", [{}, {"turns": 1}, {"turns": 9}, {"seconds": 1.0}])
def test_a_farewell_is_seen_out_however_a_send_goes_about_it(pace: dict[str, Any]) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect(**pace)
            client.session.finish("log_unavailable")
            await asyncio.sleep(2.0)
            assert await client.heard() == "error log_unavailable"
            assert client.transport.closed == ["log_unavailable"]

    run_virtual(main())


@pytest.mark.parametrize("swallows", [1, 5])
def test_a_send_that_takes_no_notice_of_being_cut_holds_up_nothing(swallows: int) -> None:
    async def main() -> None:
        async with Site(send_timeout=7.0) as site:
            client = await site.connect()
            client.transport.hang()
            client.transport.swallows = swallows
            await client.send("ping")
            await asyncio.sleep(7.1)
            assert client.ended() == "slow_consumer"
            assert client.transport.closed == []
            await asyncio.sleep(_FINAL_SEND_TIMEOUT)
            assert client.transport.closed == ["slow_consumer"]
            began = now()
            await site.endpoint.__aexit__(None, None, None)
            assert now() - began < 0.1
            client.transport.read_on()
            await settle()
            assert tasks_left() == []

    run_virtual(main())


# Transports that fail.


@pytest.mark.parametrize("what", ["ping", "chat"])
def test_a_send_that_raises_ends_the_session_and_nothing_more_is_sent(what: str) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            error = ConnectionError("gone")
            client.transport.fail(error)
            await client.send(what, {"text": "answer"})
            await client.send("ping")
            end = client.session.end
            assert end is not None
            assert (end.reason, end.error) == ("transport_failed", error)
            assert client.transport.closed == ["transport_failed"]
            assert client.transport.sends == 2

    run_virtual(main())


def test_a_send_that_is_cancelled_from_within_ends_the_session_too() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect(fails_at=1, error=asyncio.CancelledError())
            end = client.session.end
            assert end is not None
            assert (end.reason, end.error) == ("transport_failed", None)

    run_virtual(main())


def test_what_a_failed_transport_took_is_a_prefix_and_the_rest_is_undelivered() -> None:
    async def main() -> None:
        async with Site(on_disconnect="detach") as site:
            client = await site.connect(fails_at=12)
            await client.chat("say 100", "m")
            took = [each["seq"] for each in client.frames if "seq" in each]
            assert took == list(range(1, 11))
            (finished,) = site.finished
            assert finished.report.undelivered == 92
            stats = site.endpoint.stats()
            assert stats["undelivered_events"] == 92
            assert sum(stats["events_sent"].values()) == 10

    run_virtual(main())
