"""Heartbeats, and the end of sessions of which nothing is heard."""

import asyncio

import pytest

from agent_messaging.testing import run_virtual
from support.endpoints import Connection, Site, now


async def heartbeats(connection: Connection, seconds: float) -> list[float]:
    """When a heartbeat came in so many seconds from now, to a tenth."""
    begin = len(connection.transport.frames)
    await asyncio.sleep(seconds)
    pairs = zip(connection.frames[begin:], connection.transport.times[begin:], strict=True)
    return [round(at, 1) for frame, at in pairs if frame["type"] == "heartbeat"]


# Heartbeats.


def test_a_silent_session_is_sent_a_heartbeat_each_time_that_it_was_silent_so_long() -> None:
    async def main() -> None:
        async with Site(heartbeat=25.0) as site:
            client = await site.connect()
            assert await heartbeats(client, 80) == [25, 50, 75]
            assert client.frames[1].keys() == {"type", "payload", "timestamp"}
            assert client.frames[1]["payload"] == {}

    run_virtual(main())


def test_whatever_else_is_sent_puts_the_next_heartbeat_off() -> None:
    async def main() -> None:
        async with Site(heartbeat=10.0) as site:
            client = await site.connect()
            await client.chat("work 4", "m")
            assert await heartbeats(client, 7) == []
            await client.send("ping")
            assert await heartbeats(client, 12) == [17]
            await client.send("ping")
            assert await heartbeats(client, 21) == [29, 39]

    run_virtual(main())


def test_without_an_interval_there_is_no_heartbeat() -> None:
    async def main() -> None:
        async with Site(heartbeat=None) as site:
            client = await site.connect()
            assert await heartbeats(client, 1000) == []

    run_virtual(main())


def test_a_socket_that_is_stalled_gathers_no_heartbeats() -> None:
    async def main() -> None:
        async with Site(heartbeat=1.0) as site:
            client = await site.connect()
            await asyncio.sleep(0.5)
            client.transport.hang()
            await client.send("ping")
            await asyncio.sleep(20)
            client.transport.read_on()
            assert await client.heard() == "pong"
            assert await heartbeats(client, 3) == [21, 22, 23]

    run_virtual(main())


def test_a_session_that_has_ended_has_no_heartbeats() -> None:
    async def main() -> None:
        async with Site(heartbeat=1.0) as site:
            client = await site.connect()
            await client.close()
            sends = client.transport.sends
            await asyncio.sleep(10)
            assert client.transport.sends == sends

    run_virtual(main())


# Idle sessions.


def test_a_session_of_which_nothing_is_heard_ends_as_idle_without_a_farewell() -> None:
    async def main() -> None:
        async with Site(idle_timeout=10.0) as site:
            client = await site.connect()
            await asyncio.sleep(9.9)
            assert client.ended() is None
            await asyncio.sleep(0.2)
            assert client.ended() == "idle"
            assert client.transport.closed == ["idle"]
            assert await client.heard() == ""
            assert site.endpoint.users() == {}

    run_virtual(main())


def test_any_frame_is_a_sign_of_life_and_a_heartbeat_is_none() -> None:
    async def main() -> None:
        async with Site(idle_timeout=10.0, heartbeat=3.0) as site:
            client = await site.connect()
            for kind in ("ping", "connect", "no such type", "stop_agent"):
                await asyncio.sleep(9)
                await client.send(kind)
            await asyncio.sleep(9)
            await client.session.receive("not even JSON")
            await asyncio.sleep(9.9)
            assert client.ended() is None
            await asyncio.sleep(0.2)
            assert client.ended() == "idle"

    run_virtual(main())


@pytest.mark.parametrize("policy", ["cancel", "detach"])
def test_a_session_that_watches_a_run_is_not_idle(policy: str) -> None:
    async def main() -> None:
        async with Site(idle_timeout=10.0, on_disconnect=policy) as site:
            client = await site.connect()
            await client.chat("work 35", "m")
            await asyncio.sleep(39)
            assert await client.heard() == "m started, m completed"
            assert client.ended() is None
            # It was looked at when the run was on, and is again after another time-out.
            await asyncio.sleep(10)
            assert client.ended() == "idle"

    run_virtual(main())


def test_without_a_bound_no_session_is_idle() -> None:
    async def main() -> None:
        async with Site(idle_timeout=None) as site:
            client = await site.connect()
            await asyncio.sleep(1e6)
            assert client.ended() is None

    run_virtual(main())


def test_a_session_that_has_ended_is_not_ended_as_idle() -> None:
    async def main() -> None:
        async with Site(idle_timeout=10.0) as site:
            client = await site.connect()
            await client.close()
            await asyncio.sleep(20)
            assert client.ended() == "disconnected"
            assert client.transport.closed == []
            assert now() > 20

    run_virtual(main())
