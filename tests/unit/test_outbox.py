"""The one writer to a host's send: order, backpressure and failures."""

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

import pytest

from agent_messaging import (
    AgentMessageHandler,
    Limits,
    MessageType,
    OutboxFullError,
    Run,
    TransportError,
)
from agent_messaging._outbox import Outbox
from agent_messaging.testing import RecordingTransport, run_virtual
from support import chat, decoded, tasks_left
from support.lines import lines, own_records
from support.loop import steps
from support.posting import CHUNK, Receipts, outbox_to

# Order.


@pytest.mark.parametrize("yields", [0, 1, 3])
def test_frames_go_out_in_the_order_of_their_posts(yields: int) -> None:
    async def main() -> None:
        transport, receipts = RecordingTransport(turns=yields), Receipts()
        outbox = outbox_to(transport)

        async def post(first: int) -> None:
            for number in range(first, first + 5):
                posted.append(str(number))
                await outbox.post(str(number), CHUNK, receipts)
                await asyncio.sleep(0)

        posted: list[str] = []
        await asyncio.gather(post(0), post(10), post(20))
        assert await outbox.settle(5.0) is None
        assert transport.frames == posted
        assert receipts.all == [True] * 15

    run_virtual(main())


def test_each_send_begins_and_ends_in_one_task_that_is_no_posters() -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[object] | None] = []

        async def send(frame: str) -> None:
            tasks.append(asyncio.current_task())
            async with asyncio.timeout(1.0):
                await asyncio.sleep(0)
            tasks.append(asyncio.current_task())

        outbox = outbox_to(send)
        for _ in range(3):
            await outbox.post("frame", CHUNK, Receipts())
            await steps()
        for begun, ended in zip(tasks[::2], tasks[1::2], strict=True):
            assert begun is ended
            assert begun is not asyncio.current_task()
            assert begun is not None
            assert begun.get_name() == "agent_messaging outbox"
        assert len(tasks) == 6

    run_virtual(main())


def test_the_cancellation_of_a_poster_cuts_no_send() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        outbox = outbox_to(transport, outbox_frames=1, outbox_overrun=2)

        async def post() -> None:
            await outbox.post("1", CHUNK, Receipts())
            await outbox.post("2", CHUNK, Receipts())

        poster = asyncio.create_task(post())
        await steps()
        poster.cancel()
        await steps()
        assert poster.cancelled()
        transport.read_on(2)
        await outbox.settle(1.0)
        assert transport.frames == ["1", "2"]

    run_virtual(main())


def test_a_writer_is_there_only_while_frames_wait() -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport())
        assert tasks_left() == []
        outbox.post("frame", CHUNK, Receipts())
        assert len(tasks_left()) == 1
        await outbox.settle(1.0)
        await steps(2)
        assert tasks_left() == []

    run_virtual(main())


def test_a_post_between_the_last_send_and_the_writers_end_goes_out() -> None:
    async def main() -> None:
        transport = RecordingTransport()

        def receipt(kind: MessageType, accepted: bool) -> None:
            if len(transport.frames) < 3:
                outbox.post("again", CHUNK, receipt)

        outbox = outbox_to(transport)
        outbox.post("first", CHUNK, receipt)
        await steps()
        assert transport.frames == ["first", "again", "again"]

    run_virtual(main())


def test_what_a_run_sets_in_its_context_does_not_reach_the_writer() -> None:
    variable = ContextVar("variable", default="of the connection")

    async def main() -> None:
        seen: list[str] = []

        async def send(frame: str) -> None:
            seen.append(variable.get())

        outbox = outbox_to(send)
        variable.set("of a run")
        outbox.post("frame", CHUNK, Receipts())
        await outbox.settle(1.0)
        assert seen == ["of the connection"]

    run_virtual(main())


# Backpressure.


def test_awaiting_takes_no_step_of_the_loop_while_there_is_room() -> None:
    async def main() -> None:
        transport = RecordingTransport()
        outbox = outbox_to(transport, outbox_frames=3)
        for _ in range(3):
            await outbox.post("frame", CHUNK, Receipts())
        assert transport.sends == 0
        await outbox.post("one too many", CHUNK, Receipts())
        assert transport.sends > 0

    run_virtual(main())


