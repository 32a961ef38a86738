"""Every buffer has a bound and a policy for when it is full; nothing is left out in the middle."""

from typing import Final

from twins.twin import Twin

TWINS: Final = (
    Twin(
        "has no bound on a frame",
        "dialects/native.py",
        """
        -        limit = self._limits.frame_bytes
        +        limit = 2**63
        """,
        "test_hostile_frames.py",
        ("test_a_frame_beyond_the_size_is_refused[text]",),
    ),
    Twin(
        "has no bound on a payload",
        "dialects/native.py",
        """
        -        if len(text) > self._limits.payload_bytes:
        -            raise PayloadError(f"a payload is at most {self._limits.payload_bytes} bytes")
                 return text
        """,
        "test_native_encoding.py",
        ("test_a_payload_is_bounded_in_bytes",),
    ),
    Twin(
        "never waits for room",
        "_outbox.py",
        """
                 self.is_blocked = waiting >= self._overrun
        -        return _Room(self)
        +        return ACCEPTED
        """,
        "test_outbox.py",
        ("test_awaiting_waits_until_there_is_room_and_no_longer",),
    ),
    Twin(
        "takes whatever nobody awaits",
        "_outbox.py",
        """
        -        if len(self._queue) >= self._overrun:
        +        if len(self._queue) >= 2 * self._overrun:
                     raise OutboxFullError(
        """,
        "test_outbox.py",
        ("test_events_that_nobody_awaited_are_refused_beyond_the_overrun",),
    ),
    Twin(
        "never waits for the log",
        "_journal.py",
        """
        -        self.is_blocked = waiting >= self._limits.outbox_overrun
        -        return _Turn(self)
        +        return ACCEPTED

             def _turn(self) -> Awaitable[None]:
        """,
        "test_journal.py",
        (
            "test_awaiting_an_event_waits_while_more_wait_than_there_is_room_for",
            "test_events_that_nobody_awaits_are_refused_at_last",
        ),
    ),
    Twin(
        "has no bound on a queue",
        "_users.py",
        """
        -        if not replaced and len(thread.waiting) >= limits.queued_per_thread:
        +        if len(thread.waiting) < 0:
        """,
        "test_users.py",
        ("test_a_queue_is_bounded",),
    ),
    Twin(
        "has no bound on the runs of a user",
        "_users.py",
        """
        -        if self.places >= limits.runs_per_user:
        +        if self.places < 0:
        """,
        "test_users.py",
        ("test_no_more_threads_than_there_are_places",),
    ),
    Twin(
        "has no bound on the sessions of a user",
        "_endpoint.py",
        """
        -        if len(user.sessions) >= bound:
        +        if len(user.sessions) < 0:
        """,
        "test_endpoint_limits.py",
        ("test_a_session_too_many_is_refused_until_another_has_ended",),
    ),
    Twin(
        "has no bound on the rate of a user",
        "_buckets.py",
        """
        -        self._tokens = min(self._tokens + elapsed * per_second, float(self._capacity))
        +        self._tokens = 1.0
        """,
        "test_buckets.py",
        ("test_a_minutes_worth_may_come_at_once_and_no_more",),
    ),
    Twin(
        "has no bound on answers",
        "_delivery.py",
        """
        -        return waiting >= self._services.limits.pending_replies and not self.is_closed
        +        return waiting < 0
        """,
        "test_delivery_slow_consumers.py",
        ("test_one_that_does_not_read_and_goes_on_asking_is_not_answered_without_bound",),
    ),
    Twin(
        "has no bound on how far a session is behind",
        "_delivery.py",
        """
        -        if not waits and lag > bound and self._is_sending:
        -            self.finish("slow_consumer")
        -        elif watch.active is not None and (lag >= bound or not waits):
        +        if watch.active is not None and (lag >= bound or not waits):
                     watch.active.crowd(watch)
        """,
        "test_delivery_slow_consumers.py",
        ("test_one_that_falls_behind_by_more_than_the_bound_is_ended_and_told_and_counted",),
    ),
    Twin(
        "has no bound on a send",
        "_delivery.py",
        """
                 if self._is_stalled:
        -            self.finish("slow_consumer")
        +            pass
                 elif self.is_writing:
        """,
        "test_delivery.py",
        ("test_a_send_that_takes_longer_is_cut_and_its_session_ends_without_a_farewell",),
    ),
    Twin(
        "leaves out what a slow session missed",
        "_delivery.py",
        """
                 held = page.last_seq if watch.is_held_at(page) else 0
                 for kind, payload, seq, timestamp in page.events:
        +            if page.last_seq - seq > CROWD:
        +                watch.cursor = seq
        +                continue
        """,
        "test_delivery.py",
        ("test_a_long_past_run_is_resumed_at_the_pace_of_a_slow_socket",),
    ),
    Twin(
        "remembers every user for ever",
        "_users.py",
        """
        -            if now - since < MINUTE and len(self._idle) <= _IDLE_USERS:
        -                break
        +            break
        """,
        "test_endpoint_limits.py",
        ("test_of_users_that_left_nothing_is_known_a_minute_later",),
    ),
    Twin(
        "holds every event in memory",
        "eventlog/_memory_store.py",
        """
        -        while user.events > bounds.events or user.bytes > bounds.bytes:
        +        while False:
                     if user.evictable is not None:
        """,
        "test_memory_log.py",
        (
            "test_the_run_of_the_user_that_ended_first_loses_all_of_its_events",
            "test_bytes_are_those_of_the_payloads",
        ),
    ),
    Twin(
        "lets go of events in the middle of a run",
        "eventlog/_memory_store.py",
        """
        -        del run.events[:count]
        +        del run.events[1 : count + 1]
        """,
        "test_eventlog_conformance.py",
        ("test_the_log_in_memory_passes[a_page_has_no_gap_where_events_were_evicted]",),
    ),
)
