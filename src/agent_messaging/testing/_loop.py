"""An event loop in virtual time: waiting costs nothing, and hanging is an error."""

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple, cast, final

from agent_messaging._cancellation import frames_of

__all__ = [
    "HangError",
    "VirtualTimeLoop",
    "closing_runner",
    "refuse_within_a_loop",
    "run_virtual",
    "waiting_tasks",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Seconds of virtual time that a loop lasts, 115 days. An endpoint over a log that others may use
#: looks after its leases for ever, and with it no loop ever comes to a standstill.
_LIFETIME: Final = 1e7


@final
class HangError(AssertionError):
    """Nothing will ever happen any more in a loop in virtual time; its tasks are named."""


class _Selector(selectors.DefaultSelector):
    """Polls what is ready now, and lets the loop's clock jump instead of waiting."""

    def __init__(self, begin_turn: Callable[[], bool], patience: float, turns: int) -> None:
        super().__init__()
        self.now = 0.0
        self.threads = 0
        self._patience = patience
        self._turns = turns
        #: Since time moved, or a thread was at work.
        self._busy_turns = 0
        self._begin_turn = begin_turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        is_idle = not self._begin_turn() and (timeout is None or timeout > 0)
        self._busy_turns = 0 if is_idle or self.threads else self._busy_turns + 1
        if self._busy_turns > self._turns:
            self._busy_turns = 0
            raise HangError(f"time does not pass: something is always ready\n{waiting_tasks()}")
        # What a thread works on takes real time, during which virtual time stands still.
        ready = super().select(self._patience if self.threads and is_idle else 0)
        if not ready and is_idle:
            if self.threads:
                raise HangError(
                    f"every task waits, and a thread has been busy for {self._patience:g} s; if it"
                    f" waits for the loop's time to pass, that stands still\n{waiting_tasks()}"
                )
            if timeout is None:
                raise HangError(
                    f"deadlock: every task waits, and no timer is set\n{waiting_tasks()}"
                )
            self.now += timeout
            if self.now > _LIFETIME:
                raise HangError(f"nothing happens any more but what recurs\n{waiting_tasks()}")
        return ready


@final
class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time` moves only when everything waits, and then at once.

    While calls of `run_in_executor` (and so of `asyncio.to_thread`) are under way, time stands
    still, and for a thread that waits for it to pass it never does. Nothing else that takes real
    time is known to the loop: sockets, subprocesses and threads of other kinds are for a loop in
    real time.

    Args:
        seed: None for asyncio's own order. With a number, the tasks that become ready in one turn
            of the loop go on in a random order, which the number repeats: code that is right does
            not rely on any. Callbacks keep theirs, which `call_soon` promises.
        thread_timeout: seconds of real time for which all may wait for threads.
        busy_turns: for which something may be ready without a pause, as with a task that polls.

    Raises:
        HangError: out of whatever runs the loop, when every task waits and no timer is set, when
            115 days have passed, when threads take longer than ``thread_timeout``, or when time
            has not passed for ``busy_turns``.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        thread_timeout: float = 60.0,
        busy_turns: int = 1_000_000,
    ) -> None:
        self._randomness = None if seed is None else random.Random(seed)  # noqa: S311 - to repeat it
        self._turns = 0
        self._planned: dict[int, list[Callable[[], object]]] = {}
        self._virtual = _Selector(self._begin_turn, thread_timeout, busy_turns)
        super().__init__(self._virtual)
        self._handles = cast("deque[asyncio.Handle]", cast("Any", self)._ready)  # noqa: SLF001 - no other way

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._virtual.now

    @property
    def turns(self) -> int:
        """How many turns have begun: in each, all goes on that was ready when it began."""
        return self._turns

    def call_after_turns(self, turns: int, callback: Callable[[], object]) -> None:
        """Call something between two turns, before time moves.

        A test that cancels a task, or disconnects a client, after each number of turns that it
        takes undisturbed, has done so at each point where that task can wait.

        Args:
            turns: how many are to pass after this one.
            callback: what is called; what it raises comes out of whatever runs the loop.
        """
        self._planned.setdefault(self._turns + turns, []).append(callback)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As every loop's; time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._virtual.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002 - as said
        """As every loop's; time stands still meanwhile, so that no ``timeout`` comes."""
        self._virtual.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._thread_done(None)

    def _thread_done(self, _: object) -> None:
        self._virtual.threads -= 1

    def _begin_turn(self) -> bool:
        """Whether something was done that the loop has not taken note of yet."""
        callbacks = self._planned.pop(self._turns, ())
        for callback in callbacks:
            callback()
        self._turns += 1
        self._shuffle()
        return bool(callbacks)

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


def run_virtual(coroutine: Coroutine[object, object, T], *, seed: int | None = None) -> T:
    """What the coroutine returns, run to its end in a `VirtualTimeLoop` of its own.

    Args:
        coroutine: what to run; it may wait for hours.
        seed: of the order in which tasks go on, as the loop's.

    Raises:
        HangError: as the loop's.
        RuntimeError: an event loop is running in this thread.
    """
    try:
        refuse_within_a_loop("await the coroutine there")
    except RuntimeError:
        coroutine.close()
        raise
    with closing_runner(lambda: VirtualTimeLoop(seed)) as runner:
        return runner.run(coroutine)


@contextmanager
def closing_runner(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> Generator[asyncio.Runner]:
    """A runner, whose close hides nothing that was raised before it.

    A task that will not end makes both a test and the close fail; the first is what to read.
    """
    runner = asyncio.Runner(loop_factory=make_loop)
    try:
        yield runner
    except BaseException:
        with suppress(HangError):
            runner.close()
        raise
    runner.close()


def _is_step(handle: asyncio.Handle) -> bool:
    """Whether it makes a task go on."""
    owner = getattr(cast("Any", handle)._callback, "__self__", None)  # noqa: SLF001 - no other way
    return isinstance(owner, asyncio.Task)


def refuse_within_a_loop(instead: str) -> None:
    """See that no event loop is running in this thread.

    Raises:
        RuntimeError: one is; what there is ``instead`` is named.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"an event loop is running in this thread: {instead}")


def waiting_tasks() -> str:
    """What the running loop's tasks wait for, a line each."""
    tasks = asyncio.all_tasks(asyncio.get_running_loop())
    return "\n".join(sorted(f"  {task.get_name()}, at {_place(task)}" for task in tasks))


def _place(task: asyncio.Task[Any]) -> str:
    """Where a task waits: the innermost line of it that is not asyncio's own."""
    place = "its end"
    for frame in frames_of(task.get_coro()):
        if not frame.f_code.co_filename.startswith(_ASYNCIO):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return place


_ASYNCIO: Final = str(Path(asyncio.__file__).parent)