def test_awaiting_waits_until_there_is_room_and_no_longer() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        outbox = outbox_to(transport, outbox_frames=2)

        async def post() -> None:
            for number in range(4):
                await outbox.post(str(number), CHUNK, Receipts())
                posted.append(number)

        posted: list[int] = []
        poster = asyncio.create_task(post())
        await steps()
        assert posted == [0, 1]
        transport.read_on(1)
        await steps()
        assert posted == [0, 1, 2]
        transport.read_on(1)
        await steps()
        assert posted == [0, 1, 2, 3]
        transport.read_on(2)
        await poster

    run_virtual(main())


def test_a_poster_that_is_cancelled_while_it_waits_for_room_leaves_the_others_waiting() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        outbox = outbox_to(transport, outbox_frames=1)

        async def post(frame: str) -> None:
            await outbox.post(frame, CHUNK, Receipts())

        posters = [asyncio.create_task(post(str(number))) for number in range(3)]
        await steps()
        posters[1].cancel()
        await steps()
        assert [poster.done() for poster in posters] == [True, True, False]
        transport.read_on(3)
        await posters[2]
        await outbox.settle(1.0)
        assert transport.frames == ["0", "1", "2"]

    run_virtual(main())


def test_events_that_nobody_awaited_are_refused_beyond_the_overrun() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        outbox = outbox_to(transport, outbox_frames=1, outbox_overrun=3)
        for _ in range(3):
            outbox.check()
            outbox.post("frame", CHUNK, Receipts())
        with pytest.raises(OutboxFullError, match="3 frames"):
            outbox.check()
        transport.read_on(1)
        await steps()
        outbox.check()
        transport.read_on(2)
        await outbox.settle(1.0)

    run_virtual(main())


def test_an_outbox_says_without_a_call_whether_there_is_anything_to_check() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        outbox = outbox_to(transport, outbox_frames=1, outbox_overrun=2)
        outbox.post("1", CHUNK, Receipts())
        seen = [outbox.is_blocked]
        outbox.post("2", CHUNK, Receipts())
        seen.append(outbox.is_blocked)
        transport.read_on(2)
        await outbox.settle(1.0)
        outbox.check()
        seen.append(outbox.is_blocked)
        assert seen == [False, True, False]

    run_virtual(main())


def test_a_run_goes_on_after_its_outbox_was_full() -> None:
    async def agent(run: Run) -> str:
        emitted = 0
        try:
            while emitted < 100:
                run.chunk(str(emitted))
                emitted += 1
        except OutboxFullError:
            await asyncio.sleep(1.0)
        await run.thinking("on")
        return str(emitted)

    limits = Limits(outbox_frames=2, outbox_overrun=4)
    transport = RecordingTransport(turns=2)
    assert run_virtual(
        AgentMessageHandler(agent, limits=limits).handle_message("u1", transport, chat())
    )
    *events, end = decoded(transport.frames)
    # The start took one of the four places.
    assert [event["type"] for event in events] == [
        "agent_started",
        *["agent_response_chunk"] * 3,
        "agent_thinking",
    ]
    assert end["payload"]["result"] == "3"
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]


class WatchedTask(asyncio.Task[Any]):
    """A task that counts who waits for its end."""

    watchers = 0

    def add_done_callback(self, *args: Any, **options: Any) -> None:
        WatchedTask.watchers += 1
        super().add_done_callback(*args, **options)


