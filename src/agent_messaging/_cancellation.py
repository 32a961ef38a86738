"""Whether a run was cancelled from outside, or its agent cancelled something of its own."""

import asyncio
import gc
import sys
import types
from collections.abc import Awaitable, Coroutine, Generator, Iterator
from typing import Any, Final, cast, final

__all__ = ["Cancellation", "frames_of"]

#: Before 3.13 a TaskGroup whose task fails while the group waits for its tasks cancels the task
#: that it runs in, and never takes that back. The count of cancellations is then one too high.
_GROUPS_LEAK: Final = sys.version_info < (3, 13)


@final
class Cancellation:
    """Watches the current task while an agent runs in it."""

    __slots__ = ("_before", "_groups", "_task")

    def __init__(self) -> None:
        # asyncio runs a coroutine in a task.
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._before = self._task.cancelling()
        self._groups: list[asyncio.TaskGroup] = []

    def watch(self, agent: Awaitable[object]) -> Awaitable[object]:
        """The agent, to be awaited in its place."""
        if _GROUPS_LEAK and isinstance(agent, types.CoroutineType):
            return self.observed(cast("Coroutine[Any, Any, object]", agent))
        return agent

    def came(self, error: BaseException | None) -> bool:
        """Whether the task was cancelled from outside, now that the agent ended with ``error``.

        A cancellation that was pending when the agent started counts once it comes out.
        """
        cancels = self._task.cancelling() - len(self._groups)
        return cancels > self._before or (cancels > 0 and isinstance(error, asyncio.CancelledError))

    @types.coroutine
    def observed(self, agent: Coroutine[Any, Any, object]) -> Generator[Any, Any, object]:
        """As awaiting the agent, with a look at each cancellation before it goes in."""
        step, argument = cast("tuple[Any, Any]", (agent.send, None))
        while True:
            try:
                waits_for = step(argument)
            except StopIteration as stop:
                return cast("object", stop.value)
            try:
                step, argument = agent.send, (yield waits_for)
            except GeneratorExit:
                agent.close()
                raise
            except asyncio.CancelledError as error:
                self._look(agent)
                step, argument = agent.throw, error
            except BaseException as error:  # noqa: BLE001 - it is the agent's to handle
                step, argument = agent.throw, error

    def _look(self, agent: object) -> None:
        """Note the group that waits in ``agent`` and cancelled its own task, if one does."""
        for frame in frames_of(agent):
            self._look_at(frame)

    def _look_at(self, frame: types.FrameType) -> None:
        if frame.f_code is asyncio.TaskGroup.__aexit__.__code__:
            group: Any = frame.f_locals["self"]
            # A group whose body ended with an exception asks for nothing while it waits; what it
            # asked for before that it has taken back.
            asked = group._parent_cancel_requested and frame.f_locals["et"] is None  # noqa: SLF001
            is_ours = group._parent_task is self._task  # noqa: SLF001
            if asked and is_ours and group not in self._groups:
                self._groups.append(group)


#: Where each kind of running code says what it waits for.
_WAITS_FOR: Final[dict[type, str]] = {
    types.CoroutineType: "cr_await",
    types.GeneratorType: "gi_yieldfrom",
    types.AsyncGeneratorType: "ag_await",
}

#: And where each has its frame.
_FRAMES: Final[dict[type, str]] = {
    types.CoroutineType: "cr_frame",
    types.GeneratorType: "gi_frame",
    types.AsyncGeneratorType: "ag_frame",
}

#: It steps the agent itself, and so waits for nothing by name.
_OBSERVED: Final = Cancellation.observed.__code__


def frames_of(running: object) -> Iterator[types.FrameType]:
    """The frames of what waits, from the outermost inwards."""
    # An awaitable may refer to what waits for it; the walk goes inwards, and nowhere twice.
    seen: set[int] = set()
    while type(running) in _WAITS_FOR and id(running) not in seen:
        seen.add(id(running))
        frame: types.FrameType | None = getattr(running, _FRAMES[type(running)])
        if frame is not None:
            yield frame
        if frame is not None and frame.f_code is _OBSERVED:
            running = frame.f_locals["agent"]
        else:
            running = _awaited_by(running)


def _awaited_by(running: object) -> object | None:
    """What runs on behalf of ``running``, or None at the end."""
    inner: object = getattr(running, _WAITS_FOR[type(running)])
    if inner is None or type(inner) in _WAITS_FOR:
        return inner
    # The interpreter's own wrappers, as of an ``anext``, name what they run nowhere else.
    referents: list[object] = gc.get_referents(inner)
    return next((each for each in referents if type(each) in _WAITS_FOR), None)
