"""The kit's transport: what it keeps, its paces, its faults, and what it sees of misuse."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import pytest

from agent_messaging import AgentMessageHandler, Endpoint, Run
from agent_messaging.testing import RecordingTransport, loop_clock, run_virtual
from support import chat
from support.endpoints import now, settle
from support.loop import steps, virtual_loop


async def begun(coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """A task of it that has come as far as it can."""
    task = asyncio.create_task(coroutine)
    await settle()
    return task


async def send_each(transport: RecordingTransport, frames: str) -> None:
    for frame in frames:
        await transport(frame)


# What it keeps.


def test_frames_are_kept_with_their_times_and_decoded() -> None:
    async def main() -> None:
        await transport("first")
        await asyncio.sleep(3)
        await transport('{"type": "pong", "payload": {"id": 7}}')

    transport = RecordingTransport()
    assert (transport.frames, transport.received, transport.sends) == ([], (), 0)
    run_virtual(main())
    assert transport.frames == ["first", '{"type": "pong", "payload": {"id": 7}}']
    assert transport.times == [0.0, 3.0]
    assert transport.sends == 2
    first, second = transport.received
    assert (first.text, first.type) == ("first", "")
    assert (second.type, second.payload) == ("pong", {"id": 7})


def test_it_is_a_websocket_for_a_handler() -> None:
    async def agent(run: Run) -> str:
        return run.request

    transport = RecordingTransport()
    handler = AgentMessageHandler(agent, clock=loop_clock())
    assert run_virtual(handler.handle_message("ada", transport, chat("hello")))
    assert [frame.type for frame in transport.received] == ["agent_started", "agent_completed"]


def test_its_close_notes_why_an_endpoint_closed_it() -> None:
    async def agent(run: Run) -> None: ...

    async def main() -> None:
        async with Endpoint(AgentMessageHandler(agent), heartbeat=None) as endpoint:
            await endpoint.open("ada", transport, close=transport.close)
            assert transport.closed == []
            await endpoint.forget("ada")

    transport = RecordingTransport()
    run_virtual(main())
    assert transport.closed == ["forgotten"]


# Its paces.


def test_a_send_takes_turns_or_time_or_neither() -> None:
    async def taken(transport: RecordingTransport) -> tuple[int, float]:
        turns = virtual_loop().turns
        await transport("frame")
        return virtual_loop().turns - turns, now()

    assert run_virtual(taken(RecordingTransport())) == (0, 0.0)
    assert run_virtual(taken(RecordingTransport(turns=3))) == (3, 0.0)
    assert run_virtual(taken(RecordingTransport(seconds=2.5)))[1] == 2.5


def test_one_that_hangs_reads_on_when_it_is_told_to() -> None:
    async def main() -> None:
        transport = RecordingTransport()
        await transport("a")
        transport.hang()
        sending = await begun(send_each(transport, "bcd"))
        assert (transport.frames, transport.sends) == (["a"], 2)
        transport.read_on()
        await sending
        assert transport.frames == ["a", "b", "c", "d"]

    run_virtual(main())


def test_one_that_is_made_to_hang_does_so_from_a_send_on() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=3)
        sending = await begun(send_each(transport, "abcd"))
        await asyncio.sleep(3600)
        assert (transport.frames, transport.sends) == (["a", "b"], 3)
        transport.read_on()
        await sending
        assert transport.times == [0.0, 0.0, *[pytest.approx(3600, abs=0.1)] * 2]

    run_virtual(main())


def test_a_hanging_send_that_is_cut_off_leaves_the_next_one_hanging() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        for _ in range(2):
            sending = await begun(transport("frame"))
            sending.cancel()
            await settle()
            assert sending.cancelled()
        assert transport.frames == []

    run_virtual(main())


def test_so_many_sends_are_let_through() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        sending = await begun(send_each(transport, "abcdefg"))
        seen: list[str] = []
        for sends in (1, 0, 2, 3):
            transport.read_on(sends)
            await settle()
            seen.append("".join(transport.frames))
        assert seen == ["a", "a", "abc", "abcdef"]
        assert transport.sends == 7
        transport.read_on()
        await sending

    run_virtual(main())


def test_sends_that_are_let_through_before_they_begin_add_up() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        transport.read_on(1)
        transport.read_on(2)
        sending = await begun(send_each(transport, "abcde"))
        assert transport.frames == ["a", "b", "c"]
        sending.cancel()

    run_virtual(main())


def test_one_that_does_not_hang_can_be_told_how_many_sends_it_takes_until_it_does() -> None:
    async def main() -> None:
        transport = RecordingTransport()
        await transport("a")
        transport.read_on(2)
        sending = await begun(send_each(transport, "bcde"))
        assert transport.frames == ["a", "b", "c"]
        transport.hang()
        transport.read_on(1)
        await settle()
        assert transport.frames == ["a", "b", "c", "d"]
        sending.cancel()

    run_virtual(main())


def test_a_send_that_waits_for_its_turns_hangs_if_it_is_told_to_meanwhile() -> None:
    async def main() -> None:
        transport = RecordingTransport(seconds=1)
        sending = await begun(transport("a"))
        transport.hang()
        await asyncio.sleep(10)
        assert transport.frames == []
        transport.read_on()
        await sending
        assert transport.frames == ["a"]

    run_virtual(main())


# Its faults.


def test_one_that_fails_takes_what_came_before() -> None:
    async def main() -> None:
        for _ in range(2):
            await transport("taken")
        for _ in range(2):
            with pytest.raises(ConnectionError, match="the client is gone"):
                await transport("lost")

    transport = RecordingTransport(fails_at=3)
    run_virtual(main())
    assert (transport.frames, transport.sends) == (["taken"] * 2, 4)


class Hangup(BaseException):
    """No Exception, as some frameworks' own cancellations."""


