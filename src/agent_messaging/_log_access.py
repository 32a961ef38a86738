"""Asking the event log, again while it is in trouble."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from agent_messaging._errors import ErrorCode, EventLogError, RemoteError
from agent_messaging._log import log, raised_at

__all__ = ["asked", "backoff", "note_trouble"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")

T = TypeVar("T")


def backoff(attempt: int) -> float:
    """Seconds to wait before an attempt after the first: 0.05, 0.1, 0.2, up to 1."""
    return min(0.05 * 2.0**attempt, 1.0)


def note_trouble(error: BaseException) -> None:
    """Log what a log raised; what is no `EventLogError` is a fault of the log itself."""
    level = logging.WARNING if isinstance(error, EventLogError) else logging.ERROR
    fields: dict[str, object] = {"error": type(error).__name__, "raised_at": raised_at(error)}
    log(_logger, logging.DEBUG, "log_error", fields, error)
    log(_logger, level, "log_failed", fields)


async def asked(ask: Callable[[], Awaitable[T]], timeout: float) -> T:
    """What the log says, asked again for ``timeout`` seconds if it raises.

    Raises:
        RemoteError: ``log_unavailable``, it still does.
    """
    try:
        return await ask()
    except Exception as error:  # noqa: BLE001 - a log of the host's may raise anything
        return await _asked_again(ask, timeout, error)


async def _asked_again(ask: Callable[[], Awaitable[T]], timeout: float, error: Exception) -> T:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    attempt = 0
    while True:
        note_trouble(error)
        if loop.time() >= deadline:
            raise RemoteError(
                ErrorCode.LOG_UNAVAILABLE,
                "messages and events cannot be kept or read now; try again later",
            ) from error
        await asyncio.sleep(backoff(attempt))
        attempt += 1
        try:
            return await ask()
        except Exception as again:  # noqa: BLE001 - as above
            error = again
