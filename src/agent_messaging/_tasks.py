"""The tasks of an endpoint: each named, each awaited."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar, final

from agent_messaging._log import log, raised_at
from agent_messaging._timeouts import timeout_after

__all__ = ["Tasks"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")

T = TypeVar("T")


@final
class Tasks:
    """A set of tasks that can be waited for; what one raises is logged and hurts no other."""

    __slots__ = ("_none_left", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._none_left: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(
        self,
        work: Coroutine[Any, Any, T],
        name: str,
        context: Context | None = None,
        done: Callable[[asyncio.Task[T]], None] | None = None,
    ) -> asyncio.Task[T]:
        """Begin the work in a task of its own; ``done`` is called at its end, and `settle`s it."""
        task = asyncio.get_running_loop().create_task(
            work, name=f"agent_messaging {name}", context=context
        )
        callback = self.settle if done is None else done
        # Under an eager task factory it may have come to its end already.
        if task.done():
            callback(task)
        else:
            self._tasks.add(task)
            task.add_done_callback(callback)
        return task

    def release(self, task: asyncio.Task[Any]) -> None:
        """Wait for this one no more."""
        self._tasks.discard(task)
        if not self._tasks and self._none_left is not None:
            self._none_left.set()

    def leave(self, task: asyncio.Task[T] | None, done: Callable[[asyncio.Task[T]], None]) -> None:
        """The current task has done its work and returns: ``done`` need not be told of its end.

        The loop takes longer to tell it than many a task takes for its work. None stands for a
        task that an eager task factory has begun before whoever spawned it could know it.
        """
        if task is not None:
            task.remove_done_callback(done)
            self.release(task)

    async def join(self, timeout: float) -> None:
        """Wait until all have ended or were released, those too that begin meanwhile.

        What a host's code holds up for longer than ``timeout`` seconds is logged, and waited for
        no more.
        """
        try:
            async with timeout_after(timeout):
                while self._tasks:
                    self._none_left = asyncio.Event()
                    await self._none_left.wait()
        except TimeoutError:
            for task in self._tasks:
                log(_logger, logging.ERROR, "task_left_behind", {"task": task.get_name()})
            self._tasks.clear()

    def settle(self, task: asyncio.Task[Any]) -> None:
        """A task has ended: log what it raised."""
        self.release(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            fields: dict[str, object] = {
                "task": task.get_name(),
                "error": type(error).__name__,
                "raised_at": raised_at(error),
            }
            log(_logger, logging.ERROR, "task_failed", fields)