@pytest.mark.parametrize("error", [TimeoutError(), LookupError("gone"), Hangup()])
def test_what_it_fails_with_can_be_chosen_beforehand_and_later(error: BaseException) -> None:
    async def main() -> None:
        for transport in (beforehand, later, once_more):
            with pytest.raises(type(error)) as raised:
                await transport("frame")
            assert raised.value is error
            assert transport.frames == []

    beforehand = RecordingTransport(fails_at=1, error=error)
    later = RecordingTransport()
    later.fail(error)
    once_more = RecordingTransport(error=error)
    once_more.fail()
    run_virtual(main())


def test_one_that_is_gone_fails_the_sends_that_hang_too() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1)
        sending = await begun(transport("frame"))
        transport.fail()
        with pytest.raises(ConnectionError):
            await sending
        with pytest.raises(ConnectionError):
            await transport("another")
        assert transport.frames == []

    run_virtual(main())


@pytest.mark.parametrize("swallows", [0, 1, 3])
def test_a_send_that_hangs_takes_no_notice_of_so_many_cancellations(swallows: int) -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1, swallows=swallows)
        sending = await begun(transport("frame"))
        for left in reversed(range(swallows)):
            sending.cancel()
            await settle()
            assert not sending.done()
            assert transport.swallows == left
        sending.cancel()
        await settle()
        assert sending.cancelled()
        assert transport.frames == []

    run_virtual(main())


def test_a_send_that_swallowed_a_cancellation_can_still_go_out() -> None:
    async def main() -> None:
        transport = RecordingTransport(hangs_at=1, swallows=1)
        sending = await begun(transport("frame"))
        sending.cancel()
        await settle()
        transport.read_on()
        await sending
        assert transport.frames == ["frame"]

    run_virtual(main())


@pytest.mark.parametrize("pace", [{"turns": 3}, {"seconds": 3}])
def test_what_else_a_send_waits_for_swallows_nothing(pace: dict[str, int]) -> None:
    async def main() -> None:
        transport = RecordingTransport(turns=pace.get("turns", 0), seconds=pace.get("seconds", 0))
        transport.swallows = 5
        sending = asyncio.create_task(transport("frame"))
        await steps(2)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        assert sending.cancelled()
        assert (transport.frames, transport.swallows) == ([], 5)
        await transport("the next one")
        assert transport.frames == ["the next one"]

    run_virtual(main())


# What it sees of misuse.


def test_two_sends_at_once_are_a_mistake() -> None:
    async def main() -> None:
        transport = RecordingTransport(turns=2)
        sending = await begun(transport("first"))
        await sending
        sending = asyncio.create_task(transport("second"))
        await steps(1)
        with pytest.raises(AssertionError, match="two sends at once"):
            await transport("third")
        await sending
        assert (transport.frames, transport.sends) == (["first", "second"], 2)

    run_virtual(main())


def test_a_send_that_ends_in_another_task_is_a_mistake() -> None:
    async def main() -> None:
        transport = RecordingTransport(turns=1)
        sending = transport("frame")
        sending.send(None)

        async def take_over() -> None:
            sending.send(None)

        with pytest.raises(AssertionError, match="another task"):
            await asyncio.create_task(take_over())
        assert transport.frames == []

    run_virtual(main())
