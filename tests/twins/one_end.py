"""Every accepted message ends in exactly one terminal event, and nothing of that run follows it."""

from typing import Final

from twins.twin import Twin

TWINS: Final = (
    # Whatever the agent does.
    Twin(
        "ends no run whose agent raises a base exception",
        "_run.py",
        """
        -    except BaseException as caught:  # noqa: BLE001 - whatever an agent does, its run ends
        +    except Exception as caught:
                 outcome.error = caught
        """,
        "test_handler_endings.py",
        ("test_a_base_exception_is_raised_on_after_the_terminal_event",),
    ),
    Twin(
        "ends no run whose result will not encode",
        "_run.py",
        """
        -    except PayloadError as error:
        -        if isinstance(event, AgentCompleted) or _words(outcome.error) is not None:
        +    except PayloadError as error:
        +        if isinstance(event, AgentCompleted):
        +            raise
        +        if _words(outcome.error) is not None:
        """,
        "test_handler.py",
        ("test_a_result_that_will_not_encode_is_an_agent_error",),
    ),
    Twin(
        "ends no run whose tools are open",
        "_emitter.py",
        """
                 payload["duration_ms"] = duration_ms
                 text = self._dialect.encode_payload(payload)
        -        self._interrupt_tools()
                 self._post(event.type, text, None, "")
        """,
        "test_run_tools.py",
        ("test_open_tools_are_interrupted_at_the_end_the_oldest_first",),
    ),
    Twin(
        "lets a run that was cancelled complete",
        "_run.py",
        """
        -        if cancelled or emitter.failed or outcome.reason is not None:
        +        if emitter.failed or outcome.reason is not None:
        """,
        "test_handler_endings.py",
        (
            "test_a_cancelled_run_ends_as_cancelled_whatever_the_agent_does_about_it",
            "test_a_cancellation_that_comes_with_the_agents_last_step_counts",
        ),
    ),
    Twin(
        "takes an agents own cancellation for one of the run",
        "_cancellation.py",
        """
                 cancels = self._task.cancelling() - len(self._groups)
        +        if isinstance(error, asyncio.CancelledError):
        +            return True
        """,
        "test_handler_own_cancellations.py",
        ("test_a_cancellation_that_nobody_asked_for_is_an_agent_error",),
    ),
    # Time-out, stop, disconnect, shutdown.
    Twin(
        "never ends a run whose time is over",
        "_run.py",
        """
        -            limit = timeout_after(timeout)
        +            limit = timeout_after(None)
        """,
        "test_handler_endings.py",
        ("test_a_run_that_takes_too_long_fails_with_timeout_whatever_the_agent_does_about_it",),
    ),
    Twin(
        "tells a time out as what the agent made of it",
        "_run.py",
        """
        -        elif timed_out:
        -            _conclude(emitter, outcome, _TIMED_OUT)
        """,
        "test_handler_endings.py",
        ("test_a_run_that_takes_too_long_fails_with_timeout_whatever_the_agent_does_about_it",),
    ),
    Twin(
        "cancels a run whose task has not begun",
        "_active_run.py",
        """
        -        if self._has_begun:
        -            # Before its first step a task that is cancelled would run none of its code.
        -            self._task.cancel()
        +        self._task.cancel()
        @@
                 self._services.tasks.settle(task)
        -        if not self.is_ended:
        -            # Somebody else cancelled it before its first step, and none of its code ran.
        -            self._end_from_outside()
        """,
        "test_control_lane.py",
        ("test_a_message_that_is_stopped_before_its_first_step_has_a_start_and_an_end",),
    ),
    Twin(
        "ends no run whose task a stranger cancels",
        "_active_run.py",
        """
                 self._services.tasks.settle(task)
        -        if not self.is_ended:
        -            # Somebody else cancelled it before its first step, and none of its code ran.
        -            self._end_from_outside()
        """,
        "test_delivery_interrupted.py",
        ("test_a_run_that_is_cancelled_by_a_stranger_has_its_end",),
    ),
    Twin(
        "ends no run that is stopped while it waits",
        "_active_run.py",
        """
                 if self._task is None:
        -            if self._is_accepted:
        -                self._end_from_outside()
                     return
        """,
        "test_control_lane.py",
        ("test_a_thread_is_stopped_with_all_that_waits_and_none_of_it_begins",),
    ),
    Twin(
        "leaves a run running for nobody",
        "_active_run.py",
        """
                 if seconds:
                     self._set_timer(seconds, lambda: self.cancel("disconnected"))
        -        else:
        -            self.cancel("disconnected")
        """,
        "test_disconnect_policies.py",
        ("test_runs_that_are_left_end_as_the_policy_says[last-cancel, running]",),
    ),
    Twin(
        "leaves runs running when it shuts down",
        "_endpoint.py",
        """
                 finally:
        -            self._users.cancel("shutdown")
        +            pass
                 await self._see_out()
        """,
        "test_endpoint_draining.py",
        ("test_what_is_left_after_the_time_is_cancelled_and_what_waits_never_begins",),
    ),
    Twin(
        "waits for ever for an agent that does not end",
        "_active_run.py",
        """
                 task.add_done_callback(self._services.abandoned.discard)
        -        self._end_from_outside()
        """,
        "test_endpoint_stubborn_agents.py",
        ("test_a_stop_returns_and_frees_the_thread",),
    ),
    Twin(
        "leaves the runs of a process that was killed",
        "_recovery.py",
        """
        -        for seq, event in enumerate((*ends, failure), record.last_seq + 1)
        +        for seq, event in enumerate(ends, record.last_seq + 1)
        """,
        "test_upkeep.py",
        ("test_a_run_whose_owner_is_gone_is_ended_with_its_open_tools",),
    ),
    # Nothing follows it.
    Twin(
        "lets an event follow the end",
        "_lifecycle.py",
        """
        -    RunState.DONE: {},
        +    RunState.DONE: {MessageType.AGENT_PROGRESS: RunState.DONE},
        """,
        "test_lifecycle.py",
        (
            "test_the_public_table_is_the_documented_one",
            "test_every_event_in_every_state",
        ),
    ),
    Twin(
        "lets a run go on after its end",
        "_lifecycle.py",
        """
                 MessageType.TOOL_COMPLETED: RunState.RUNNING,
        -        MessageType.AGENT_COMPLETED: RunState.DONE,
        +        MessageType.AGENT_COMPLETED: RunState.RUNNING,
        """,
        "test_handler_endings.py",
        ("test_what_a_sub_task_emits_after_the_end_is_refused",),
    ),
    Twin(
        "ends a run once more that an agent had ended",
        "_run.py",
        """
        -    if not _is_relayed(emitter, outcome):
        -        reason: CancelReason = "disconnected" if emitter.failed else "cancelled"
        +    if True:
        +        reason: CancelReason = "disconnected" if emitter.failed else "cancelled"
        """,
        "test_emitter.py",
        ("test_a_relayed_end_is_the_end_and_interrupts_open_tools_first",),
    ),
    Twin(
        "ends a run that an agent was abandoned in twice",
        "_active_run.py",
        """
                 if self.is_ended:
        -            return  # it was abandoned, and its agent returned at last
        +            pass
        """,
        "test_endpoint_stubborn_agents.py",
        ("test_what_an_abandoned_agent_emits_is_refused_and_its_result_is_nobodys",),
    ),
    Twin(
        "lets a finished run in the log grow",
        "eventlog/memory.py",
        """
        -        if run.is_ended:
        -            raise LeaseLost("the run has ended")
        """,
        "test_eventlog_conformance.py",
        ("test_the_log_in_memory_passes[a_finished_run_takes_no_more_events]",),
    ),
)
