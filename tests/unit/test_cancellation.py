"""Watching for cancellations changes nothing of how an agent is awaited.

What it is for stands in test_handler_endings.py and test_handler_own_cancellations.py.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from agent_messaging._cancellation import Cancellation, frames_of
from agent_messaging.testing import run_virtual


def test_an_awaitable_that_is_no_coroutine_is_awaited_as_it_is() -> None:
    async def main() -> None:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_result("done")
        cancellation = Cancellation()
        assert await cancellation.watch(future) == "done"
        assert not cancellation.came(None)

    run_virtual(main())


def test_what_a_future_raises_reaches_the_coroutine_that_awaits_it() -> None:
    async def main() -> None:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        async def agent() -> str:
            with pytest.raises(ConnectionError):
                await future
            return "went on"

        asyncio.get_running_loop().call_later(1, future.set_exception, ConnectionError())
        assert await Cancellation().watch(agent()) == "went on"

    run_virtual(main())


def test_what_a_coroutine_returns_and_raises_comes_out() -> None:
    async def returns() -> int:
        await asyncio.sleep(1)
        return 5

    async def raises() -> None:
        await asyncio.sleep(1)
        raise ValueError

    async def main() -> None:
        assert await Cancellation().watch(returns()) == 5
        with pytest.raises(ValueError, match=r"^$"):
            await Cancellation().watch(raises())

    run_virtual(main())


class RefersOutwards:
    """An iterator of an awaitable that refers to the coroutine that waits for it."""

    def __init__(self, outer: object, inner: Iterator[object]) -> None:
        self.outer = outer
        self.inner = inner

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> object:
        return next(self.inner)


def test_an_awaitable_that_refers_to_what_waits_for_it_can_be_cancelled() -> None:
    async def main() -> None:
        class Waits:
            def __await__(self) -> Iterator[object]:
                return RefersOutwards(agents[0], asyncio.sleep(100).__await__())

        async def agent() -> None:
            waits: Any = Waits()
            await waits

        async def watched() -> object:
            agents.append(agent())
            return await Cancellation().watch(agents[0])

        agents: list[Coroutine[Any, Any, object]] = []
        task = asyncio.create_task(watched())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_the_frames_of_what_waits_are_told_inwards_and_what_has_ended_has_none() -> None:
    async def outer() -> None:
        await inner()

    async def inner() -> None:
        await asyncio.sleep(0)

    running = outer()
    running.send(None)
    assert [frame.f_code.co_name for frame in frames_of(running)][:2] == ["outer", "inner"]
    running.close()
    assert list(frames_of(running)) == []
