"""Log lines with a stable event name and fields, none of which can fail a message."""

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Final, TypeAlias

__all__ = ["Listener", "is_heard", "listener", "log", "raised_at"]

#: Is told of a line: its level, its event, its fields, and the error whose traceback it has.
Listener: TypeAlias = Callable[[int, str, Mapping[str, object], BaseException | None], None]

#: Who is told beside the loggers, and whatever those let through, of what a test has led to.
listener: Final[ContextVar[Listener | None]] = ContextVar("listener", default=None)


def is_heard(logger: logging.Logger, level: int) -> bool:
    """Whether anybody hears what is logged at this level."""
    return logger.isEnabledFor(level) or listener.get() is not None


def log(
    logger: logging.Logger,
    level: int,
    event: str,
    fields: dict[str, object],
    error: BaseException | None = None,
) -> None:
    """Log ``event`` with ``fields`` as text and as ``extra``; ``error`` adds its traceback."""
    hear = listener.get()
    if hear is not None:
        hear(level, event, fields, error)
    if not logger.isEnabledFor(level):
        return
    try:
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        logger.log(level, "%s %s", event, text, extra={"event": event, **fields}, exc_info=error)
    except Exception:  # noqa: BLE001 - a host's handler or filter may raise anything
        return


def raised_at(error: BaseException) -> str:
    """The file name and line where ``error`` was raised, which hold nothing private."""
    trace: TracebackType | None = error.__traceback__
    if trace is None:
        return "unknown"
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{file}:{trace.tb_lineno}"
