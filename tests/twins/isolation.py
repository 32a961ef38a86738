"""Isolation by construction: each lookup within a user, and another's run looks like no run."""

from typing import Final

from twins.twin import Twin

#: A run is looked for in all users: what the log is asked, and what its users come to see.
OF_ANY_USER: Final = """
         user = self._store.users.get(user_id)
+        user = next((u for u in self._store.users.values() if run_id in u.runs), user)
         if user is None:
             self._check_open()  # a closed log knows no user
"""

TWINS: Final = (
    Twin(
        "takes the user from the frame",
        "_handler.py",
        """
        -    if message.user_id is not None and message.user_id != user_id:
        +    if False:
                 raise RemoteError(
        @@
                 context = RunContext(
        -            user_id=user_id,
        +            user_id=message.user_id or user_id,
                     thread_id=message.thread_id or made_id(self._new_id),
        """,
        "test_failure_modes.py",
        ("test_the_user_is_the_connections_whatever_a_frame_says",),
    ),
    Twin(
        "lets a message in anothers name pass",
        "_handler.py",
        """
        -    if message.user_id is not None and message.user_id != user_id:
        +    if message.user_id == "":
                 raise RemoteError(
        """,
        "test_router.py",
        ("test_a_message_in_anothers_name_reaches_no_handler",),
    ),
    Twin(
        "finds runs by their ids alone",
        "eventlog/memory.py",
        OF_ANY_USER,
        "test_hostile_isolation.py",
        (
            "test_what_is_anothers_is_answered_exactly_as_what_does_not_exist",
            "test_an_attacker_is_sent_nothing_of_the_owners",
        ),
    ),
    Twin(
        "resumes another users run",
        "eventlog/memory.py",
        OF_ANY_USER,
        "test_session_resuming.py",
        ("test_another_users_runs_are_resumed_as_runs_that_there_are_not",),
    ),
    Twin(
        "stops another users run",
        "eventlog/memory.py",
        OF_ANY_USER,
        "test_control_lane.py",
        ("test_another_users_run_is_stopped_as_one_that_there_is_not_the_log_asked_the_same",),
    ),
    Twin(
        "admits that another user has such a run",
        "eventlog/memory.py",
        """
                 \"""The run, or None.\"""
                 run = self._find(user_id, run_id)
        +        if run is None and any(run_id in user.runs for user in self._store.users.values()):
        +            raise EventLogError("that run is another user's")
        """,
        "test_hostile_isolation.py",
        ("test_what_is_anothers_is_answered_exactly_as_what_does_not_exist",),
    ),
    Twin(
        "finds messages by their ids alone",
        "eventlog/memory.py",
        """
                 user = store.users.get(lease.user_id)
        +        user = next((u for u in store.users.values() if message_id in u.claims), user)
                 if user is None:
                     user = User(lease.user_id)
        """,
        "test_intake_claims.py",
        ("test_the_same_message_of_two_users_is_two_messages",),
    ),
    Twin(
        "takes users whose names look alike for one",
        "_users.py",
        """
                 user = self._users.get(user_id)
                 if user is None:
        +            user_id = user_id.casefold()
                     user, _ = self._idle.pop(user_id, (None, 0.0))
        """,
        "test_hostile_isolation.py",
        ("test_users_whose_names_look_alike_share_nothing",),
    ),
    Twin(
        "takes all sockets of a kind for one",
        "_outbox.py",
        """
             if isinstance(send, MethodType):
        -        return (id(send.__self__), id(send.__func__))
        +        return id(send.__func__)
        """,
        "test_outbox_pool.py",
        ("test_equal_sockets_are_two_connections",),
    ),
    Twin(
        "has one bucket for all",
        "_users.py",
        """
                         user = User(user_id, self._limits, now, self._set_idle)
        +                for other in self._users.values():
        +                    user.messages = other.messages
        """,
        "test_endpoint_limits.py",
        ("test_a_user_has_one_bucket_over_all_sessions_and_another_user_another",),
    ),
    Twin(
        "lets an agent change whose run it is",
        "_run.py",
        """
         @final
        -@dataclass(frozen=True, slots=True, kw_only=True)
        +@dataclass(slots=True, kw_only=True)
         class RunContext:
        """,
        "test_run.py",
        ("test_a_context_is_frozen_and_its_metadata_empty_where_the_host_gave_none",),
    ),
    Twin(
        "lets what an agent sets reach the transport",
        "_outbox.py",
        """
        -            self._write(), name="agent_messaging outbox", context=self._context
        +            self._write(), name="agent_messaging outbox"
        """,
        "test_handler.py",
        ("test_what_an_agent_sets_in_its_context_does_not_reach_the_transport",),
    ),
    Twin(
        "loses the context in which a message was received",
        "_active_run.py",
        """
        -from contextvars import copy_context
        +from contextvars import Context as copy_context
        """,
        "test_endpoint.py",
        ("test_each_run_is_in_a_copy_of_the_context_in_which_its_message_was_received",),
    ),
)
