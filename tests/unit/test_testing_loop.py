"""The kit's event loop: virtual time, threads, turns, seeds, hanging; and its clock and ids."""

import asyncio
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from agent_messaging.testing import (
    HangError,
    VirtualTimeLoop,
    counted_ids,
    loop_clock,
    run_virtual,
)
from support.endpoints import now
from support.loop import virtual_loop

DAY = 24 * 3600.0


# Time.


def test_waiting_takes_no_time_and_time_begins_at_zero() -> None:
    async def main() -> list[float]:
        times = [now()]
        for seconds in (0.25, 3600.0, 30 * DAY):
            await asyncio.sleep(seconds)
            times.append(now())
        return times

    assert run_virtual(main()) == [0.0, 0.25, 3600.25, 30 * DAY + 3600.25]


def test_time_stands_still_while_anything_can_go_on() -> None:
    async def main() -> None:
        timer = asyncio.create_task(asyncio.sleep(0.001))
        for _ in range(10_000):
            await asyncio.sleep(0)
        assert now() == 0.0
        assert not timer.done()
        await timer
        assert now() == 0.001

    run_virtual(main())


def test_timers_come_in_the_order_of_their_times() -> None:
    async def main() -> list[tuple[float, str]]:
        came: list[tuple[float, str]] = []

        async def wait(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            came.append((now(), name))

        await asyncio.gather(wait(3, "c"), wait(1, "a"), wait(2, "b"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await asyncio.Event().wait()
        return [*came, (now(), "timeout")]

    assert run_virtual(main()) == [(1.0, "a"), (2.0, "b"), (3.0, "c"), (4.5, "timeout")]


def test_what_the_coroutine_returns_or_raises_comes_out() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise LookupError("as said")

    assert run_virtual(asyncio.sleep(1, "result")) == "result"
    with pytest.raises(LookupError, match="as said"):
        run_virtual(fails())


def test_what_is_left_is_cancelled_at_the_end() -> None:
    ended: list[float] = []

    async def stays() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            ended.append(now())

    async def main() -> None:
        asyncio.create_task(stays()).set_name("stays")
        await asyncio.sleep(1)

    run_virtual(main())
    assert ended == [6.0]


def test_it_is_not_for_within_a_virtual_loop() -> None:
    async def main() -> None:
        coroutine = asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="running"):
            run_virtual(coroutine)
        coroutine.close()

    run_virtual(main())


# Hanging.


async def wait_for_nothing() -> None:
    await asyncio.Event().wait()


async def deaf() -> None:
    """Takes no notice of cancellations."""
    # That it is left behind is the point, and not to be reported.
    virtual_loop().set_exception_handler(lambda loop, context: None)
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def test_a_deadlock_names_each_task_and_its_place() -> None:
    async def main() -> None:
        waiting = asyncio.create_task(wait_for_nothing(), name="one that waits")
        await waiting

    with pytest.raises(HangError) as raised:
        run_virtual(main())
    first, *tasks = str(raised.value).splitlines()
    assert first == "deadlock: every task waits, and no timer is set"
    line = wait_for_nothing.__code__.co_firstlineno + 1
    assert f"  one that waits, at {__file__}:{line}" in tasks
    place = re.escape(f"{__file__}:{main.__code__.co_firstlineno + 2}")
    assert [task for task in tasks if re.fullmatch(rf"  Task-\d+, at {place}", task)] != []
    assert len(tasks) == 2


def test_what_recurs_for_ever_is_a_hang_too() -> None:
    async def main() -> None:
        def recur() -> None:
            running.call_later(DAY, recur)

        running = asyncio.get_running_loop()
        recur()
        await asyncio.create_task(wait_for_nothing(), name="one that waits")

    with pytest.raises(HangError, match="nothing happens any more but what recurs") as raised:
        run_virtual(main())
    assert "  one that waits, at " in str(raised.value)


def test_a_hang_is_a_failed_test_and_the_first_that_is_told() -> None:
    async def main() -> None:
        await asyncio.create_task(deaf(), name="deaf")

    assert issubclass(HangError, AssertionError)
    with pytest.raises(HangError, match="deaf") as raised:
        run_virtual(main())
    assert raised.value.__context__ is None


def test_what_a_test_raises_is_not_hidden_by_a_task_that_will_not_end() -> None:
    async def main() -> None:
        task = asyncio.create_task(deaf())
        await asyncio.sleep(1)
        raise LookupError(task.get_name())

    with pytest.raises(LookupError):
        run_virtual(main())


def test_a_task_that_has_ended_by_the_time_of_a_hang_is_none_of_those_that_wait() -> None:
    async def main() -> None:
        await asyncio.create_task(asyncio.sleep(1), name="has ended")
        await asyncio.Event().wait()

    with pytest.raises(HangError) as raised:
        run_virtual(main())
    assert "has ended" not in str(raised.value)


# Threads.


def test_time_stands_still_while_a_thread_works() -> None:
    async def main() -> None:
        begun, may_end = asyncio.Event(), threading.Event()
        running = asyncio.get_running_loop()

        def work() -> float:
            running.call_soon_threadsafe(begun.set)
            assert may_end.wait(60)
            return running.time()

        timer = asyncio.create_task(asyncio.sleep(3600))
        working = asyncio.create_task(asyncio.to_thread(work))
        await begun.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert (now(), timer.done()) == (0.0, False)
        may_end.set()
        assert await working == 0.0
        await timer
        assert now() == 3600.0

    run_virtual(main())


def test_time_goes_on_once_the_last_of_several_threads_is_done() -> None:
    async def main() -> None:
        together = threading.Barrier(2)
        running = asyncio.get_running_loop()

        def work() -> float:
            together.wait(60)
            return running.time()

        timer = asyncio.create_task(asyncio.sleep(1))
        with ThreadPoolExecutor(2) as threads:
            calls = [running.run_in_executor(threads, work) for _ in range(2)]
            assert await asyncio.gather(*calls) == [0.0, 0.0]
        await timer
        assert now() == 1.0

    run_virtual(main())


def test_what_a_thread_raises_lets_time_go_on_too() -> None:
    def fail() -> None:
        raise LookupError

    async def main() -> None:
        with pytest.raises(LookupError):
            await asyncio.to_thread(fail)
        await asyncio.sleep(1)
        assert now() == 1.0
        await asyncio.Event().wait()

    with pytest.raises(HangError):
        run_virtual(main())


def test_to_wait_too_long_for_a_thread_is_told() -> None:
    may_end = threading.Event()
    loop = VirtualTimeLoop(thread_timeout=0)

    with ThreadPoolExecutor(1) as threads:
        waiting = loop.run_in_executor(threads, may_end.wait, 60)
        with pytest.raises(HangError, match=r"busy for 0 s; .* that stands still"):
            loop.run_until_complete(waiting)
        may_end.set()
    assert loop.run_until_complete(waiting)  # it was waited for, and goes on where it was
    loop.close()


def test_a_task_that_polls_is_told() -> None:
    async def poll() -> None:
        for _ in range(1000):
            await asyncio.sleep(0)

    def make_loop() -> VirtualTimeLoop:
        return VirtualTimeLoop(busy_turns=100)

    with (
        pytest.raises(HangError, match=r"time does not pass.*\n.*test_testing_loop\.py:\d+"),
        asyncio.Runner(loop_factory=make_loop) as runner,
    ):
        runner.run(poll())


def test_a_task_may_poll_for_as_long_as_a_thread_works() -> None:
    async def main() -> None:
        may_end = threading.Event()
        working = asyncio.create_task(asyncio.to_thread(may_end.wait, 60))
        for _ in range(1000):
            await asyncio.sleep(0)
        may_end.set()
        assert await working

    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(busy_turns=100)) as runner:
        runner.run(main())


def test_the_default_executor_is_shut_down_without_time_passing() -> None:
    ended: list[int] = []

    async def main() -> float:
        running = virtual_loop()
        may_end = threading.Event()

        def work() -> None:
            assert may_end.wait(60)
            ended.append(1)

        async def shut_down() -> float:
            await running.shutdown_default_executor(0.001)
            return now()

        working = running.run_in_executor(None, work)
        timer = asyncio.create_task(asyncio.sleep(1))
        shutting = asyncio.create_task(shut_down())
        await asyncio.sleep(0)
        running.call_later(0, may_end.set)
        await working
        at = await shutting
        await timer
        return at

    assert run_virtual(main()) == 0.0
    assert ended == [1]


def test_a_loop_whose_executor_was_used_can_be_left_at_once() -> None:
    async def main() -> str:
        return await asyncio.to_thread(lambda: threading.current_thread().name)

    assert run_virtual(main()) != threading.current_thread().name
    assert [each for each in threading.enumerate() if each.name.startswith("asyncio_")] == []


# Turns.


def test_turns_are_counted() -> None:
    async def main() -> list[int]:
        began = virtual_loop().turns
        counts: list[int] = []
        for _ in range(3):
            await asyncio.sleep(0)
            counts.append(virtual_loop().turns - began)
        return counts

    assert run_virtual(main()) == [1, 2, 3]


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_something_is_called_between_two_turns(turns: int) -> None:
    async def main() -> None:
        called: list[int] = []
        began = virtual_loop().turns
        virtual_loop().call_after_turns(turns, lambda: called.append(virtual_loop().turns - began))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert called == []
        await asyncio.sleep(0)
        assert called == [turns]

    run_virtual(main())


def test_what_is_called_between_turns_is_called_once_in_its_order_and_before_time_moves() -> None:
    async def main() -> None:
        called: list[str] = []
        woken = asyncio.Event()
        for name in ("first", "second"):
            virtual_loop().call_after_turns(1, partial(called.append, name))
        virtual_loop().call_after_turns(1, woken.set)
        timer = asyncio.create_task(asyncio.sleep(1))
        await woken.wait()
        assert (now(), called) == (0.0, ["first", "second"])
        await timer
        assert called == ["first", "second"]

    run_virtual(main())


def test_a_task_can_be_cancelled_at_each_of_its_waits() -> None:
    async def main(turns: int) -> tuple[int, bool]:
        """How many waits were begun, and whether the task was cancelled."""
        waits = 0

        async def work() -> None:
            nonlocal waits
            for _ in range(3):
                waits += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(work())
        virtual_loop().call_after_turns(turns, task.cancel)
        await asyncio.wait([task])
        return waits, task.cancelled()

    assert [run_virtual(main(turns)) for turns in range(5)] == [
        (0, True),
        (1, True),
        (2, True),
        (3, True),
        (3, False),
    ]


def test_what_is_called_between_turns_raises_out_of_the_virtual_loop() -> None:
    def fail() -> None:
        raise LookupError

    async def main() -> None:
        virtual_loop().call_after_turns(0, fail)
        await asyncio.sleep(1)

    with pytest.raises(LookupError):
        run_virtual(main())


# Seeds.


async def order_of_tasks(count: int = 6) -> str:
    """The order in which tasks go on that became ready together."""
    order: list[str] = []
    go = asyncio.Event()

    async def step(name: str) -> None:
        await go.wait()
        order.append(name)

    tasks = [asyncio.create_task(step(chr(ord("a") + number))) for number in range(count)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*tasks)
    return "".join(order)


def test_without_a_seed_tasks_go_on_in_the_usual_order() -> None:
    assert run_virtual(order_of_tasks()) == asyncio.run(order_of_tasks()) == "abcdef"


def test_a_seed_repeats_an_order_and_seeds_differ() -> None:
    orders = [run_virtual(order_of_tasks(), seed=seed) for seed in range(50)]
    assert orders == [run_virtual(order_of_tasks(), seed=seed) for seed in range(50)]
    assert len(set(orders)) > 40
    assert {"".join(sorted(order)) for order in orders} == {"abcdef"}


def test_each_order_of_three_tasks_comes_with_some_seed() -> None:
    orders = {run_virtual(order_of_tasks(3), seed=seed) for seed in range(100)}
    assert orders == {"abc", "acb", "bac", "bca", "cab", "cba"}


@pytest.mark.parametrize("seed", range(20))
def test_callbacks_keep_their_order_and_their_places(seed: int) -> None:
    async def main() -> list[str]:
        order: list[str] = []
        go = asyncio.Event()

        async def step(name: str) -> None:
            await go.wait()
            order.append(name)

        tasks = [asyncio.create_task(step(name)) for name in "abc"]
        for _ in range(2):
            await asyncio.sleep(0)
        running = asyncio.get_running_loop()
        running.call_soon(order.append, "1")
        go.set()
        running.call_soon(order.append, "2")
        running.call_soon(order.append, "3")
        await asyncio.gather(*tasks)
        return order

    order = run_virtual(main(), seed=seed)
    assert [each for each in order if each.isdigit()] == ["1", "2", "3"]
    assert (order[0], order[-2:]) == ("1", ["2", "3"])


def test_a_loop_of_ones_own_takes_a_seed_too() -> None:
    def order(seed: int | None) -> str:
        with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(seed)) as runner:
            return runner.run(order_of_tasks())

    assert order(7) == run_virtual(order_of_tasks(), seed=7)
    assert order(None) == run_virtual(order_of_tasks())


