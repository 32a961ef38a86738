"""Asking the event log, again while it is in trouble."""

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from agent_messaging._errors import ErrorCode, EventLogError, RemoteError
from agent_messaging._log import log, raised_at
from agent_messaging._timeouts import timeout_after, timeout_at
from agent_messaging.eventlog.protocol import EventLog

__all__ = ["asked", "backoff", "note_trouble", "tell_watched"]

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


async def asked(
    ask: Callable[[], Coroutine[Any, Any, T]], timeout: float, message_id: str | None = None
) -> T:
    """What the log says, asked again for ``timeout`` seconds if it raises.

    Args:
        ask: asks it.
        timeout: in seconds.
        message_id: of the message on whose behalf it is asked.

    Raises:
        RemoteError: ``log_unavailable``, it still does, or has not answered by then.
    """
    begun: Awaitable[T] | None = None
    try:
        answer = ask()
        # Its first step: a log that answers at once needs no timer, which takes longer than that.
        begun = _rest(answer, answer.send(None))
    except StopIteration as stop:
        said: T = stop.value
        return said
    except Exception as error:  # noqa: BLE001 - a log of the host's may raise anything
        note_trouble(error)
    return await _asked_on(ask, begun, timeout, message_id)


async def tell_watched(event_log: EventLog, user_id: str, run_id: str, timeout: float) -> None:
    """Tell the owner of a run that it is watched here; tried once, as it is told again anyway.

    Raises:
        Exception: whatever the log does; `TimeoutError`, it does not take that in time.
    """
    async with timeout_after(timeout):
        await event_log.notify(user_id, run_id, "watched")


async def _asked_on(
    ask: Callable[[], Coroutine[Any, Any, T]],
    begun: Awaitable[T] | None,
    timeout: float,
    message_id: str | None,
) -> T:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    attempt = 0
    try:
        async with timeout_at(deadline):
            while True:
                if begun is None:
                    await asyncio.sleep(backoff(attempt))
                    attempt += 1
                try:
                    return await (ask() if begun is None else begun)
                except Exception as error:  # noqa: BLE001 - as above
                    note_trouble(error)
                    if loop.time() >= deadline:
                        break  # it has made an error of the cancellation
                begun = None
    except TimeoutError as error:
        note_trouble(error)
    raise RemoteError(
        ErrorCode.LOG_UNAVAILABLE,
        "messages and events cannot be kept or read now; try again later",
        message_id=message_id,
    )


@types.coroutine
def _rest(begun: Coroutine[Any, Any, T], waits_for: object) -> Generator[object, None, T]:
    """What is left of a coroutine that has taken its first step."""
    while True:
        try:
            try:
                yield waits_for
            except GeneratorExit:
                begun.close()
                raise
            except BaseException as error:  # noqa: BLE001 - it is the log's to handle
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(None)
        except StopIteration as stop:
            said: T = stop.value
            return said
