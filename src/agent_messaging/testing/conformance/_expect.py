"""What a case expects, and how it says that something else came."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from reprlib import Repr
from typing import Final, TypeVar, cast, final

__all__ = ["PATIENCE", "ConformanceError", "expect", "found", "patience"]

T = TypeVar("T")

#: Seconds of the loop's time until a case gives up. What is tested may be slow; it is not to hang.
PATIENCE: Final = 20.0


@final
class ConformanceError(AssertionError):
    """An implementation does not keep its contract: what was wanted, and what came instead.

    Raised and not asserted, so that a case says the same under ``python -O``, and under a test
    runner that rewrites only the asserts of the tests themselves.
    """


def expect(came: object, wanted: object, about: object = None) -> None:
    """See that what came equals what is wanted.

    Args:
        came: what the implementation did or gave.
        wanted: what its contract says.
        about: which of several it is, where the case's name does not tell.

    Raises:
        ConformanceError: it does not.
    """
    __tracebackhide__ = True  # pytest then points to the line of the case
    if came != wanted:
        difference = _first_difference(came, wanted)
        raise _error(about, f"wanted {_shown(wanted)}, but {_shown(came)} came{difference}")


def found(came: T | None, about: object = None) -> T:
    """What came, which is not to be None.

    Raises:
        ConformanceError: it is.
    """
    __tracebackhide__ = True
    if came is None:
        raise _error(about, "wanted something, but None came")
    return came


@asynccontextmanager
async def patience() -> AsyncGenerator[None]:
    """All that is awaited within comes to its end within `PATIENCE`.

    Raises:
        ConformanceError: it does not; the error's cause shows where it was.
    """
    limit = asyncio.timeout(PATIENCE)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise  # it is of what was tested
        raise ConformanceError(f"what was awaited came to no end in {PATIENCE:g} s") from error


def _error(about: object, what: str) -> ConformanceError:
    return ConformanceError(what if about is None else f"{about}: {what}")


def _shown(value: object) -> str:
    """What it is, without its middle where it is long: a frame may have a million characters."""
    brief = Repr()
    brief.maxlist = brief.maxtuple = brief.maxset = brief.maxdict = 12
    brief.maxstring = brief.maxother = 200
    return brief.repr(value)


def _first_difference(came: object, wanted: object) -> str:
    """Where two lists or two texts begin to differ, which may be behind what is shown of them."""
    if not isinstance(wanted, (list, str)) or type(came) is not type(cast("object", wanted)):
        return ""
    one, other = cast("Sequence[object]", came), cast("Sequence[object]", wanted)
    pairs = enumerate(zip(one, other, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    return f"; they differ from position {at} on" if at else ""