# Clocks and ids.


def test_a_clock_shows_the_loops_time() -> None:
    async def main() -> list[tuple[float, float]]:
        shown = [(clock.wall(), clock.monotonic())]
        await asyncio.sleep(90)
        return [*shown, (clock.wall(), clock.monotonic())]

    clock = loop_clock()
    assert (clock.wall(), clock.monotonic()) == (0.0, 0.0)
    assert run_virtual(main()) == [(0.0, 0.0), (90.0, 90.0)]
    assert (clock.wall(), clock.monotonic()) == (90.0, 90.0)


def test_the_walls_time_may_be_ahead() -> None:
    async def main() -> tuple[float, float]:
        clock = loop_clock(1000.0)
        await asyncio.sleep(90)
        return clock.wall(), clock.monotonic()

    assert run_virtual(main()) == (1090.0, 90.0)


def test_ids_are_counted_by_each_source() -> None:
    first, second = counted_ids(), counted_ids("run ")
    assert [first(), first(), second(), first()] == ["id-1", "id-2", "run 1", "id-3"]


# What is beside time.


def test_what_is_ready_to_be_read_comes_before_time_moves() -> None:
    async def main() -> None:
        running, is_readable = asyncio.get_running_loop(), asyncio.Event()
        reader, writer = socket.socketpair()
        with reader, writer:
            timer = asyncio.create_task(asyncio.sleep(1))
            writer.send(b"x")
            running.add_reader(reader, is_readable.set)
            await is_readable.wait()
            running.remove_reader(reader)
            assert (now(), timer.done()) == (0.0, False)

    run_virtual(main())
