"""Time-outs, also in a task that was cancelled before and cleans up."""

import asyncio

import pytest

from agent_messaging._timeouts import EarlyTimeout, timeout_after, timeout_at
from agent_messaging.testing import run_virtual


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize("is_cleaning_up", [True, False])
def test_a_timeout_that_expires_raises_timeout_error(is_early: bool, is_cleaning_up: bool) -> None:
    async def times_out() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        limit = EarlyTimeout(before + 2.0) if is_early else timeout_after(2.0)
        with pytest.raises(TimeoutError):
            async with limit:
                await asyncio.sleep(100.0)
        return loop.time() - before

    async def cleans_up() -> float:
        try:
            await asyncio.sleep(100.0)
        except asyncio.CancelledError:
            return await times_out()
        raise AssertionError("it was to be cancelled")

    async def main() -> float:
        task = asyncio.create_task(cleans_up() if is_cleaning_up else times_out())
        await asyncio.sleep(1.0)
        if is_cleaning_up:
            task.cancel()
        return await task

    assert run_virtual(main()) == 2.0


@pytest.mark.parametrize("is_early", [True, False])
def test_a_cancellation_from_outside_is_no_timeout(is_early: bool) -> None:
    async def waits() -> None:
        when = asyncio.get_running_loop().time() + 50.0
        async with EarlyTimeout(when) if is_early else timeout_at(when):
            await asyncio.sleep(100.0)

    async def main() -> None:
        task = asyncio.create_task(waits())
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


@pytest.mark.parametrize("is_early", [True, False])
def test_what_is_raised_or_done_in_time_is_what_comes_out(is_early: bool) -> None:
    async def main() -> None:
        async with EarlyTimeout(None) if is_early else timeout_after(None):
            await asyncio.sleep(1.0)
        with pytest.raises(KeyError):
            async with EarlyTimeout(None) if is_early else timeout_after(None):
                raise KeyError

    run_virtual(main())
