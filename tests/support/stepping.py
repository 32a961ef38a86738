"""A loop on virtual time that counts its iterations, and acts between two of them."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: What the loop's clock shows first: no zero, for which a lacking start could be taken.
BEGINNING: Final = 1024.0
#: A step of virtual time, in seconds: sums of it are exact as floats.
TICK: Final = 1 / 64


class _Selector(selectors.DefaultSelector):
    """Tells the loop of each iteration, and lets its clock jump instead of waiting."""

    def __init__(self, before_step: Callable[[], bool]) -> None:
        super().__init__()
        self.now = BEGINNING
        self._before_step = before_step

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        acted = self._before_step()
        ready = super().select(0)
        if not ready and not acted:
            if timeout is None:
                raise AssertionError("deadlock: every task waits, and no timer is set")
            self.now += max(timeout, 0.0)
        return ready


class SteppingLoop(asyncio.SelectorEventLoop):
    """A selector loop whose iterations are counted.

    Attributes:
        steps: how many iterations have begun.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._planned: dict[int, list[Callable[[], object]]] = {}
        self._virtual = _Selector(self._before_step)
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def after(self, steps: int, action: Callable[[], object]) -> None:
        """Call ``action`` once that many further iterations are over."""
        self._planned.setdefault(self.steps + steps, []).append(action)

    def close(self) -> None:
        self._planned.clear()
        super().close()

    def _before_step(self) -> bool:
        actions = self._planned.pop(self.steps, [])
        for action in actions:
            action()
        self.steps += 1
        return bool(actions)


def stepping_loop() -> SteppingLoop:
    """The running loop, which is one that `run_stepping` made."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppingLoop)
    return loop


def run_stepping(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns, run to its end on a `SteppingLoop` of its own."""
    with asyncio.Runner(loop_factory=SteppingLoop) as runner:
        return runner.run(coroutine)
