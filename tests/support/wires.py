"""Transports that watch how they are used, at every pace and with every fault."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import anyio
import anyio.lowlevel

from support.loop import TICK, virtual_loop

#: What a transport does before it accepts a frame.
Pace: TypeAlias = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """Accept without yielding."""


async def yielding() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def taking_time() -> None:
    await asyncio.sleep(2 * TICK)


async def under_timeout() -> None:
    """Bound the send, as servers do; the second bound is met."""
    async with asyncio.timeout(64 * TICK):
        await asyncio.sleep(TICK)
    try:
        async with asyncio.timeout(TICK):
            await asyncio.sleep(64 * TICK)
    except TimeoutError:
        pass


async def in_scopes() -> None:
    """Use cancel scopes as anyio's servers do; the second one cancels its own body."""
    with anyio.CancelScope(shield=True):
        await anyio.lowlevel.checkpoint()
    with anyio.move_on_after(TICK):
        await anyio.sleep(64 * TICK)


async def in_task_group() -> None:
    """Send from a task group that is cancelled once its child has begun."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 64 * TICK)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


PACES: Final[tuple[Pace, ...]] = (
    at_once,
    yielding,
    taking_time,
    under_timeout,
    in_scopes,
    in_task_group,
)


class Wire:
    """A transport that keeps what it accepts, and notes each misuse of it.

    What it asserts is noted and not raised, since raising is how a transport fails.

    Args:
        pace: what it does before it accepts a frame.
        fails_at: the send, counted from 1, from which on each one fails.
        hangs_at: the send, counted from 1, that never returns.
        error: what a send that fails raises.

    Attributes:
        frames: what it accepted, in order.
        faults: in words, what no transport may be asked to do.
        begun: how many sends began.
        cut: how many sends were cancelled from outside.
        error: what it raises where it fails.
        hangs: whether one of its sends never returns.
        failed_step: the loop's iteration in which a send raised first.
    """

    def __init__(
        self,
        pace: Pace = at_once,
        *,
        fails_at: int | None = None,
        hangs_at: int | None = None,
        error: type[BaseException] = ConnectionError,
    ) -> None:
        self.frames: list[str] = []
        self.faults: list[str] = []
        self.begun = 0
        self.cut = 0
        self.failed_step: int | None = None
        self.hangs = hangs_at is not None
        self._pace = pace
        self._fails_at = fails_at
        self._hangs_at = hangs_at
        self.error = error
        self._seen: set[str] = set()
        self._under_way = False

    async def __call__(self, frame: str) -> None:
        # Its id, since a traceback that held the task would keep it from being collected.
        task = id(asyncio.current_task())
        if self._under_way:
            self.faults.append("two sends at once")
        if self.failed_step is not None:
            self.faults.append("a send after the transport failed")
        if frame in self._seen:
            self.faults.append(f"sent twice: {frame}")
        self._seen.add(frame)
        self._under_way = True
        self.begun += 1
        number = self.begun
        try:
            await self._pace()
            if number == self._hangs_at:
                await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cut += 1
            self.failed_step = virtual_loop().turns
            raise
        finally:
            self._under_way = False
            if id(asyncio.current_task()) != task:
                self.faults.append("a send that ended in another task")
        if self._fails_at is not None and number >= self._fails_at:
            self.failed_step = virtual_loop().turns
            raise self.error(f"send {number} failed")
        self.frames.append(frame)