def watched(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> WatchedTask:
    return WatchedTask(coroutine, loop=loop, **options)


def test_a_long_stream_at_the_pace_of_its_reader_leaves_nothing_behind() -> None:
    """What each event leaves would grow without bound while one writer goes on."""

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(watched)
        outbox = outbox_to(RecordingTransport(turns=1), outbox_frames=2)
        for _ in range(100):
            await outbox.post("frame", CHUNK, Receipts())
            outbox.users += 1
            outbox.leave()
        await outbox.settle(1.0)

    WatchedTask.watchers = 0
    run_virtual(main())
    assert WatchedTask.watchers < 10


# A transport that fails.


@pytest.mark.parametrize("fails_at", [1, 2, 4])
@pytest.mark.parametrize("yields", [0, 2])
def test_after_a_failed_send_every_frame_gets_a_negative_receipt(
    fails_at: int, yields: int
) -> None:
    async def main() -> None:
        transport, receipts = RecordingTransport(turns=yields, fails_at=fails_at), Receipts()
        outbox = outbox_to(transport)
        for number in range(1, 5):
            await outbox.post(str(number), CHUNK, receipts)
        outbox.check()
        await outbox.settle(5.0)
        assert outbox.failed
        await outbox.post("late", CHUNK, receipts)
        accepted = fails_at - 1
        assert transport.sends == fails_at
        assert transport.frames == [str(number) for number in range(1, fails_at)]
        assert receipts.all == [True] * accepted + [False] * (5 - accepted)

    run_virtual(main())


def test_what_failed_is_the_cause_of_each_later_transport_error() -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport(fails_at=1))
        outbox.check()
        outbox.post("frame", CHUNK, Receipts())
        await outbox.settle(1.0)
        for _ in range(2):
            with pytest.raises(TransportError) as caught:
                outbox.check()
            assert isinstance(caught.value.__cause__, ConnectionError)

    run_virtual(main())


def test_a_failure_is_logged_without_the_words_of_its_exception(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport(fails_at=1))
        for _ in range(2):
            outbox.post("frame", CHUNK, Receipts())
        await outbox.settle(1.0)

    with caplog.at_level(logging.INFO, logger="agent_messaging"):
        run_virtual(main())
    [record] = own_records(caplog)
    assert record.getMessage().startswith("transport_failed error=ConnectionError raised_at=_trans")
    assert record.getMessage().endswith(" undelivered=2")
    assert "send 1 failed" not in record.getMessage()
    assert record.exc_info is None


def test_what_a_send_raised_is_logged_with_its_traceback_at_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport(fails_at=1))
        outbox.post("frame", CHUNK, Receipts())
        await outbox.settle(1.0)

    with caplog.at_level(logging.DEBUG, logger="agent_messaging"):
        run_virtual(main())
    [line] = lines(caplog, "transport_error")
    assert (line["levelno"], line["error"], line["undelivered"]) == (
        logging.DEBUG,
        "ConnectionError",
        1,
    )
    assert line["raised_at"].startswith("_transports.py:")
    assert line["exc_info"][0] is ConnectionError


def test_a_failure_wakes_every_task_that_waits() -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport(seconds=1.0, fails_at=1), outbox_frames=1)

        async def post() -> None:
            await outbox.post("frame", CHUNK, Receipts())

        async with asyncio.TaskGroup() as waiting:
            for _ in range(3):
                waiting.create_task(post())
            waiting.create_task(outbox.settle(60.0))
        assert asyncio.get_running_loop().time() == 1.0

    run_virtual(main())


def test_a_send_that_returns_nothing_to_await_has_failed() -> None:
    def send(frame: str) -> None: ...

    async def main() -> None:
        outbox, receipts = outbox_to(send), Receipts()  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        outbox.post("frame", CHUNK, receipts)
        await outbox.settle(1.0)
        assert receipts.all == [False]
        assert outbox.failed

    run_virtual(main())


class Hangup(BaseException):
    """No Exception, as some frameworks' own cancellations."""


@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("error", [asyncio.CancelledError, TimeoutError, StopIteration, Hangup])
def test_whatever_a_send_raises_is_a_failure(error: type[BaseException]) -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport(fails_at=1, error=error()))
        receipts = Receipts()
        outbox.post("frame", CHUNK, receipts)
        await outbox.settle(1.0)
        assert receipts.all == [False]
        with pytest.raises(TransportError):
            outbox.check()

    run_virtual(main())


def test_a_frame_that_is_posted_to_a_closed_loop_goes_nowhere() -> None:
    async def make() -> Outbox:
        return outbox_to(transport)

    transport, receipts = RecordingTransport(), Receipts()
    outbox = run_virtual(make())
    outbox.post("frame", CHUNK, receipts)
    assert receipts.all == [False]
    assert transport.sends == 0
    with pytest.raises(TransportError):
        outbox.check()
