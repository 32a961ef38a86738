"""What type checkers know of errors, limits, clocks and dialects; never run."""

import json
from typing import assert_type

from agent_messaging import (
    AgentError,
    AgentMessagingError,
    Clock,
    ConfigurationError,
    ErrorCode,
    EventLogError,
    LeaseLost,
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
        LeaseLost("what"),
        LifecycleError("what"),
        OutboxFullError("what"),
        PayloadError("what"),
    )
    remote = RemoteError(ErrorCode.TIMEOUT, "what")
    wrong_branch: LocalError = remote  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    neither: LocalError = EventLogError("what")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    others = (TransportError("what"), EventLogError("what"), AgentError("what"))
    return (*local, remote, wrong_branch, neither, *others)


class DatabaseError(EventLogError):
    """A log's own error, with more to say."""

    def __init__(self, host: str) -> None:
        super().__init__("the database is gone")
        self.host = host


def a_remote_error_says_what_the_client_reads() -> None:
    try:
        raise RemoteError(ErrorCode.MALFORMED_FRAME, "not JSON", message_id="m1")
    except RemoteError as error:
        assert_type(error.code, ErrorCode)
        assert_type(error.message, str)
        assert_type(error.message_id, str | None)
        assert_type(error.retry_after, float | None)
        assert_type(error.reply, dict[str, object])
        error.code = ErrorCode.TIMEOUT  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        error.message_id = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def its_code_is_one_of_the_stable_ones() -> None:
    RemoteError("malformed_frame", "what")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RemoteError(ErrorCode.RATE_LIMITED, "what", retry_after=1)
    RemoteError(ErrorCode.RATE_LIMITED, "what", retry_after="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
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
    assert_type(limits.messages_per_minute, int | None)
    assert_type(limits.frames_per_minute, int | None)
    assert_type(limits.runs_per_user, int)
    assert_type(limits.queued_per_thread, int)
    assert_type(limits.sessions_per_user, int)
    assert_type(limits.lag_events, int)
    assert_type(limits.resumed_runs, int)
    assert_type(limits.pending_replies, int)
    Limits(messages_per_minute=None, frames_per_minute=None)
    Limits(runs_per_user=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
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
