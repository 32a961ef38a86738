"""Agents as values: a program of steps, which runs as an agent and prints as it is written."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Protocol, TypeAlias, cast, final

from agent_messaging import AgentError, ErrorCode, Run

__all__ = [
    "AgentProgram",
    "Attempt",
    "Chunk",
    "Crash",
    "Fail",
    "Parallel",
    "Printer",
    "Progress",
    "Sleep",
    "Step",
    "Thinking",
    "Tool",
]

#: What a program is made of: called with the run, and awaited. The classes here are steps, a
#: program is one, and so is any coroutine function that takes a `Run`.
Step: TypeAlias = Callable[[Run], Awaitable[object]]


class Printer(Protocol):
    """What Hypothesis and IPython print an object with."""

    def text(self, text: str, /) -> None:
        """Print it."""
        ...


class _Printed:
    """A dataclass that prints as it is written, without the defaults."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Printer, _cycle: bool) -> None:
        # Hypothesis would else print how its strategy came to it.
        printer.text(repr(self))

    def __repr__(self) -> str:
        told: list[str] = []
        for number, field in enumerate(fields(cast("Any", self))):
            value: object = getattr(self, field.name)
            if number == 0:
                told.append(repr(value))
            elif field.default is MISSING or value != field.default:
                told.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(told)})"


async def _perform(steps: tuple[Step, ...], run: Run) -> None:
    for step in steps:
        await step(run)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Thinking(_Printed):
    """``run.thinking(text)``."""

    text: str

    async def __call__(self, run: Run) -> None:
        await run.thinking(self.text)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Chunk(_Printed):
    """``run.chunk(text)``."""

    text: str

    async def __call__(self, run: Run) -> None:
        await run.chunk(self.text)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Progress(_Printed):
    """``run.progress(name, data)``."""

    name: str
    data: object = None

    async def __call__(self, run: Run) -> None:
        await run.progress(self.name, self.data)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Sleep(_Printed):
    """``asyncio.sleep(seconds)``: in virtual time it takes none."""

    seconds: float

    async def __call__(self, _run: Run) -> None:
        await asyncio.sleep(self.seconds)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Tool(_Printed):
    """``async with run.tool(name, arguments)``, with the steps in its block, then the result."""

    name: str
    arguments: object = None
    steps: tuple[Step, ...] = ()
    result: object = None

    async def __call__(self, run: Run) -> None:
        async with run.tool(self.name, self.arguments) as call:
            await _perform(self.steps, run)
            call.result = self.result


@final
@dataclass(frozen=True, slots=True, repr=False)
class Parallel(_Printed):
    """Several branches at once, each with its steps, in an ``asyncio.TaskGroup``.

    Where one fails the others are cancelled, and their tools are left open: the end of the run
    interrupts them.
    """

    branches: tuple[tuple[Step, ...], ...]

    async def __call__(self, run: Run) -> None:
        async with asyncio.TaskGroup() as group:
            for branch in self.branches:
                group.create_task(_perform(branch, run))


@final
@dataclass(frozen=True, slots=True, repr=False)
class Fail(_Printed):
    """``raise AgentError(message, code=code, retryable=retryable)``, which the client reads."""

    message: str
    code: str = str(ErrorCode.AGENT_ERROR)
    retryable: bool = False

    async def __call__(self, _run: Run) -> None:
        raise AgentError(self.message, code=self.code, retryable=self.retryable)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Crash(_Printed):
    """``raise RuntimeError(message)``, of which the client reads nothing."""

    message: str

    async def __call__(self, _run: Run) -> None:
        raise RuntimeError(self.message)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Attempt(_Printed):
    """The steps, and on with the program behind them when an ``Exception`` comes out of one."""

    steps: tuple[Step, ...]

    async def __call__(self, run: Run) -> None:
        with contextlib.suppress(Exception):
            await _perform(self.steps, run)


@final
@dataclass(frozen=True, slots=True, repr=False)
class AgentProgram(_Printed):
    """An agent that does its steps one after the other, and returns ``returns``.

    It is given to whatever takes an agent: an `AgentMessageHandler`, an `AgentRegistry`. It keeps
    nothing between runs, and may have several at once. What it prints is Python that makes it, so
    that what a property test found can stand in a test of its own.

    Attributes:
        steps: what it does.
        returns: the run's result, a JSON value.
    """

    steps: tuple[Step, ...] = ()
    returns: object = None

    async def __call__(self, run: Run) -> object:
        await _perform(self.steps, run)
        return self.returns
