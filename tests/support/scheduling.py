"""Seeded scheduling: a loop on virtual time in which ready tasks go on in any order, and pauses."""

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

from support.loop import LIFETIME

T = TypeVar("T")

#: A short while of virtual time, in seconds; sums of it are exact as floats.
TICK: Final = 1 / 64


class _Selector(selectors.DefaultSelector):
    """Lets the loop shuffle what is ready, and its clock jump instead of waiting."""

    def __init__(self, before_step: Callable[[], None]) -> None:
        super().__init__()
        self.now = 0.0
        self._before_step = before_step

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._before_step()
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("deadlock: every task waits, and no timer is set")
            self.now += max(timeout, 0.0)
            if self.now > LIFETIME:
                raise AssertionError("it hangs: nothing happens any more but what recurs")
        return ready


class SeededLoop(asyncio.SelectorEventLoop):
    """A selector loop on virtual time whose ready tasks go on in a random order.

    Callbacks keep their order, which `call_soon` promises. Tasks that become ready in one
    iteration have none to rely on: one more await in any of them, and it is another.

    Args:
        randomness: where the order comes from; None for the usual one.
    """

    def __init__(self, randomness: random.Random | None) -> None:
        self._randomness = randomness
        self._virtual = _Selector(self._shuffle)
        super().__init__(self._virtual)
        self._handles = cast("deque[asyncio.Handle]", cast("Any", self)._ready)

    def time(self) -> float:
        return self._virtual.now

    def _shuffle(self) -> None:
        handles = self._handles
        if self._randomness is None or len(handles) < 2:
            return
        steps = [at for at, handle in enumerate(handles) if _is_step(handle)]
        if len(steps) > 1:
            shuffled = [handles[at] for at in steps]
            self._randomness.shuffle(shuffled)
            for at, handle in zip(steps, shuffled, strict=True):
                handles[at] = handle


def _is_step(handle: asyncio.Handle) -> bool:
    """Whether it makes a task go on."""
    owner = getattr(cast("Any", handle)._callback, "__self__", None)
    return isinstance(owner, asyncio.Task)


class Pauses:
    """Suspends whoever awaits it, at random: not at all, for turns of the loop, or for a time.

    Args:
        randomness: what decides.
        share: how often it suspends at all.
        turns: for how many turns of the loop at most.
        ticks: for how many ticks of virtual time at most, every fourth time; 0 for no time at all.
    """

    def __init__(
        self, randomness: random.Random, *, share: float = 0.6, turns: int = 4, ticks: int = 3
    ) -> None:
        self._randomness = randomness
        self._share = share
        self._turns = turns
        self._ticks = ticks

    async def __call__(self) -> None:
        randomness = self._randomness
        if randomness.random() >= self._share:
            return
        if self._ticks and randomness.random() < 0.25:
            await asyncio.sleep(randomness.randint(1, self._ticks) * TICK)
            return
        for _ in range(randomness.randint(1, self._turns)):
            await asyncio.sleep(0)


def run_seeded(
    randomness: random.Random | None,
    coroutine: Coroutine[Any, Any, T],
    *,
    eager: bool = False,
) -> T:
    """What the coroutine returns, run to its end on a `SeededLoop` of its own."""
    with asyncio.Runner(loop_factory=lambda: seeded_loop(randomness, eager=eager)) as runner:
        return runner.run(coroutine)


def seeded_loop(randomness: random.Random | None, *, eager: bool = False) -> SeededLoop:
    """A new loop; ``eager`` where Python has eager tasks, which is since 3.12."""
    loop = SeededLoop(randomness)
    factory: Any = getattr(asyncio, "eager_task_factory", None)
    if eager and factory is not None:
        loop.set_task_factory(factory)
    return loop
