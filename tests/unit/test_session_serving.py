"""Connections that are served: frames that can be iterated over, until they or the session end."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from agent_messaging import ErrorCode, Limits, RemoteError, SessionEnd, SessionEndReason
from agent_messaging.testing import RecordingTransport, run_virtual
from support import decoded, tasks_left
from support.endpoints import Site, frame, now, settle
from support.lines import lines

CHAT: Final = frame("chat", {"text": "work 50"}, message_id="m", thread_id="t")
GONE: Final = ConnectionError("gone")


class Frames:
    """What a host iterates over: some frames, then what the test says; no generator."""

    def __init__(self, *frames: str, then: Exception | None = None, waits: bool = False) -> None:
        self._frames = list(frames)
        self._then = then
        self._waits = waits

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self._frames:
            return self._frames.pop(0)
        if self._waits:
            await asyncio.Event().wait()
        raise self._then or StopAsyncIteration


def serving(site: Site, frames: Any, socket: RecordingTransport) -> asyncio.Task[SessionEnd]:
    """A host's handler of one connection."""
    return asyncio.create_task(site.endpoint.serve("u1", frames, socket), name="an agent's own")


# serve.


def test_frames_are_served_until_there_are_no_more_and_the_run_is_left() -> None:
    async def main() -> None:
        async with Site() as site:
            socket = RecordingTransport()
            frames = Frames(CHAT, frame("ping", {"id": 1}), '{"type": "nonsense"}')
            assert await serving(site, frames, socket) == SessionEnd(reason="disconnected")
            assert site.endpoint.stats()["sessions"] == 0
            await settle()
            assert await site.history("m") == "m started at 0, m cancelled disconnected at 0"

    run_virtual(main())


def test_bytes_are_frames_too() -> None:
    async def main() -> None:
        async def frames() -> AsyncIterator[bytes | bytearray | memoryview]:
            for number, make in enumerate((bytes, bytearray, memoryview)):
                yield make(frame("ping", {"id": number}).encode())
                await settle()

        async with Site() as site:
            socket = RecordingTransport()
            await serving(site, frames(), socket)
            assert [each.count("pong") for each in socket.frames] == [0, 1, 1, 1]

    run_virtual(main())


def test_what_the_frames_raise_is_a_disconnect_and_is_kept() -> None:
    async def main() -> None:
        async with Site() as site:
            error = ConnectionResetError("gone")
            end = await serving(site, Frames(CHAT, then=error), RecordingTransport())
            assert end == SessionEnd(reason="disconnected", error=error)

    run_virtual(main())


@pytest.mark.parametrize("raises", [False, True])
def test_a_generator_of_frames_is_closed_and_what_it_raises_then_is_no_more_than_an_end(
    raises: bool,
) -> None:
    async def main() -> None:
        closed: list[float] = []

        async def frames() -> AsyncIterator[str]:
            try:
                yield frame("disconnect")
                yield frame("ping")
            finally:
                closed.append(now())
                if raises:
                    raise ValueError("while it is closed")

        async with Site() as site:
            end = await serving(site, frames(), RecordingTransport())
            assert end.reason == "disconnected"
            assert closed == [pytest.approx(0, abs=0.1)]

    run_virtual(main())


