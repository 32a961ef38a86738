"""Agent programs: what an agent may do, as data."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agent_messaging import AgentError

Block: TypeAlias = "tuple[Act, ...]"
TextKind: TypeAlias = Literal["thinking", "chunk"]


class Halt(BaseException):
    """An exception that is no Exception, as the ones that end a process."""


@dataclass(frozen=True, slots=True)
class Say:
    """Emit a text, awaited or not."""

    kind: TextKind
    awaited: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Emit an event of the host's own; not every ``data`` will encode."""

    data: object
    awaited: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Yield to the loop that many times."""

    steps: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Take that many ticks."""

    ticks: int


@dataclass(frozen=True, slots=True)
class Tool:
    """Do the body within ``async with run.tool(...)``."""

    body: Block
    result: object


@dataclass(frozen=True, slots=True)
class Open:
    """Emit tool_executing for a call of this number, opened already or not."""

    number: int


@dataclass(frozen=True, slots=True)
class Close:
    """Emit tool_completed for the call of this number, open or not."""

    number: int
    error: str | None


@dataclass(frozen=True, slots=True)
class EmitForbidden:
    """Emit what is not an agent's to emit."""

    what: Literal["start", "end", "stranger"]


@dataclass(frozen=True, slots=True)
class Catch:
    """Do the body, and catch every Exception that comes out of it."""

    body: Block


@dataclass(frozen=True, slots=True)
class Swallow:
    """Do the body, and go on when it is cancelled."""

    body: Block


@dataclass(frozen=True, slots=True)
class Finally:
    """Do the body, then the cleanup whatever happened."""

    body: Block
    cleanup: Block


@dataclass(frozen=True, slots=True)
class Within:
    """Do the body in at most that many ticks; a TimeoutError comes out otherwise."""

    ticks: int
    body: Block


Place: TypeAlias = Literal["block", "context manager", "generator", "awaitable"]
PLACES: Final[tuple[Place, ...]] = ("block", "context manager", "generator", "awaitable")


@dataclass(frozen=True, slots=True)
class Group:
    """Do the bodies at once, in a task group that stands in code of this kind."""

    bodies: tuple[Block, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Leave:
    """Start a task and leave it behind: it emits now and then, also after the end."""

    emits: int
    ticks: int


@dataclass(frozen=True, slots=True)
class CancelInner:
    """Start a task of one's own, cancel it, and await it: CancelledError comes out."""

    body: Block
    steps: int


@dataclass(frozen=True, slots=True)
class Raise:
    """Raise one of `ERRORS`, by its name."""

    error: str


ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    "exception": lambda: ValueError("private"),
    "words": lambda: AgentError("No flights today.", code="no_flights", retryable=True),
    "odd words": lambda: AgentError("No \x00 flights, \ud800 and \N{BANANA}."),
    "group of words": lambda: ExceptionGroup("one", [AgentError("Wrapped.", code="wrapped")]),
    "group": lambda: ExceptionGroup("two", [AgentError("One."), ValueError("private")]),
    "cancelled": asyncio.CancelledError,
    "halt": Halt,
    "group of halts": lambda: BaseExceptionGroup("base", [Halt(), ValueError("private")]),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
}


Act: TypeAlias = (
    Say
    | Progress
    | Pause
    | Sleep
    | Tool
    | Open
    | Close
    | EmitForbidden
    | Catch
    | Swallow
    | Finally
    | Within
    | Group
    | Leave
    | CancelInner
    | Raise
)


@dataclass(frozen=True, slots=True)
class Program:
    """What an agent does, and what it returns if it gets there."""

    block: Block
    result: object
