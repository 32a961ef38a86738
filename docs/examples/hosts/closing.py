"""The code that a WebSocket is closed with, so that a client knows whether to come back."""

from agent_messaging import SessionEndReason

_CODES: dict[SessionEndReason, int] = {
    "shutdown": 1012,  # service restart: connect again, and resume
    "slow_consumer": 1013,  # try again later, and resume
    "log_unavailable": 1013,
    "refused": 1013,
    "forgotten": 1008,  # policy violation
}


def close_code(reason: SessionEndReason) -> int:
    """1000, a normal closure, unless there is more to say."""
    return _CODES.get(reason, 1000)