class FailsToClose(AsyncGenerator[str, None]):
    """Frames that come to their end, and are then not to be closed."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def asend(self, value: None, /) -> str:
        raise StopAsyncIteration

    async def athrow(self, *_: object) -> str:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise self._error


def test_what_the_closing_of_ended_frames_raises_is_kept_too() -> None:
    async def main() -> None:
        async with Site() as site:
            error = ConnectionResetError("gone")
            end = await serving(site, FailsToClose(error), RecordingTransport())
            assert end == SessionEnd(reason="disconnected", error=error)

    run_virtual(main())


ENDS: Final[
    dict[str, tuple[SessionEndReason, Callable[[Site, RecordingTransport], Awaitable[None]]]]
] = {}


def way(reason: SessionEndReason) -> Callable[[Any], Any]:
    def register(end: Callable[[Site, RecordingTransport], Awaitable[None]]) -> Any:
        ENDS[end.__name__] = (reason, end)
        return end

    return register


@way("slow_consumer")
async def it_does_not_read(site: Site, socket: RecordingTransport) -> None:
    socket.hang()
    await asyncio.sleep(200)


@way("transport_failed")
async def its_socket_fails(site: Site, socket: RecordingTransport) -> None:
    socket.fail(GONE)
    await asyncio.sleep(100)


@way("forgotten")
async def its_user_is_forgotten(site: Site, socket: RecordingTransport) -> None:
    await site.endpoint.forget("u1")


@way("shutdown")
async def the_endpoint_is_left(site: Site, socket: RecordingTransport) -> None:
    await site.endpoint.__aexit__(None, None, None)


@pytest.mark.parametrize("end", ENDS)
def test_a_session_that_the_library_ends_is_served_no_more_though_its_client_is_silent(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    reason, act = ENDS[end]

    async def main() -> str:
        async with Site() as site:
            socket = RecordingTransport()
            task = serving(site, Frames(CHAT, waits=True), socket)
            await settle()
            await act(site, socket)
            ended = await task
            assert ended.reason == reason
            assert ended.error is (GONE if reason == "transport_failed" else None)
            assert [task for task in tasks_left() if "close" in task.get_name()] == []
            connection_id: str = decoded(socket.frames)[0]["payload"]["connection_id"]
            return connection_id

    with caplog.at_level(logging.INFO, "agent_messaging"):
        connection_id = run_virtual(main())
    [line] = lines(caplog, "session_ended")
    assert (line["user_id"], line["connection_id"]) == ("u1", connection_id)
    assert line["reason"] == reason
    if reason == "transport_failed":
        assert line["error"] == "ConnectionError"
        assert line["raised_at"].startswith("_transports.py:")


def test_an_idle_client_is_served_no_more() -> None:
    async def main() -> None:
        async with Site(idle_timeout=10.0) as site:
            end = await serving(site, Frames(frame("ping"), waits=True), RecordingTransport())
            assert (end.reason, round(now(), 1)) == ("idle", 10)

    run_virtual(main())


def test_a_client_that_says_goodbye_is_served_no_more() -> None:
    async def main() -> None:
        async with Site() as site:
            socket = RecordingTransport()
            frames = Frames(CHAT, frame("disconnect"), frame("ping"), waits=True)
            assert await serving(site, frames, socket) == SessionEnd(reason="disconnected")
            assert not any("pong" in each for each in socket.frames)

    run_virtual(main())


def test_a_host_that_cancels_the_serving_ends_the_session() -> None:
    async def main() -> None:
        async with Site() as site:
            task = serving(site, Frames(CHAT, waits=True), RecordingTransport())
            await asyncio.sleep(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert site.endpoint.stats()["sessions"] == 0
            await settle()
            assert await site.history("m") == "m started at 0, m cancelled disconnected at 2"

    run_virtual(main())


def test_a_cancellation_that_the_frames_swallow_is_an_end_of_the_frames() -> None:
    async def main() -> None:
        async def frames() -> AsyncIterator[str]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return
            yield ""

        async with Site() as site:
            task = serving(site, frames(), RecordingTransport())
            await settle()
            await site.endpoint.forget("u1")
            assert await task == SessionEnd(reason="forgotten")

    run_virtual(main())


def test_one_that_is_refused_hears_why_and_has_no_session() -> None:
    async def main() -> None:
        async with Site(limits=Limits(sessions_per_user=1)) as site:
            await site.connect()
            socket = RecordingTransport()
            end = await serving(site, Frames(CHAT), socket)
            assert end.reason == "refused"
            assert isinstance(end.error, RemoteError)
            assert end.error.code is ErrorCode.TOO_MANY_SESSIONS
            (told,) = socket.frames
            assert '"too_many_sessions"' in told
            assert site.endpoint.runs("u1") == ()

    run_virtual(main())


@pytest.mark.parametrize(("fault", "seconds"), [("hangs_at", 5.0), ("fails_at", 0.0)])
def test_one_that_is_refused_on_a_bad_socket_is_refused_all_the_same(
    fault: str, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Site(limits=Limits(sessions_per_user=1)) as site:
            await site.connect()
            faults: dict[str, Any] = {fault: 1}
            end = await serving(site, Frames(CHAT), RecordingTransport(**faults))
            assert end.reason == "refused"
            assert now() == pytest.approx(seconds, abs=0.1)

    with caplog.at_level(logging.INFO, "agent_messaging"):
        run_virtual(main())
    [line] = lines(caplog, "transport_failed")
    error = "TimeoutError" if fault == "hangs_at" else "ConnectionError"
    assert (line["levelno"], line["error"]) == (logging.INFO, error)
