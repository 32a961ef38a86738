"""What the parts of an endpoint share."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, final

from agent_messaging._emitter import Clock
from agent_messaging._endpoint_stats import EndpointCounters
from agent_messaging._limits import Limits
from agent_messaging._policies import OnDisconnect, SlowConsumers, ThreadPolicy
from agent_messaging._tasks import Tasks
from agent_messaging.dialects.native import NativeDialect
from agent_messaging.eventlog.protocol import EventLog

__all__ = ["Services"]


@final
@dataclass(slots=True, kw_only=True)
class Services:
    """The log, the limits, the policies and the bookkeeping of one endpoint; times in seconds."""

    log: EventLog
    dialect: NativeDialect
    limits: Limits
    clock: Clock
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
    counters: EndpointCounters = field(default_factory=EndpointCounters)
    tasks: Tasks = field(default_factory=Tasks)
    #: The tasks of agents that did not end in time; they may outlive the endpoint.
    abandoned: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])
    is_draining: bool = False
