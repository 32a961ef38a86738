"""What the parts of an endpoint share."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, final, get_args

from agent_messaging._checks import check_seconds, check_word
from agent_messaging._deadlines import Deadlines
from agent_messaging._emitter import Clock
from agent_messaging._endpoint_stats import EndpointCounters
from agent_messaging._limits import Limits
from agent_messaging._policies import Grace, OnDisconnect, SlowConsumers, ThreadPolicy
from agent_messaging._tasks import Tasks
from agent_messaging.dialects.native import NativeDialect
from agent_messaging.eventlog.protocol import EventLog

__all__ = ["Services"]


@final
@dataclass(slots=True, kw_only=True)
class Services:
    """The log, the limits, the policies and the bookkeeping of one endpoint; times in seconds.

    Raises:
        ConfigurationError: a policy or a time is not what it has to be.
    """

    log: EventLog
    dialect: NativeDialect
    limits: Limits
    clock: Clock
    #: Where the times of runs come from; None for the clocks of their handlers.
    run_clock: Clock | None
    thread_policy: ThreadPolicy
    on_disconnect: OnDisconnect
    slow_consumers: SlowConsumers
    cancel_grace: float
    slow_consumer_grace: float
    send_timeout: float
    final_send_timeout: float
    idle_timeout: float | None
    heartbeat: float | None
    log_timeout: float
    lease_seconds: float
    counters: EndpointCounters = field(default_factory=EndpointCounters)
    tasks: Tasks = field(default_factory=Tasks)
    #: The tasks of agents that did not end in time; they may outlive the endpoint.
    abandoned: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])
    is_draining: bool = False
    #: The reports of runs that have ended, and whose events have not all been delivered yet.
    reports: Deadlines = field(init=False)

    def __post_init__(self) -> None:
        check_word("thread_policy", self.thread_policy, get_args(ThreadPolicy))
        check_word("slow_consumers", self.slow_consumers, get_args(SlowConsumers))
        if not isinstance(self.on_disconnect, Grace):
            check_word("on_disconnect", self.on_disconnect, ("cancel", "detach"))
        for name in _SECONDS:
            check_seconds(name, getattr(self, name))
        for name in _SECONDS_OR_NONE:
            if getattr(self, name) is not None:
                check_seconds(name, getattr(self, name))
        self.reports = Deadlines(self.final_send_timeout)


_SECONDS: Final = (
    "cancel_grace",
    "slow_consumer_grace",
    "send_timeout",
    "final_send_timeout",
    "log_timeout",
    "lease_seconds",
)
_SECONDS_OR_NONE: Final = ("idle_timeout", "heartbeat")
