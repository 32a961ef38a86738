"""How sessions end, and what their clients are told last."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, TypeAlias, final

from agent_messaging._errors import ErrorCode
from agent_messaging._records import record

__all__ = ["FAREWELLS", "CloseCallback", "SessionEnd", "SessionEndReason"]

#: Why a session ended. ``disconnected``: the client went, or the host closed the session;
#: ``refused``: it never began; ``completed``: a stream has nothing more to say.
SessionEndReason: TypeAlias = Literal[
    "disconnected",
    "transport_failed",
    "slow_consumer",
    "idle",
    "shutdown",
    "log_unavailable",
    "forgotten",
    "refused",
    "completed",
]

#: Told once that the library ended the session, and why; closes the socket.
CloseCallback: TypeAlias = Callable[[SessionEndReason], Awaitable[object]]


@final
@record
class SessionEnd:
    """How a session ended.

    Attributes:
        reason: why.
        error: what the frames or the transport raised, or the refusal; None where nothing was.
    """

    reason: SessionEndReason
    error: Exception | None = None


#: The last words to a client, where its socket still takes them.
FAREWELLS: Final[Mapping[SessionEndReason, tuple[ErrorCode, str]]] = {
    "slow_consumer": (ErrorCode.SLOW_CONSUMER, "the session was read too slowly; resume the runs"),
    "log_unavailable": (ErrorCode.LOG_UNAVAILABLE, "events cannot be kept now; resume later"),
    "shutdown": (ErrorCode.SHUTTING_DOWN, "the server is shutting down"),
}
