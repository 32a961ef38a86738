"""The calls of a log that are under way, what is wrong with their answers, and waiting for them."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from agent_messaging import LeaseLost
from support.seam.programs import Act

__all__ = ["Calls"]

T = TypeVar("T")

#: Steps and answers that are told of a fault.
_REMEMBERED: Final = 60


class Calls:
    """Asks the log things while other things go on.

    Args:
        patience: seconds of the loop's time until what has to come is missed.
        situations: how often each of them occurred; added to.

    Attributes:
        acts: what the calls under way are about; the newest is the last.
        history: what was done and answered lately, in words.
    """

    def __init__(self, patience: float, situations: Counter[str]) -> None:
        self.acts: Final[dict[asyncio.Task[Any], Act]] = {}
        self.history: Final[deque[str]] = deque(maxlen=_REMEMBERED)
        self._patience = patience
        self._situations = situations
        self._faults: list[BaseException] = []
        self._changed = asyncio.Event()

    def occurred(self, situation: str) -> None:
        """Something came about that not every example comes to."""
        self._situations[situation] += 1

    def failed(self, fault: BaseException) -> None:
        """Something is wrong with the log."""
        self._faults.append(fault)
        self.moved()

    def moved(self) -> None:
        """Something has changed that somebody may wait for."""
        self._changed.set()

    def check(self) -> None:
        """Raise the first thing that is wrong."""
        if self._faults:
            raise self._faults[0]

    def begin(
        self,
        act: Act,
        asking: Coroutine[Any, Any, T],
        *,
        answered: Callable[[T], object] = bool,
        lost: Callable[[], object] | None = None,
        ended: Callable[[bool], object] = bool,
    ) -> None:
        """Make a call.

        Args:
            act: what it is about.
            asking: the call.
            answered: told what it returns.
            lost: told that it raised `LeaseLost`.
            ended: told of its end in any case, and whether it was cancelled.
        """

        def done(task: asyncio.Task[T]) -> None:
            del self.acts[task]
            self.history.append(f"{act} ends: {outcome(task)}")
            try:
                if not task.cancelled():
                    error = task.exception()
                    if isinstance(error, LeaseLost) and lost is not None:
                        lost()
                    elif error is not None:
                        self.failed(error)
                    else:
                        answered(task.result())
                ended(task.cancelled())
            except AssertionError as fault:
                self.failed(fault)
            self.moved()

        task = asyncio.create_task(asking)
        self.acts[task] = act
        task.add_done_callback(done)

    def cancel_newest(self, act: Act) -> None:
        """Cancel the call that was made for an act, after as many turns of the loop as it says."""
        turns: int | None = getattr(act, "cancelled", None)
        task = next(reversed(self.acts), None)
        if turns is None or task is None or self.acts[task] is not act:
            return
        loop = asyncio.get_running_loop()

        def cancel(after: int) -> None:
            if after:
                loop.call_soon(cancel, after - 1)
            else:
                task.cancel()

        cancel(turns)

    async def end(self) -> None:
        """Wait for all that are under way."""
        await self.until(lambda: not self.acts, lambda: list(self.acts.values()))

    async def one_ends(self) -> None:
        """Wait for one of those that are under way."""
        before = set(self.acts)
        await self.until(lambda: not before <= self.acts.keys(), lambda: list(self.acts.values()))

    async def until(self, holds: Callable[[], bool], missing: Callable[[], object]) -> None:
        """Wait for what has to come, without asking for it."""
        try:
            async with asyncio.timeout(self._patience):
                while not (holds() or self._faults):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"it never comes: {missing()}") from None
        self.check()

    async def give_up(self) -> None:
        """Cancel all, whatever they do."""
        for task in self.acts:
            task.cancel()
        if self.acts:
            await asyncio.wait(list(self.acts), timeout=self._patience)


def outcome(task: asyncio.Task[Any]) -> str:
    """What has become of a call, in words."""
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return repr(task.result() if error is None else error)
