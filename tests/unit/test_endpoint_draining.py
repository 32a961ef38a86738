"""The end of a process: what is accepted goes on for a while, and everybody hears how it ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import pytest

from agent_messaging import (
    AgentMessageHandler,
    Endpoint,
    EventLogError,
    Message,
    MessageRouter,
    RemoteError,
    SessionEnd,
    SessionEndReason,
    WebSocketLike,
)
from agent_messaging.testing import RecordingTransport, run_virtual
from support import tasks_left
from support.endpoints import Connection, Site, frame, now, settle, worker
from support.logs import TroubledLog, site_on, takes

#: An endpoint's defaults, in seconds.
_DRAIN_TIMEOUT: Final = 30.0


async def begin(site: Site, seconds: float) -> Connection:
    """A client with a run of ``a`` that takes so long, and one of ``b`` that waits behind it."""
    client = await site.connect()
    await client.chat(f"work {seconds}", "a", "t")
    await client.chat("work 1", "b", "t")
    assert await client.heard() == "a started, b queued 1"
    return client


# Refusing.


def test_from_the_call_on_new_messages_are_refused_and_nothing_else_is() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await begin(site, 5)
            was_draining = site.endpoint.is_draining
            site.endpoint.start_draining()
            site.endpoint.start_draining()
            assert (was_draining, site.endpoint.is_draining) == (False, True)
            await client.chat("answer", "new")
            await client.chat("work 5", "a", "t")
            await client.send("ping")
            assert await client.heard() == "error shutting_down new, pong"
            other = await site.connect()
            await other.resume(thread_id="t")
            assert await other.heard() == (
                "resumed a 1-1 running + b 1-1 queued, a started, b queued 1"
            )
            await other.stop("b")
            assert await other.heard() == "b cancelled stopped, stopped b"
            await asyncio.sleep(10)
            assert await client.heard() == "b cancelled stopped, a completed"

    run_virtual(main())


def test_it_is_a_plain_function_that_a_signal_handler_may_call_at_any_time() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            loop = asyncio.get_running_loop()
            # As the loop calls the handler that `add_signal_handler` was given.
            loop.call_later(2.0, site.endpoint.start_draining)
            for _ in range(4):
                await client.chat("answer")
                await asyncio.sleep(1)
            codes = [each["payload"].get("code") for each in client.frames]
            assert codes.count("shutting_down") == 2

    endpoint = Site().endpoint
    endpoint.start_draining()  # not entered, without a loop
    run_virtual(main())


# Draining.


def test_it_returns_as_soon_as_nothing_runs_and_nothing_waits() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await begin(site, 5)
            began = now()
            await site.endpoint.drain()
            assert now() - began == pytest.approx(6, abs=0.1)
            assert await client.heard() == "a completed, b started, b completed"
            assert client.ended() is None

    run_virtual(main())


def test_an_endpoint_without_runs_is_drained_at_once() -> None:
    async def main() -> None:
        async with Site() as site:
            await site.connect()
            await site.endpoint.drain()
            assert now() < 0.1

    run_virtual(main())


@pytest.mark.parametrize("seconds", [0.0, 3.0, None])
def test_what_is_left_after_the_time_is_cancelled_and_what_waits_never_begins(
    seconds: float | None,
) -> None:
    async def main() -> None:
        async with Site() as site:
            client = await begin(site, 100)
            began = now()
            await site.endpoint.drain(seconds)
            expected = _DRAIN_TIMEOUT if seconds is None else seconds
            assert now() - began == pytest.approx(expected, abs=0.1)
            assert await client.heard() == "b cancelled shutdown, a cancelled shutdown"

    run_virtual(main())


def test_the_time_of_an_endpoint_is_its_own() -> None:
    async def main() -> None:
        async with Site(drain_timeout=7.0) as site:
            await begin(site, 100)
        assert now() == pytest.approx(7, abs=0.1)

    run_virtual(main())


def test_draining_twice_at_once_and_again_is_draining() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await begin(site, 100)
            await asyncio.gather(site.endpoint.drain(5), site.endpoint.drain(50))
            assert now() == pytest.approx(5, abs=0.1)
            assert await client.heard() == "b cancelled shutdown, a cancelled shutdown"
            await site.endpoint.drain()
            assert now() == pytest.approx(5, abs=0.1)

    run_virtual(main())


def test_a_drain_that_is_cancelled_cancels_what_is_left_and_does_not_wait_for_it() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
            await client.chat("tidy 2", "a")
            draining = asyncio.create_task(site.endpoint.drain(), name="an agent's own")
            await asyncio.sleep(5)
            draining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await draining
            assert now() == pytest.approx(5, abs=0.1)
            (run,) = site.endpoint.runs("u1")
            assert run.state == "stopping"
            await asyncio.sleep(2)
            assert await client.heard() == "a started, a cancelled shutdown"

    run_virtual(main())


def test_a_bound_of_the_hosts_around_it_holds() -> None:
    async def main() -> None:
        async with Site() as site:
            await begin(site, 100)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(site.endpoint.drain(), 4)
            assert now() == pytest.approx(4, abs=0.1)

    run_virtual(main())


def test_it_waits_a_while_for_what_sessions_are_still_to_be_sent() -> None:
    async def main() -> None:
        async with Site() as site:
            slow = await site.connect(seconds=0.1)
            await slow.chat("say 20", "a")
            await site.endpoint.drain()
            assert (await slow.heard()).endswith("a completed")
            stalled = await site.connect()
            stalled.transport.hang()
            await stalled.send("ping")
            began = now()
            await site.endpoint.drain()
            assert now() - began == pytest.approx(5)
            assert stalled.ended() is None

    run_virtual(main())


@pytest.mark.parametrize("seconds", [1.0, 20.0])
def test_a_message_that_is_being_claimed_as_it_begins_is_drained_too(seconds: float) -> None:
    log = TroubledLog()

    async def main() -> None:
        async with site_on(log, log_timeout=60.0) as site:
            client = await site.connect()
            log.plan("claim", takes(seconds))
            sending = asyncio.create_task(client.chat("answer", "a"), name="an agent's own")
            await settle()
            await site.endpoint.drain(5)
            assert now() == pytest.approx(seconds, abs=0.1)
            await sending
            # It had no answer when the time was over.
            end = "a completed" if seconds < 5 else "a cancelled shutdown"
            assert await client.heard() == f"a started, {end}"

    run_virtual(main())


# Handlers of the host's own.


class Dancer:
    """Handles ``dance``; it sends a frame, works, and is cancelled only in its own time."""

    supported_types = ("dance",)

    def __init__(self, seconds: float, tidies: float = 0.0) -> None:
        self.ended: list[tuple[str, float]] = []
        self._seconds = seconds
        self._tidies = tidies

    def can_handle(self, message_type: str) -> bool:
        return message_type == "dance"

    async def handle_message(
        self, user_id: str, websocket: WebSocketLike | None, message: Message
    ) -> bool:
        try:
            await asyncio.sleep(self._seconds)
        except asyncio.CancelledError:
            await asyncio.sleep(self._tidies)
            self.ended.append(("cancelled", round(now(), 1)))
            raise
        self.ended.append(("done", round(now(), 1)))
        return True

    def get_stats(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize(
    ("seconds", "tidies", "ended", "drained"),
    [
        (3.0, 0.0, [("done", 3)], 3.0),
        (100.0, 0.0, [("cancelled", 5)], 5.0),
        (100.0, 4.0, [("cancelled", 9)], 9.0),
        # Longer than the grace that agents have, too.
        (100.0, 14.0, [], 15.0),
    ],
)
def test_handlers_of_the_hosts_own_are_waited_for_then_cancelled(
    seconds: float, tidies: float, ended: list[tuple[str, float]], drained: float
) -> None:
    async def main() -> None:
        dancer = Dancer(seconds, tidies)
        async with Site(handler=MessageRouter(dancer)) as site:
            client = await site.connect()
            await client.send("dance")
            await site.endpoint.drain(5)
            assert now() == pytest.approx(drained, abs=0.1)
            assert dancer.ended == ended

    run_virtual(main())


# Leaving.


def test_leaving_drains_and_then_ends_the_sessions_with_a_last_word() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await begin(site, 5)
            idle = await site.connect("u2")
        assert now() == pytest.approx(6, abs=0.1)
        assert await client.heard() == ("a completed, b started, b completed, error shutting_down")
        assert await idle.heard() == "error shutting_down"
        assert client.transport.closed == idle.transport.closed == ["shutdown"]
        assert client.ended() == idle.ended() == "shutdown"

    run_virtual(main())


def test_a_connection_that_is_served_ends_as_the_endpoint_is_left() -> None:
    async def silence() -> AsyncIterator[str]:
        yield frame("chat", {"text": "work 2"})
        await asyncio.Event().wait()

    async def main() -> None:
        socket = RecordingTransport()
        async with Site() as site:
            serving = asyncio.create_task(
                site.endpoint.serve("u1", silence(), socket), name="an agent's own"
            )
            await asyncio.sleep(1)
        assert await serving == SessionEnd(reason="shutdown")
        assert now() == pytest.approx(2, abs=0.1)

    run_virtual(main())


def test_after_it_was_left_nobody_is_let_in() -> None:
    async def main() -> None:
        async with Site() as site:
            client = await site.connect()
        await client.chat("answer", "late")
        socket = RecordingTransport()
        with pytest.raises(RemoteError, match="shutting_down") as refused:
            await site.endpoint.open("u1", socket)
        assert refused.value.message == "the server is shutting down"
        with pytest.raises(RemoteError, match="shutting_down"):
            await site.endpoint.stream("u1", frame("ping"))
        assert socket.frames == []
        await site.endpoint.drain()
        assert site.endpoint.stats()["refusals"] == {"shutting_down": 2}

    run_virtual(main())


def test_leaving_while_it_is_cancelled_still_ends_everything() -> None:
    async def main() -> None:
        site = Site()
        clients: list[Connection] = []

        async def host() -> None:
            async with site:
                clients.append(await begin(site, 100))

        hosting = asyncio.create_task(host(), name="an agent's own")
        await asyncio.sleep(3)
        hosting.cancel()
        await asyncio.wait([hosting])
        assert hosting.cancelled()
        assert now() == pytest.approx(3, abs=0.1)
        assert await clients[0].heard() == (
            "b cancelled shutdown, a cancelled shutdown, error shutting_down"
        )
        assert tasks_left() == []

    run_virtual(main())


def test_leaving_is_bounded_though_a_host_never_closes_its_socket() -> None:
    async def main() -> None:
        closing = asyncio.Event()

        async def close(reason: SessionEndReason) -> None:
            while not closing.is_set():
                with suppress(asyncio.CancelledError):
                    await closing.wait()

        handler = AgentMessageHandler(worker)
        async with Endpoint(
            handler, cancel_grace=1.0, log_timeout=2.0, final_send_timeout=4.0
        ) as endpoint:
            await endpoint.open("u1", RecordingTransport(), close=close)
        assert now() == pytest.approx(1.0 + 2.0 + 3 * 4.0, abs=0.1)
        closing.set()
        await settle()
        assert tasks_left() == []

    run_virtual(main())


def test_its_own_log_is_closed_and_a_hosts_is_not() -> None:
    async def main() -> None:
        async with Endpoint(AgentMessageHandler(worker)) as endpoint:
            session = await endpoint.open("u1", RecordingTransport())
            await session.receive(frame("chat", {"text": "answer"}))
        with pytest.raises(EventLogError, match="closed"):
            await endpoint.forget("u1")
        async with Site() as site:
            pass
        assert await site.log.find_run("u1", "r1") is None

    run_virtual(main())
