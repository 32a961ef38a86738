"""The errors: one root, a local branch (your code) and a remote branch (the peer).

::

    AgentMessagingError
    |-- LocalError            the host's or the agent's code is wrong
    |   |-- ConfigurationError
    |   |-- LeaseLost
    |   |-- LifecycleError
    |   |-- OutboxFullError
    |   `-- PayloadError
    |-- RemoteError           the client sent what cannot be accepted
    |-- TransportError        the connection no longer takes frames
    |-- EventLogError         the event log cannot do now what it is for
    `-- AgentError            an agent's own words for the client
"""

from enum import StrEnum
from typing import Final, final

from agent_messaging._limits import is_id

__all__ = [
    "AgentError",
    "AgentMessagingError",
    "ConfigurationError",
    "ErrorCode",
    "EventLogError",
    "LeaseLost",
    "LifecycleError",
    "LocalError",
    "OutboxFullError",
    "PayloadError",
    "RemoteError",
    "TransportError",
]


class ErrorCode(StrEnum):
    """The stable codes on the wire: refusals of a message, then outcomes of a run."""

    MALFORMED_FRAME = "malformed_frame"
    FRAME_TOO_LARGE = "frame_too_large"
    INVALID_MESSAGE = "invalid_message"
    UNSUPPORTED_TYPE = "unsupported_type"
    MISSING_CONTENT = "missing_content"
    UNKNOWN_AGENT = "unknown_agent"
    IDENTITY_MISMATCH = "identity_mismatch"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_RUNS = "too_many_runs"
    THREAD_BUSY = "thread_busy"
    QUEUE_FULL = "queue_full"
    TOO_MANY_SESSIONS = "too_many_sessions"
    MESSAGE_ID_CONFLICT = "message_id_conflict"
    SHUTTING_DOWN = "shutting_down"
    SLOW_CONSUMER = "slow_consumer"
    LOG_UNAVAILABLE = "log_unavailable"

    AGENT_ERROR = "agent_error"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class AgentMessagingError(Exception):
    """The root of every error that this package defines."""


class LocalError(AgentMessagingError):
    """The host's or the agent's code is wrong; nothing was sent because of it."""


@final
class ConfigurationError(LocalError):
    """An object was set up, registered or called with something it cannot work with."""


@final
class LeaseLost(LocalError):  # noqa: N818 - what happened, in the words of the field
    """An append to a run that is another's by now, has ended, or goes on otherwise.

    Nothing was appended. Whoever reads this emits nothing more for the run.
    """


@final
class LifecycleError(LocalError):
    """An event came where the lifecycle allows none; the state and ``seq`` are unchanged."""


@final
class OutboxFullError(LocalError):
    """Events were emitted without awaiting them until no more could wait.

    The event was not decided. Await the emits: that waits until there is room.
    """


@final
class PayloadError(LocalError):
    """A payload cannot be encoded; the run's state and ``seq`` are unchanged."""


@final
class TransportError(AgentMessagingError):
    """The connection no longer takes frames; its cause is the host's own exception.

    Raised by every emit after the transport failed. The run ends as cancelled
    (``disconnected``), whatever the agent does about it.
    """


class EventLogError(AgentMessagingError):
    """The event log cannot do now what it was asked for; a log may raise a class derived from it.

    What was asked for happened wholly or not at all. The log is usable afterwards, unless it was
    closed; trying again later is sound.
    """


@final
class RemoteError(AgentMessagingError):
    """The client sent what cannot be accepted. The connection is usable afterwards.

    Attributes:
        code: the stable code on the wire.
        message: a sentence for the client's developer; holds nothing of the payload.
        message_id: the id of the offending message, where it could be read.
        retry_after: seconds after which the same may be accepted, where that is known.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        message_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code: Final[ErrorCode] = code
        self.message: Final[str] = message
        self.message_id: Final[str | None] = message_id
        self.retry_after: Final[float | None] = retry_after

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def reply(self) -> dict[str, object]:
        """The payload of the ``error_message`` frame that answers it."""
        reply: dict[str, object] = {"code": str(self.code), "message": self.message}
        if self.message_id is not None:
            reply["message_id"] = self.message_id
        if self.retry_after is not None:
            reply["retry_after"] = self.retry_after
        return reply


@final
class AgentError(AgentMessagingError):
    """Raise it in an agent or a tool to choose what the client reads.

    Args:
        message: the text for the client.
        code: the outcome's code, an id of your own (default ``agent_error``).
        retryable: whether sending the message again may help.

    Raises:
        ConfigurationError: ``code`` is not an id, or ``message`` not a string.
    """

    def __init__(
        self, message: str, *, code: str = ErrorCode.AGENT_ERROR, retryable: bool = False
    ) -> None:
        # Both are checked here, where the agent's author sees it, and not when the run ends.
        if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"AgentError takes a text, not {type(message).__name__}")
        if not is_id(code):
            raise ConfigurationError("AgentError.code must be 1 to 128 printable characters")
        super().__init__(message)
        self.message: Final[str] = message
        self.code: Final[str] = code
        self.retryable: Final[bool] = retryable
