"""Bad input is answered: a stable code, a reply, a counter and a log line; the connection lives."""

from typing import Final

from twins.twin import Twin

REFUSALS: Final = "test_each_refusal_has_its_code_its_counter_and_its_line_and_the_session_lives_on"

TWINS: Final = (
    Twin(
        "lets out what a deep frame raises",
        "dialects/native.py",
        """
        -        except Exception as error:  # whatever the host's loads makes of it
        +        except ValueError as error:
        """,
        "test_native_dialect.py",
        (
            "test_a_bad_frame_is_answered_and_the_connection_lives_on[list nested 100,000 deep]",
            "test_whatever_the_hosts_parser_raises_is_a_malformed_frame",
        ),
    ),
    Twin(
        "lets out what bytes that are no text raise",
        "dialects/native.py",
        """
        -        except UnicodeError as error:
        +        except UnicodeEncodeError as error:
                     message_id = _message_id(frame) if isinstance(frame, str) else None
        """,
        "test_native_dialect.py",
        ("test_a_bad_frame_is_answered_and_the_connection_lives_on[invalid UTF-8 0]",),
    ),
    Twin(
        "has one code for frames and messages",
        "dialects/native.py",
        """
        -    return RemoteError(ErrorCode.MALFORMED_FRAME, why, message_id=message_id)
        +    return RemoteError(ErrorCode.INVALID_MESSAGE, why, message_id=message_id)
        """,
        "test_native_dialect.py",
        ("test_a_bad_frame_is_refused",),
    ),
    Twin(
        "changes a code",
        "_errors.py",
        """
        -    FRAME_TOO_LARGE = "frame_too_large"
        +    FRAME_TOO_LARGE = "frame_too_big"
        """,
        "test_errors.py",
        ("test_every_code_is_its_own_name_in_lower_case",),
    ),
    Twin(
        "counts no refusal",
        "_replies.py",
        """
        -        self._statistics.refused(refusal.code)
        """,
        "test_handler_statistics.py",
        ("test_a_refused_message_is_one_error_under_its_code_and_no_run",),
    ),
    Twin(
        "logs no refusal",
        "_replies.py",
        """
        -            logging.INFO,
        +            logging.DEBUG,
                     "message_refused",
        """,
        "test_logging.py",
        ("test_a_refusal_is_told_with_its_code",),
    ),
    Twin(
        "answers no refusal",
        "_replies.py",
        """
        -            outbox.post(frame, kind, _unrecorded)
        """,
        "test_handler.py",
        ("test_any_other_type_is_answered_and_the_connection_lives_on",),
    ),
    Twin(
        "takes a message that nothing handles for handled",
        "_router.py",
        """
                     handler = self.handler_for(user_id, message)
        -        except RemoteError as refusal:
        -            return await self._replies.refuse(user_id, outbox, refusal)
        +        except RemoteError:
        +            return True
        """,
        "test_failure_modes.py",
        ("test_an_unknown_type_is_never_a_success",),
    ),
    Twin(
        "counts no refusal of a session",
        "_intake.py",
        """
             def _note(self, session: Session, refusal: RemoteError) -> None:
        -        self._services.counters.refused(refusal.code)
        """,
        "test_endpoint_limits.py",
        (f"{REFUSALS}[unknown_agent]",),
    ),
    Twin(
        "logs no refusal of a session",
        "_intake.py",
        """
        -        log(_logger, logging.INFO, "frame_refused", fields)
        """,
        "test_endpoint_limits.py",
        (f"{REFUSALS}[unknown_agent]",),
    ),
    Twin(
        "closes the connection of who was refused",
        "_session.py",
        """
                     self.delivery.answer(MessageType.ERROR_MESSAGE, refusal.reply)
        +            self.finish("refused")
                 finally:
        """,
        "test_endpoint_limits.py",
        (f"{REFUSALS}[unknown_agent]",),
    ),
    Twin(
        "lets out of a session what it refuses",
        "_session.py",
        """
                 except RemoteError as refusal:
                     self.delivery.answer(MessageType.ERROR_MESSAGE, refusal.reply)
        +            raise
                 finally:
        """,
        "test_endpoint_limits.py",
        (f"{REFUSALS}[malformed_frame]",),
    ),
    Twin(
        "swallows what a session refuses",
        "_session.py",
        """
        -        except RemoteError as refusal:
        -            self.delivery.answer(MessageType.ERROR_MESSAGE, refusal.reply)
        +        except RemoteError:
        +            pass
                 finally:
        """,
        "test_endpoint_limits.py",
        (f"{REFUSALS}[malformed_frame]",),
    ),
)
