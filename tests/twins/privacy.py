"""Nothing private leaks: no exception text, traceback or payload to a client or an INFO log."""

from typing import Final

from twins.twin import Twin

TWINS: Final = (
    Twin(
        "tells the client what an agent raised",
        "_run.py",
        """
        -        return AgentFailed(code=ErrorCode.AGENT_ERROR, message="The agent failed.")
        +        return AgentFailed(code=ErrorCode.AGENT_ERROR, message=str(error))
        """,
        "test_failure_modes_of_peers.py",
        ("test_no_error_text_reaches_the_wire",),
    ),
    Twin(
        "tells the client what a tool raised",
        "_run.py",
        """
        -            text = _TOOL_FAILED if words is None else words.message
        +            text = str(error) if words is None else words.message
        """,
        "test_run_tools.py",
        ("test_an_exception_in_a_block_is_an_error_of_the_tool_and_goes_on",),
    ),
    Twin(
        "tells the client what a handler of the hosts raised",
        "_intake.py",
        """
        -                ErrorCode.AGENT_ERROR, "The handler failed.", message_id=message.message_id
        +                ErrorCode.AGENT_ERROR, str(error), message_id=message.message_id
        """,
        "test_host_handlers.py",
        ("test_one_that_fails_is_answered_and_logged_without_what_it_said",),
    ),
    Twin(
        "tells the client what a parser raised",
        "dialects/native.py",
        """
        -    return "the frame is not valid JSON"
        +    return f"the frame is not valid JSON: {error}"
        """,
        "test_native_dialect.py",
        ("test_whatever_the_hosts_parser_raises_is_a_malformed_frame",),
    ),
    Twin(
        "repeats in a refusal what it refuses",
        "_messages.py",
        """
        -            f"{name} must be {expected}",
        +            f"{name} must be {expected}, not {self.payload}",
        """,
        "test_messages.py",
        ("test_nothing_of_the_payload_is_in_the_refusal",),
    ),
    Twin(
        "logs what the user asks",
        "_handler.py",
        """
                         "outcome": str(outcome.kind),
        +                "request": run.request,
                         "code": outcome.code,
        """,
        "test_logging.py",
        ("test_above_debug_there_is_no_payload_no_exception_text_and_no_traceback",),
    ),
    Twin(
        "logs what an agent raised",
        "_handler.py",
        """
        -                fields |= {"error": type(error).__name__, "raised_at": raised_at(error)}
        +                fields |= {"error": repr(error), "raised_at": raised_at(error)}
                         log(_logger, logging.DEBUG, "run_error", fields, error)
        """,
        "test_logging.py",
        ("test_above_debug_there_is_no_payload_no_exception_text_and_no_traceback",),
    ),
    Twin(
        "logs the traceback of an agent",
        "_handler.py",
        """
        -            log(_logger, level, "run_finished", fields)
        +            log(_logger, level, "run_finished", fields, error)
        """,
        "test_logging.py",
        ("test_above_debug_there_is_no_payload_no_exception_text_and_no_traceback",),
    ),
    Twin(
        "logs what a transport raised",
        "_outbox.py",
        """
        -            "error": type(error).__name__,
        +            "error": str(error),
        """,
        "test_outbox.py",
        ("test_a_failure_is_logged_without_the_words_of_its_exception",),
    ),
    Twin(
        "logs what a log raised",
        "_log_access.py",
        """
        -    log(_logger, level, "log_failed", fields)
        +    log(_logger, level, "log_failed", fields, error)
        """,
        "test_log_access.py",
        ("test_trouble_is_logged_and_a_fault_of_the_log_as_an_error",),
    ),
    Twin(
        "logs the folders of the host",
        "_log.py",
        """
        -    file = trace.tb_frame.f_code.co_filename.replace("\\\\", "/").rsplit("/", 1)[-1]
        +    file = trace.tb_frame.f_code.co_filename
        """,
        "test_log.py",
        ("test_where_an_error_was_raised_is_its_innermost_frame",),
    ),
)
