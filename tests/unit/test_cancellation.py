"""Watching for cancellations changes nothing of how an agent is awaited.

What it is for stands in test_handler_endings.py and test_handler_own_cancellations.py.
"""

import asyncio

import pytest

from agent_messaging._cancellation import Cancellation
from support import run


def test_an_awaitable_that_is_no_coroutine_is_awaited_as_it_is() -> None:
    async def main() -> None:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_result("done")
        cancellation = Cancellation()
        assert await cancellation.watch(future) == "done"
        assert not cancellation.came(None)

    run(main())


def test_what_a_future_raises_reaches_the_coroutine_that_awaits_it() -> None:
    async def main() -> None:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        async def agent() -> str:
            with pytest.raises(ConnectionError):
                await future
            return "went on"

        asyncio.get_running_loop().call_later(1, future.set_exception, ConnectionError())
        assert await Cancellation().watch(agent()) == "went on"

    run(main())


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

    run(main())
