"""Connections that call back: how their sessions end, and who is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from agent_messaging import ConfigurationError, Endpoint, SessionEnd, TransportError
from agent_messaging.testing import RecordingTransport, run_virtual
from support.endpoints import Connection, Site, frame, now, settle
from support.lines import lines

OWN: Final = '{"type": "own", "payload": {}}'


async def it_closes(client: Connection) -> None:
    await client.close()
    await client.close()


async def it_leaves(client: Connection) -> None:
    await client.send("disconnect")
    await client.send("disconnect")


async def it_fails(client: Connection) -> None:
    client.transport.fail()
    await client.send("ping")


async def it_stalls(client: Connection) -> None:
    client.transport.hang()
    await client.send("ping")
    await asyncio.sleep(40)


async def it_idles(client: Connection) -> None:
    await asyncio.sleep(1000)


async def it_is_forgotten(client: Connection) -> None:
    await client.site.endpoint.forget("u1")


async def it_is_left(client: Connection) -> None:
    await client.site.endpoint.__aexit__(None, None, None)


#: How the session ends, and what the callback is called with: nothing where the host knows.
TOLD: Final[list[tuple[Callable[[Connection], Awaitable[None]], str, list[str]]]] = [
    (it_closes, "disconnected", []),
    (it_leaves, "disconnected", ["disconnected"]),
    (it_fails, "transport_failed", ["transport_failed"]),
    (it_stalls, "slow_consumer", ["slow_consumer"]),
    (it_idles, "idle", ["idle"]),
    (it_is_forgotten, "forgotten", ["forgotten"]),
    (it_is_left, "shutdown", ["shutdown"]),
]


@pytest.mark.parametrize(("act", "reason", "told"), TOLD)
def test_the_host_is_told_at_most_once_of_an_end_and_never_of_its_own(
    act: Callable[[Connection], Awaitable[None]],
    reason: str,
    told: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Site(idle_timeout=100.0) as site:
            client = await site.connect()
            await act(client)
            await client.heard()
            assert client.ended() == reason
            assert client.transport.closed == told
            # Whatever comes afterwards.
            sends = client.transport.sends
            client.transport.read_on()
            await client.send("ping")
            await client.chat("answer")
            await client.close()
            await site.endpoint.forget("u1")
            assert await client.heard() == ""
            assert client.transport.sends == sends
        assert client.ended() == reason
        assert client.transport.closed == told

    run_virtual(main())
    assert lines(caplog, "task_failed") == []


@pytest.mark.parametrize("fault", ["raises", "hangs"])
def test_a_callback_that_fails_hurts_nobody(fault: str) -> None:
    async def main() -> None:
        calls: list[str] = []

        async def close(reason: str) -> None:
            calls.append(reason)
            if fault == "raises":
                raise ValueError("in the host")
            await asyncio.Event().wait()

        async with Site() as site:
            session = await site.endpoint.open("u1", RecordingTransport(), close=close)
            other = await site.connect()
            await session.receive(frame("disconnect"))
            await other.send("ping")
            assert await other.heard() == "pong"
        assert calls == ["disconnected"]
        assert now() == pytest.approx(5 if fault == "hangs" else 0, abs=0.1)

    run_virtual(main())


def test_without_a_callback_the_host_asks_for_the_end() -> None:
    async def main() -> None:
        async with Site() as site:
            session = await site.endpoint.open("u1", RecordingTransport())
            ends = [session.end]
            await session.receive(frame("disconnect"))
            ends.append(session.end)
            assert ends == [None, SessionEnd(reason="disconnected")]
            await session.close()

    run_virtual(main())


def test_a_session_says_whose_it_is_and_greets_with_its_name() -> None:
    async def main() -> None:
        async with Site() as site:
            client, tab = await site.connect(), await site.connect()
            session = client.session
            assert session.user_id == "u1"
            assert session.connection_id != tab.session.connection_id
            for _ in range(2):
                greeting = client.frames[-1]
                assert greeting["type"] == "connection_established"
                assert greeting["payload"] == {
                    "connection_id": session.connection_id,
                    "protocol": "1.0",
                    "limits": {
                        "frame_bytes": 262144,
                        "json_depth": 32,
                        "messages_per_minute": 60,
                        "frames_per_minute": 600,
                        "runs_per_user": 4,
                        "queued_per_thread": 16,
                        "sessions_per_user": 8,
                    },
                }
                await client.send("connect")
            assert len(client.frames) == 3

    run_virtual(main())


def test_a_close_waits_for_nothing_that_was_not_sent() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            client.transport.hang()
            await client.send("ping")
            await client.close()
            assert now() < 0.1
            assert client.transport.sends == 2
            client.transport.read_on()
            assert await client.heard() == ""

    run_virtual(main())


# An endpoint that cannot be used so.


async def nothing() -> AsyncIterator[str]:
    for text in list[str]():
        yield text


def test_an_endpoint_is_to_be_entered_once() -> None:
    async def main() -> None:
        site = Site()
        endpoint: Endpoint = site.endpoint
        for call in (
            lambda: endpoint.serve("u1", nothing(), RecordingTransport()),
            lambda: endpoint.open("u1", RecordingTransport()),
            lambda: endpoint.stream("u1", frame("ping")),
            endpoint.drain,
            lambda: endpoint.forget("u1"),
        ):
            with pytest.raises(ConfigurationError, match="enter the endpoint first"):
                await call()
        async with site:
            with pytest.raises(ConfigurationError, match="entered once"):
                await endpoint.__aenter__()
        with pytest.raises(ConfigurationError, match="entered once"):
            await endpoint.__aenter__()

    run_virtual(main())


@pytest.mark.parametrize("websocket", [None, object(), "socket", 5])
@pytest.mark.parametrize("user_id", ["u1", "", None])
def test_what_is_no_socket_or_no_user_is_a_configuration_error(
    websocket: Any, user_id: Any
) -> None:
    async def main() -> None:
        async with Site() as site:
            for call in (
                lambda: site.endpoint.serve(user_id, nothing(), websocket),
                lambda: site.endpoint.open(user_id, websocket),
            ):
                with pytest.raises(ConfigurationError):
                    await call()
            assert site.endpoint.stats()["sessions_opened"] == 0

    run_virtual(main())


def test_a_handler_of_the_hosts_that_sends_after_the_end_is_told_that_it_has_ended() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.session(OWN)  # as the websocket of a handler
            assert client.transport.frames[-1] == OWN
            client.transport.hang()
            sending = asyncio.create_task(client.session("late"), name="an agent's own")
            behind = asyncio.create_task(client.session("later"), name="an agent's own")
            await settle()
            await client.close()
            with pytest.raises(TransportError, match="ended"):
                await behind
            with pytest.raises(TransportError, match="ended"):
                await client.session("never")
            sending.cancel()

    run_virtual(main())
