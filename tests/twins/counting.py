"""Count what happened: nothing on expectation, nothing twice."""

from typing import Final

from twins.twin import Twin

TWINS: Final = (
    Twin(
        "counts an event as sent when it is posted",
        "_outbox.py",
        """
                 queue.append((frame, kind, receipt))
        +        receipt(kind, True)
        @@
                         self._sent += 1
        -                receipt(kind, True)
        """,
        "test_handler_statistics.py",
        (
            "test_an_event_counts_when_the_transport_accepted_it_and_not_before",
            "test_the_counts_are_those_of_the_transport_wherever_it_fails",
        ),
    ),
    Twin(
        "counts an event as sent when its send begins",
        "_outbox.py",
        """
                         frame, kind, receipt = queue[0]
        +                receipt(kind, True)
                         await send(frame)
                         queue.popleft()
                         self._sent += 1
        -                receipt(kind, True)
        """,
        "test_handler_statistics.py",
        (
            "test_an_event_counts_when_the_transport_accepted_it_and_not_before",
            "test_the_counts_are_those_of_the_transport_wherever_it_fails",
        ),
    ),
    Twin(
        "counts an event of the golden path twice",
        "_stats.py",
        """
                 if kind in _GOLDEN:
        -            live["golden_path_events_sent"] += 1
        +            live["golden_path_events_sent"] += 2
        """,
        "test_failure_modes.py",
        ("test_events_sent_are_those_that_were_sent",),
    ),
    Twin(
        "counts five events for each message",
        "_stats.py",
        """
                 live["messages_processed"] += 1
        +        live["golden_path_events_sent"] += 5
        @@
                 if kind in _GOLDEN:
        -            live["golden_path_events_sent"] += 1
        +            pass
        """,
        "test_failure_modes.py",
        ("test_events_sent_are_those_that_were_sent",),
    ),
    Twin(
        "counts an event once for each session that shows it",
        "_active_run.py",
        """
        -        if seq <= self._delivered or self._is_reported:
        +        if self._is_reported:
                     return
        """,
        "test_endpoint_stats.py",
        ("test_an_event_counts_once_for_each_session_whose_transport_took_it",),
    ),
    Twin(
        "counts an event of a session when its send begins",
        "_delivery.py",
        """
                     watch.begun = seq
        +            counted[kind] += 1
                     await send(encode(kind, payload, seq, timestamp))
                     self._is_sending = False
                     watch.cursor = seq
        -            counted[kind] += 1
        """,
        "test_delivery.py",
        ("test_what_a_failed_transport_took_is_a_prefix_and_the_rest_is_undelivered",),
    ),
    Twin(
        "counts a failed run as a refusal too",
        "_stats.py",
        """
                     live["runs_failed"] += 1
        -            live["errors"] += 1
        +            self.refused(ErrorCode.AGENT_ERROR)
        +            live["errors"] += 1
        """,
        "test_failure_modes.py",
        ("test_errors_are_counted_once_wherever_they_arise",),
    ),
    Twin(
        "counts a cancelled run as an error",
        "_stats.py",
        """
                     live["runs_cancelled"] += 1
        +            live["errors"] += 1
        """,
        "test_handler_statistics.py",
        ("test_a_cancelled_run_has_a_counter_of_its_own_and_is_no_error",),
    ),
    Twin(
        "counts every run as a message that was processed",
        "_handler.py",
        """
        -        if outcome.kind is _COMPLETED:
        -            self._count(run.message.type)
        +        self._count(run.message.type)
        """,
        "test_handler_statistics.py",
        (
            "test_a_run_that_failed_is_one_error",
            "test_a_cancelled_run_has_a_counter_of_its_own_and_is_no_error",
        ),
    ),
    Twin(
        "counts a run twice",
        "_handler.py",
        """
        -        if outcome.is_counted:
        -            return
                 outcome.is_counted = True
        """,
        "test_endpoint_stubborn_agents.py",
        ("test_an_abandoned_agent_that_returns_in_the_end_is_counted_once",),
    ),
    Twin(
        "takes what was decided for delivered",
        "_handler.py",
        """
        -        return outcome.kind is _COMPLETED and not emitter.lifecycle.undelivered
        +        return outcome.kind is _COMPLETED
        """,
        "test_failure_modes.py",
        ("test_a_message_whose_transport_gave_up_was_not_sent",),
    ),
    Twin(
        "forgets what was not delivered",
        "_outbox.py",
        """
                 while self._queue:
        -            _, kind, receipt = self._queue.popleft()
        -            receipt(kind, False)
        +            self._queue.popleft()
        """,
        "test_outbox.py",
        ("test_after_a_failed_send_every_frame_gets_a_negative_receipt",),
    ),
)
