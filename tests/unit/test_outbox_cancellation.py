"""Waiting for the outbox: the bound, cancellations of who waits and of the writer, the close."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import ContextVar

import pytest

from agent_messaging import Limits
from agent_messaging._outbox import Outbox, OutboxPool
from agent_messaging.testing import RecordingTransport, run_virtual
from support import tasks_left
from support.endpoints import now
from support.lines import own_records
from support.loop import steps
from support.posting import CHUNK, Receipts, outbox_to


async def begun(coroutine: Coroutine[object, object, object]) -> asyncio.Task[object]:
    """A task of it that has come as far as it can."""
    task: asyncio.Task[object] = asyncio.ensure_future(coroutine)
    await steps()
    return task


# A transport that hangs, and the bounded wait.


def test_nothing_to_send_is_nothing_to_wait_for() -> None:
    async def main() -> None:
        assert await outbox_to(RecordingTransport(hangs_at=1)).settle(60.0) is None

    run_virtual(main())


def test_the_wait_for_a_hanging_send_is_bounded_and_the_sending_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        transport, receipts = RecordingTransport(hangs_at=2), Receipts()
        outbox = outbox_to(transport)
        for _ in range(3):
            outbox.post("frame", CHUNK, receipts)
        assert await outbox.settle(5.0) is None
        assert now() == 5.0
        assert receipts.all == [True]
        transport.read_on(2)
        await outbox.settle(5.0)
        assert receipts.all == [True, True, True]

    run_virtual(main())
    [record] = own_records(caplog)
    assert record.getMessage() == "outbox_unsettled frames=2"


def test_the_wait_is_for_what_was_posted_so_far() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        outbox = outbox_to(transport)
        outbox.post("1", CHUNK, Receipts())
        settling = asyncio.create_task(outbox.settle(60.0))
        await steps()
        outbox.post("2", CHUNK, Receipts())
        transport.read_on(1)
        await settling
        assert transport.frames == ["1"]
        transport.read_on(1)
        await outbox.settle(1.0)

    run_virtual(main())


# Cancelled while settling.


@pytest.mark.parametrize("steps_before", [0, 1, 2, 10])
def test_one_cancellation_is_given_back_once_all_is_sent(steps_before: int) -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        outbox = outbox_to(transport)
        outbox.post("frame", CHUNK, Receipts())
        settling = asyncio.create_task(outbox.settle(60.0))
        await steps(1 + steps_before)
        settling.cancel("stop")
        await steps()
        assert not settling.done()
        transport.read_on(1)
        cancelled = await settling
        assert isinstance(cancelled, asyncio.CancelledError)
        assert cancelled.args == ("stop",)
        assert transport.frames == ["frame"]

    run_virtual(main())


def test_one_cancellation_does_not_lift_the_bound() -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport(hangs_at=1))
        outbox.post("frame", CHUNK, Receipts())
        settling = await begun(outbox.settle(5.0))
        settling.cancel()
        assert isinstance(await settling, asyncio.CancelledError)
        assert now() == 5.0

    run_virtual(main())


@pytest.mark.parametrize("steps_before", [0, 1, 10])
def test_a_second_cancellation_ends_the_waiting_and_not_the_sending(steps_before: int) -> None:
    async def main() -> None:
        transport, receipts = RecordingTransport(hangs_at=1), Receipts()
        outbox = outbox_to(transport)
        outbox.post("frame", CHUNK, receipts)
        settling = asyncio.create_task(outbox.settle(60.0))
        await steps(1 + steps_before)
        settling.cancel("first")
        await steps(2)
        settling.cancel("second")
        cancelled = await settling
        assert isinstance(cancelled, asyncio.CancelledError)
        assert cancelled.args == ("second",)
        assert now() == 0.0
        assert not outbox.failed
        transport.read_on(1)
        await outbox.settle(1.0)
        assert receipts.all == [True]

    run_virtual(main())


def test_a_wait_that_was_given_up_disturbs_no_other() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        outbox = outbox_to(transport)
        outbox.post("1", CHUNK, Receipts())
        await outbox.settle(1.0)
        given_up = await begun(outbox.settle(60.0))
        given_up.cancel()
        await steps()
        given_up.cancel()
        outbox.post("2", CHUNK, Receipts())
        settling = await begun(outbox.settle(60.0))
        transport.read_on(2)
        assert await settling is None
        assert transport.frames == ["1", "2"]

    run_virtual(main())


# The writer is cancelled, as by a host that cancels every task of its loop.


@pytest.mark.parametrize("steps_before", [0, 1, 5])
def test_a_cancelled_writer_is_a_failed_transport(steps_before: int) -> None:
    async def main() -> None:
        transport, receipts = RecordingTransport(hangs_at=1), Receipts()
        outbox = outbox_to(transport)
        for _ in range(3):
            outbox.post("frame", CHUNK, receipts)
        await steps(steps_before)
        [writer] = tasks_left()
        writer.cancel()
        await outbox.settle(60.0)
        assert outbox.failed
        assert receipts.all == [False, False, False]
        assert transport.sends == (0 if steps_before == 0 else 1)
        outbox.post("late", CHUNK, receipts)
        assert receipts.all == [False] * 4
        await steps()
        assert tasks_left() == []
        assert now() == 0.0

    run_virtual(main())


def test_what_a_run_sets_in_its_context_does_not_reach_the_receipts_of_a_cancelled_writer() -> None:
    variable = ContextVar("variable", default="of the connection")

    async def main() -> None:
        seen: list[str] = []
        outbox = outbox_to(RecordingTransport())
        variable.set("of a run")
        outbox.post("frame", CHUNK, lambda kind, accepted: seen.append(variable.get()))
        [writer] = tasks_left()
        writer.cancel()
        await outbox.settle(60.0)
        assert seen == ["of the connection"]

    run_virtual(main())


# The close.


def test_closing_an_idle_outbox_does_nothing_and_it_stays_usable() -> None:
    async def main() -> None:
        transport, receipts = RecordingTransport(), Receipts()
        outbox = outbox_to(transport)
        await outbox.aclose(5.0)
        await outbox.aclose(5.0)
        outbox.post("frame", CHUNK, receipts)
        await outbox.aclose(5.0)
        assert receipts.all == [True]
        assert now() == 0.0

    run_virtual(main())


def test_closing_waits_for_what_is_left() -> None:
    async def main() -> None:
        receipts = Receipts()
        outbox = outbox_to(RecordingTransport(seconds=1.0))
        for _ in range(3):
            outbox.post("frame", CHUNK, receipts)
        await outbox.aclose(5.0)
        assert receipts.all == [True] * 3
        assert now() == 3.0
        await steps()
        assert tasks_left() == []

    run_virtual(main())


def test_closing_gives_up_what_is_still_unsent() -> None:
    async def main() -> None:
        receipts = Receipts()
        outbox = outbox_to(RecordingTransport(hangs_at=2))
        await asyncio.sleep(1.0)
        for _ in range(3):
            outbox.post("frame", CHUNK, receipts)
        await outbox.aclose(5.0)
        assert now() == 6.0
        assert receipts.all == [True, False, False]
        assert outbox.failed
        assert tasks_left() == []

    run_virtual(main())


def test_closing_cuts_nothing_that_was_posted_meanwhile_and_goes_out_in_time() -> None:
    async def main() -> None:
        transport, receipts = RecordingTransport(seconds=1.0), Receipts()
        outbox = outbox_to(transport)
        outbox.post("1", CHUNK, receipts)
        closing = await begun(outbox.aclose(5.0))
        outbox.post("2", CHUNK, receipts)
        await closing
        await outbox.settle(5.0)
        assert receipts.all == [True, True]
        assert not outbox.failed

    run_virtual(main())


def test_closing_does_not_hang_on_a_send_that_swallows_its_cancellation() -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport(hangs_at=1, swallows=1))
        outbox.post("frame", CHUNK, Receipts())
        await outbox.aclose(5.0)
        assert 5.0 < now() < 5.5
        [writer] = tasks_left()
        assert not writer.done()

    run_virtual(main())


def test_closing_waits_for_a_send_that_returns_when_it_is_cancelled() -> None:
    async def main() -> None:
        transport, receipts = RecordingTransport(), Receipts()

        async def send(frame: str) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await transport(frame)

        outbox = outbox_to(send)
        outbox.post("frame", CHUNK, receipts)
        await outbox.aclose(5.0)
        assert now() == 5.0
        assert (transport.frames, receipts.all) == (["frame"], [True])

    run_virtual(main())


def test_a_cancellation_during_the_close_is_raised_after_it() -> None:
    async def main() -> None:
        receipts = Receipts()
        outbox = outbox_to(RecordingTransport(seconds=1.0))
        outbox.post("frame", CHUNK, receipts)
        closing = await begun(outbox.aclose(5.0))
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert now() == 1.0
        assert receipts.all == [True]

    run_virtual(main())


def test_a_second_cancellation_during_the_close_ends_it() -> None:
    async def main() -> None:
        outbox = outbox_to(RecordingTransport(hangs_at=1))
        outbox.post("frame", CHUNK, Receipts())
        closing = await begun(outbox.aclose(5.0))
        for _ in range(2):
            closing.cancel()
            await steps(2)
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert now() == 0.0

    run_virtual(main())


# The close of a pool.


def held(pool: OutboxPool, websocket: RecordingTransport, receipts: Receipts) -> Outbox:
    """An outbox with one frame that nobody holds any more."""
    outbox = pool.acquire(websocket)
    outbox.post("frame", CHUNK, receipts)
    outbox.leave()
    return outbox


def test_closing_a_pool_waits_for_all_its_connections_at_once() -> None:
    async def main() -> None:
        pool, receipts = OutboxPool(Limits()), Receipts()
        for seconds in (1.0, 3.0, 2.0):
            held(pool, RecordingTransport(seconds=seconds), receipts)
        held(pool, RecordingTransport(hangs_at=1), receipts)
        await pool.aclose(4.0)
        assert now() == 4.0
        assert receipts.all == [True, True, True, False]
        assert tasks_left() == []
        await pool.aclose(4.0)
        assert now() == 4.0

    run_virtual(main())


def test_a_cancelled_close_of_a_pool_is_raised_after_it() -> None:
    async def main() -> None:
        pool, receipts = OutboxPool(Limits()), Receipts()
        held(pool, RecordingTransport(seconds=1.0), receipts)
        closing = await begun(pool.aclose(5.0))
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert receipts.all == [True]
        assert now() == 1.0

    run_virtual(main())


def test_a_pool_is_usable_after_its_close() -> None:
    async def main() -> None:
        pool, receipts = OutboxPool(Limits()), Receipts()
        websocket = RecordingTransport()
        held(pool, websocket, receipts)
        await pool.aclose(5.0)
        held(pool, websocket, receipts)
        await pool.aclose(5.0)
        assert receipts.all == [True, True]

    run_virtual(main())
