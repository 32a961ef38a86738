"""The errors: their tree, their words, and what they keep when they travel."""

import copy
import pickle
from enum import Enum

import pytest

from agent_messaging import (
    AgentError,
    AgentMessagingError,
    ConfigurationError,
    ErrorCode,
    LifecycleError,
    LocalError,
    OutboxFullError,
    PayloadError,
    RemoteError,
    TransportError,
)


@pytest.mark.parametrize(
    "error", [ConfigurationError, LifecycleError, OutboxFullError, PayloadError]
)
def test_the_hosts_own_errors_are_local(error: type[LocalError]) -> None:
    assert issubclass(error, LocalError)


@pytest.mark.parametrize("error", [RemoteError, TransportError, AgentError])
def test_what_the_peer_the_network_or_an_agent_did_is_not_local(
    error: type[AgentMessagingError],
) -> None:
    assert issubclass(error, AgentMessagingError)
    assert not issubclass(error, LocalError)


def test_one_root() -> None:
    assert issubclass(LocalError, AgentMessagingError)
    assert AgentMessagingError.__bases__ == (Exception,)


def test_every_code_is_its_own_name_in_lower_case() -> None:
    assert {code.value for code in ErrorCode} >= {
        "malformed_frame",
        "frame_too_large",
        "invalid_message",
        "unsupported_type",
        "missing_content",
        "unknown_agent",
        "identity_mismatch",
        "agent_error",
        "timeout",
    }
    for code in ErrorCode:
        assert str(code) == code.value == code.name.lower()


# RemoteError.


def test_a_remote_error_says_its_code_and_its_sentence() -> None:
    error = RemoteError(ErrorCode.MALFORMED_FRAME, "no JSON", message_id="m1")
    assert (error.code, error.message, error.message_id) == ("malformed_frame", "no JSON", "m1")
    assert str(error) == "malformed_frame: no JSON"


def test_the_reply_of_a_remote_error() -> None:
    error = RemoteError(ErrorCode.MISSING_CONTENT, "no text", message_id="m1")
    assert error.reply == {"code": "missing_content", "message": "no text", "message_id": "m1"}
    assert type(error.reply["code"]) is str


def test_the_reply_leaves_out_a_message_id_that_could_not_be_read() -> None:
    assert RemoteError(ErrorCode.TIMEOUT, "late").reply == {"code": "timeout", "message": "late"}


def test_a_remote_error_can_be_copied_and_pickled() -> None:
    error = RemoteError(code=ErrorCode.UNKNOWN_AGENT, message="who?", message_id="m1")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
        assert type(twin) is RemoteError
        assert twin.reply == error.reply
        assert str(twin) == str(error)


# AgentError.


def test_an_agent_error_by_default() -> None:
    error = AgentError("No flights today.")
    assert str(error) == error.message == "No flights today."
    assert error.code == "agent_error"
    assert error.retryable is False


def test_an_agent_error_with_a_code_of_the_hosts_own() -> None:
    error = AgentError(message="Later, please.", code="sold_out", retryable=True)
    unpickled = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    for twin in (error, copy.copy(error), unpickled):
        assert (twin.message, twin.code, twin.retryable) == ("Later, please.", "sold_out", True)
        assert str(twin) == "Later, please."


@pytest.mark.parametrize("code", ["", "a\nb", "x" * 129, 5, None])
def test_the_code_of_an_agent_error_is_an_id(code: object) -> None:
    with pytest.raises(ConfigurationError, match="code"):
        AgentError("text", code=code)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("message", [None, 5, b"text", ValueError("secret")])
def test_the_message_of_an_agent_error_is_a_text(message: object) -> None:
    with pytest.raises(ConfigurationError, match=type(message).__name__):
        AgentError(message)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_code_that_is_an_enum_member_keeps_its_value() -> None:
    class Code(str, Enum):  # noqa: UP042 - as hosts write it
        SOLD_OUT = "sold_out"

    assert AgentError("none left", code=Code.SOLD_OUT).code == "sold_out"
