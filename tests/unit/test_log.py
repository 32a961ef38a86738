"""Log lines: a stable name, fields, and no way to fail a message."""

import logging
from types import FunctionType

import pytest

from agent_messaging._log import log, raised_at

logger = logging.getLogger("agent_messaging.test")


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text for this")

    def __format__(self, spec: str) -> str:
        raise RuntimeError("no text for this")


def test_a_line_has_its_event_as_text_and_as_extra_field(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="agent_messaging"):
        log(logger, logging.INFO, "run_finished", {"user_id": "u1", "duration_ms": 5})
    [record] = caplog.records
    assert record.getMessage() == "run_finished user_id=u1 duration_ms=5"
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    fields = vars(record)
    assert (fields["event"], fields["user_id"], fields["duration_ms"]) == ("run_finished", "u1", 5)


def test_an_error_adds_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("why")
    with caplog.at_level(logging.DEBUG, logger="agent_messaging"):
        log(logger, logging.DEBUG, "run_error", {}, error)
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_nothing_is_formatted_for_a_level_that_nobody_wants(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="agent_messaging"):
        log(logger, logging.INFO, "run_finished", {"value": Unprintable()})
    assert not caplog.records


def test_a_handler_that_raises_fails_nothing() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            raise RuntimeError("disk full")

    lines: list[str] = []
    broken = Broken()
    logger.addHandler(broken)
    try:
        log(logger, logging.CRITICAL, "run_finished", {})
    finally:
        logger.removeHandler(broken)
    assert lines == ["run_finished "]


def test_a_field_that_has_no_text_fails_nothing() -> None:
    log(logger, logging.CRITICAL, "run_finished", {"value": Unprintable()})


def test_a_field_with_a_name_that_logging_keeps_for_itself_fails_nothing() -> None:
    log(logger, logging.CRITICAL, "run_finished", {"message": "taken"})


def raised() -> ValueError:
    def inner() -> None:
        raise ValueError("secret")

    try:
        inner()
    except ValueError as error:
        return error
    raise AssertionError


def test_where_an_error_was_raised_is_its_innermost_frame() -> None:
    line = raised.__code__.co_firstlineno + 2
    assert raised_at(raised()) == f"test_log.py:{line}"


def test_an_error_that_was_never_raised_was_raised_nowhere() -> None:
    assert raised_at(ValueError("secret")) == "unknown"


def test_no_folder_of_another_platform_is_told() -> None:
    def fail() -> None:
        raise ValueError("secret")

    code = fail.__code__.replace(co_filename=r"C:\Users\someone\agent.py", co_firstlineno=1)
    with pytest.raises(ValueError, match="secret") as caught:
        FunctionType(code, {})()
    assert raised_at(caught.value) == "agent.py:2"
