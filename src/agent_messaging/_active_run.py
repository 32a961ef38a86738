"""A run that an endpoint owns, from its acceptance until it is reported."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, final

from agent_messaging._endpoint_stats import ActiveRunInfo, ActiveRunState
from agent_messaging._events import AgentQueued, CancelReason
from agent_messaging._handler import AgentMessageHandler
from agent_messaging._journal import Journal
from agent_messaging._lifecycle import RunState
from agent_messaging._log import log
from agent_messaging._messages import Message, MessageType
from agent_messaging._policies import seconds_left
from agent_messaging._run import Agent, RunContext, RunOutcome, cancel_run
from agent_messaging._services import Services
from agent_messaging._users import User, Watcher
from agent_messaging.eventlog.protocol import STATUS_AFTER, Lease, LoggedEvent, RunStatus

__all__ = ["ActiveRun"]

_logger: Final = logging.getLogger("agent_messaging.endpoint")

_DONE: Final = RunState.DONE


@final
class ActiveRun:
    """One run: queued, running or stopping, until its terminal event is in the log.

    Attributes:
        context: whose run it is.
        user: the same, as the endpoint knows it.
        journal: the way into the log.
        is_ended: whether its terminal event was appended, or the run is not ours any more.
    """

    __slots__ = (
        "_agent",
        "_claim_ended",
        "_crowding",
        "_delivered",
        "_emitter",
        "_end_callbacks",
        "_handler",
        "_has_begun",
        "_has_returned",
        "_is_accepted",
        "_is_cancelled",
        "_is_reported",
        "_is_turn",
        "_kept_until",
        "_message",
        "_outcome",
        "_request",
        "_run",
        "_services",
        "_task",
        "_timer",
        "_variables",
        "_watches",
        "context",
        "is_ended",
        "journal",
        "lease",
        "user",
    )

    def __init__(
        self,
        services: Services,
        user: User,
        handler: AgentMessageHandler,
        message: Message,
        assignment: tuple[str, Agent],
        context: RunContext,
        lease: Lease,
    ) -> None:
        self.context = context
        self.user = user
        self.lease = lease
        self.journal = Journal(
            services.log,
            lease,
            services.limits,
            services.tasks,
            timeout=services.log_timeout,
            waits=services.slow_consumers == "wait",
            lost=self._lost,
        )
        self.is_ended = False
        self._services = services
        self._handler = handler
        self._message = message
        self._request, self._agent = assignment
        self._variables = copy_context()
        self._outcome = RunOutcome()
        self._task: asyncio.Task[None] | None = None
        self._has_begun = False
        #: Or is waited for no more. Not as soon as the end is decided: an agent may relay its end,
        #: and go on.
        self._has_returned = False
        self._is_cancelled = False
        self._is_accepted = False
        self._is_turn = False
        self._is_reported = False
        self._watches: dict[Watcher, None] = {}
        #: Those of them that fall behind.
        self._crowding: set[Watcher] = set()
        #: When the last grace is over that a session which was too slow has left it, and when
        #: sessions elsewhere are to have said again that they watch it.
        self._kept_until = 0.0
        self._delivered = 0
        #: One at a time: until the run is cancelled for nobody, until its agent is abandoned.
        self._timer: asyncio.TimerHandle | None = None
        self._end_callbacks: list[Callable[[], None]] = []
        self._claim_ended: asyncio.Event | None = None

    def accept(self) -> None:
        """The claim is committed: begin, or wait for the thread; its turn may have come already."""
        self._run, self._emitter = self._handler.route(
            self.context,
            self._message,
            self._request,
            LoggedEvent,
            self.journal,
            self._services.run_clock,
        )
        self._is_accepted = True
        self._end_claim()
        self.user.runs[self.context.run_id] = self
        self._services.counters.accepted += 1
        position = self.user.position(self)
        if position:
            queued = AgentQueued(message_id=self.context.message_id, position=position)
            self._emitter.decide(queued)
        else:
            self._is_turn = True
        if self._is_decided:
            return  # the lease was lost with its first event
        if self._outcome.reason is not None:
            self._end_from_outside()
        elif self._is_turn:
            self._begin()
        if not self._watches:
            self._unwatched()

    def take_turn(self) -> None:
        """Begin, as the thread is free; at once, or when the claim is committed."""
        self._is_turn = True
        # One that was cancelled while it waited may still be on its way into the log.
        if self._is_accepted and not self._is_decided:
            self._begin()

    async def claimed(self) -> None:
        """Wait until the run is accepted, or was not after all."""
        if self._claim_ended is None:
            self._claim_ended = asyncio.Event()
        await self._claim_ended.wait()

    def _end_claim(self) -> None:
        self.user.claiming.pop(self.context.message_id, None)
        if self._claim_ended is not None:
            self._claim_ended.set()

    def withdraw(self) -> None:
        """Give the place in the thread back: the claim was not won."""
        self._end_claim()
        self._let_go()

    @property
    def is_accepted(self) -> bool:
        """Whether its claim was won; the client may know of it."""
        return self._is_accepted

    @property
    def is_ending(self) -> bool:
        """Whether its agent is done, and its place in the thread still taken."""
        is_done = self._has_returned or (self._is_decided and not self._emitter.has_relayed_end)
        return is_done and not self.is_ended

    @property
    def end(self) -> RunStatus | None:
        """How it has ended, as the log was told; None if it has not, or that is not known here."""
        outcome = self._emitter.lifecycle.outcome if self.is_ended else None
        return None if outcome is None or self.journal.failed else STATUS_AFTER[outcome]

    @property
    def needs_lease(self) -> bool:
        """Whether it is still to be written to the log, and may be."""
        is_done = self._has_returned or self._is_decided
        return not (is_done or self.is_ended or self.journal.failed)

    def lose_lease(self) -> None:
        """It is another owner's by now, or was forgotten: end the agent, and write nothing more."""
        if self.needs_lease:
            self.journal.lose()

    @property
    def info(self) -> ActiveRunInfo:
        """The run at this moment."""
        state: ActiveRunState = "running" if self._is_turn else "queued"
        if self._is_cancelled:
            state = "stopping"
        return ActiveRunInfo(
            run_id=self.context.run_id,
            thread_id=self.context.thread_id,
            message_id=self.context.message_id,
            agent=self._agent.name,
            state=state,
            watchers=len(self._watches),
            elapsed_ms=self._emitter.elapsed_ms,
        )

    # Its end.

    def cancel(self, reason: CancelReason) -> None:
        """Have it end as cancelled for this reason; the first reason counts.

        An agent that has not ended ``cancel_grace`` later is abandoned.
        """
        if self._is_cancelled or self._has_returned:
            return
        self._is_cancelled = True
        if not self._is_decided:
            self._outcome.reason = reason
        if self._task is None:
            if self._is_accepted:
                self._end_from_outside()
            return
        if self._has_begun:
            # Before its first step a task that is cancelled would run none of its code.
            self._task.cancel()
        self._set_timer(self._services.cancel_grace, self._abandon)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call this once the run has ended."""
        self._end_callbacks.append(callback)

    async def ended(self) -> None:
        """Wait until the run has ended, or was not accepted after all."""
        ended = asyncio.Event()
        self._end_callbacks.append(ended.set)
        await ended.wait()

    @property
    def _is_decided(self) -> bool:
        return self._is_accepted and self._emitter.lifecycle.state is _DONE

    def _begin(self) -> None:
        self._task = self._services.tasks.spawn(
            self._conduct(), f"run {self.context.run_id}", self._variables, self._task_done
        )

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._services.tasks.settle(task)
        if not self.is_ended:
            # Somebody else cancelled it before its first step, and none of its code ran.
            self._end_from_outside()

    async def _conduct(self) -> None:
        self._has_begun = True
        try:
            await self._handler.conduct(self._run, self._emitter, self._agent, self._outcome)
            self._has_returned = True
            if not self.journal.is_settled:
                await self.journal.settle()
        finally:
            self._end()
        raised = self._outcome.raised
        self._outcome.raised = None
        if raised is not None and not isinstance(raised, asyncio.CancelledError):
            raise raised
        self._services.tasks.leave(self._task, self._task_done)

    def _end_from_outside(self) -> None:
        """Decide the end of a run whose agent never began, or does not return."""
        self._has_returned = True
        cancel_run(self._run, self._emitter, self._agent, self._outcome)
        self._handler.count_end(self._run, self._outcome)
        if self.journal.is_settled:
            self._end()
        else:
            self._services.tasks.spawn(self._end_later(), f"end {self.context.run_id}")

    async def _end_later(self) -> None:
        try:
            await self.journal.settle()
        finally:
            self._end()

    def _abandon(self) -> None:
        task = self._task
        if task is None or self._has_returned:
            return  # its terminal event is on its way into the log
        self._services.counters.abandoned += 1
        fields: dict[str, object] = {
            "user_id": self.context.user_id,
            "thread_id": self.context.thread_id,
            "run_id": self.context.run_id,
            "agent": self._agent.name,
        }
        log(_logger, logging.ERROR, "agent_abandoned", fields)
        self._services.tasks.release(task)
        self._services.abandoned.add(task)
        task.add_done_callback(self._services.abandoned.discard)
        self._end_from_outside()

    def _lost(self, is_log_down: bool) -> None:
        """The journal can be written no more: end the agent, and tell nobody in its name."""
        if is_log_down:
            for watch in tuple(self._watches):
                watch.lose_log()
        self.cancel("cancelled")

    def _end(self) -> None:
        if self.is_ended:
            return  # it was abandoned, and its agent returned at last
        self.is_ended = True
        self._clear_timer()
        kind = self._emitter.lifecycle.outcome or MessageType.AGENT_CANCELLED
        self._services.counters.run_ended(kind, self._outcome.duration_ms)
        self.journal.close()
        self._let_go()
        if not self._watches or self._delivered == self._emitter.lifecycle.seq:
            self._report()
        else:
            self._services.reports.set(self._report)

    def _let_go(self) -> None:
        """Give the place in the thread to the next run, and tell those who wait for the end."""
        successor = self.user.release(self)
        for callback in self._end_callbacks:
            callback()
        self._end_callbacks.clear()
        if successor is not None:
            successor.take_turn()

    # Those who watch it.

    def join(self, watch: Watcher) -> None:
        """One more session watches."""
        if not (self._watches or self.is_ended or self._is_cancelled):
            self._clear_timer()
        self._watches[watch] = None

    def leave(self, watch: Watcher, grace: float) -> None:
        """A session watches no more; the run goes on for ``grace`` seconds at least."""
        self._watches.pop(watch, None)
        self.relieve(watch)
        self._keep(grace)
        if not self._watches:
            self._unwatched()

    def watched_elsewhere(self) -> None:
        """Sessions of another endpoint watch it; they say so again and again while they do."""
        self._keep(self._services.lease_seconds)
        if not self._watches:
            self._unwatched()

    def _keep(self, seconds: float) -> None:
        if seconds:
            until = asyncio.get_running_loop().time() + seconds
            self._kept_until = max(self._kept_until, until)

    def crowd(self, watch: Watcher) -> None:
        """A session that watches falls behind: leave it some turns of the loop."""
        self._crowding.add(watch)
        self.journal.is_crowded = True

    def relieve(self, watch: Watcher) -> None:
        """A session that watches has caught up; others may still be behind."""
        if watch in self._crowding:
            self._crowding.remove(watch)
            if not self._crowding:
                self.journal.relieve()

    def _unwatched(self) -> None:
        """Do what the policy says of a run that nobody watches."""
        if not self._is_accepted:
            return  # whoever claims it is to watch it
        if self.is_ended:
            self._report()
            return
        grace = self._kept_until - asyncio.get_running_loop().time()
        seconds = seconds_left(self._services.on_disconnect, max(grace, 0.0))
        if seconds is None or self._is_cancelled or self._is_decided:
            return
        if seconds:
            self._set_timer(seconds, lambda: self.cancel("disconnected"))
        else:
            self.cancel("disconnected")

    def delivered(self, kind: MessageType, seq: int) -> None:
        """A session's transport accepted an event; it counts when it is the first to."""
        if seq <= self._delivered or self._is_reported:
            return
        self._delivered = seq
        emitter = self._emitter
        emitter.receipt(kind, True)
        if self.is_ended and seq == emitter.lifecycle.seq:
            self._report()

    def _report(self) -> None:
        """Tell the handler's statistics, log and hook, once."""
        if self._is_reported:
            return
        self._is_reported = True
        self._services.reports.withdraw(self._report)
        undelivered = self._emitter.lifecycle.undelivered
        self._services.counters.undelivered += undelivered
        for _ in range(undelivered):
            self._emitter.receipt(MessageType.AGENT_CANCELLED, False)
        # A copy: the run's own task may be in the context at this moment.
        self._variables.copy().run(self._handler.report, self._run, self._outcome)

    def _set_timer(self, seconds: float, action: Callable[[], None]) -> None:
        self._clear_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
