"""The errors: one root, a local branch (your code) and a remote branch (the peer).

::

    AgentMessagingError
    |-- LocalError            the host's or the agent's code is wrong
    |   |-- ConfigurationError
    |   |-- LifecycleError
    |   |-- OutboxFullError
    |   `-- PayloadError
    |-- RemoteError           the client sent what cannot be accepted
    |-- TransportError        the connection no longer takes frames
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

    AGENT_ERROR = "agent_error"
    TIMEOUT = "timeout"


class AgentMessagingError(Exception):
    """The root of every error that this package defines."""


class LocalError(AgentMessagingError):
    """The host's or the agent's code is wrong; nothing was sent because of it."""


@final
class ConfigurationError(LocalError):
    """An object was set up, registered or called with something it cannot work with."""


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


@final
class RemoteError(AgentMessagingError):
    """The client sent what cannot be accepted. The connection is usable afterwards.

    Attributes:
        code: the stable code on the wire.
        message: a sentence for the client's developer; holds nothing of the payload.
        message_id: the id of the offending message, where it could be read.
    """

    def __init__(self, code: ErrorCode, message: str, *, message_id: str | None = None) -> None:
        super().__init__(code, message)
        self.code: Final[ErrorCode] = code
        self.message: Final[str] = message
        self.message_id: Final[str | None] = message_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def reply(self) -> dict[str, object]:
        """The payload of the ``error_message`` frame that answers it."""
        reply: dict[str, object] = {"code": str(self.code), "message": self.message}
        if self.message_id is not None:
            reply["message_id"] = self.message_id
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
