"""Log lines with a stable event name and fields, none of which can fail a message."""

import logging
from types import TracebackType

__all__ = ["log", "raised_at"]


def log(
    logger: logging.Logger,
    level: int,
    event: str,
    fields: dict[str, object],
    error: BaseException | None = None,
) -> None:
    """Log ``event`` with ``fields`` as text and as ``extra``; ``error`` adds its traceback."""
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
