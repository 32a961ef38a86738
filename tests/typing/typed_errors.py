"""What type checkers know of errors, limits, clocks and dialects; never run."""

import json
from typing import assert_type

from agent_messaging import (
    AgentError,
    AgentMessagingError,
    Clock,
    ConfigurationError,
    ErrorCode,
    LifecycleError,
    Limits,
    LocalError,
    NativeDialect,
    OutboxFullError,
    PayloadError,
    RemoteError,
    TransportError,
)


def there_is_one_root_with_branches() -> tuple[AgentMessagingError, ...]:
    local: tuple[LocalError, ...] = (
        ConfigurationError("what"),
        LifecycleError("what"),
        OutboxFullError("what"),
        PayloadError("what"),
    )
    remote = RemoteError(ErrorCode.TIMEOUT, "what")
    wrong_branch: LocalError = remote  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    return (*local, remote, wrong_branch, TransportError("what"), AgentError("what"))


def a_remote_error_says_what_the_client_reads() -> None:
    try:
        raise RemoteError(ErrorCode.MALFORMED_FRAME, "not JSON", message_id="m1")
    except RemoteError as error:
        assert_type(error.code, ErrorCode)
        assert_type(error.message, str)
        assert_type(error.message_id, str | None)
        assert_type(error.reply, dict[str, object])
        error.code = ErrorCode.TIMEOUT  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        error.message_id = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def its_code_is_one_of_the_stable_ones() -> None:
    RemoteError("malformed_frame", "what")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RemoteError(ErrorCode.TIMEOUT)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    RemoteError(ErrorCode.TIMEOUT, "what", "m1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    code: str = ErrorCode.TIMEOUT
    assert_type(ErrorCode(code), ErrorCode)


def an_agents_error_has_a_code_of_its_own() -> None:
    error = AgentError("No such city", code="no_city", retryable=True)
    assert_type(error.message, str)
    assert_type(error.code, str)
    assert_type(error.retryable, bool)
    error.message = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    AgentError("Too slow", code=ErrorCode.TIMEOUT)
    AgentError()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentError(ValueError("private"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentError("text", "code")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentError("text", code=404)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def every_limit_is_a_number_given_by_name() -> None:
    limits = Limits(frame_bytes=1024)
    assert_type(limits.frame_bytes, int)
    assert_type(limits.json_depth, int)
    assert_type(limits.number_length, int)
    assert_type(limits.payload_bytes, int)
    assert_type(limits.outbox_frames, int)
    assert_type(limits.outbox_overrun, int)
    Limits(1024)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Limits(frame_bytes=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Limits(frame_bytes=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Limits(frames=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    limits.frame_bytes = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def a_clock_is_two_functions() -> None:
    clock = Clock(wall=lambda: 1.0)
    assert_type(clock.wall(), float)
    assert_type(clock.monotonic(), float)
    Clock(wall=1.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Clock(wall=lambda: "now")  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
    clock.wall = clock.monotonic  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def a_dialect_takes_its_functions_by_name() -> None:
    NativeDialect()
    NativeDialect(loads=json.loads, dumps=json.dumps, default=str, limits=Limits())
    NativeDialect(loads=lambda text: text.strip(), dumps=lambda value: b"{}")
    NativeDialect(json.loads)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    NativeDialect(loads=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    NativeDialect(dumps=print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
