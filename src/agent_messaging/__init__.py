"""The message layer between a chat front end and AI agents, with the socket left out."""

from agent_messaging._emitter import Clock
from agent_messaging._endpoint import Endpoint
from agent_messaging._endpoint_stats import (
    ActiveRunInfo,
    ActiveRunState,
    DurationHistogram,
    EndpointStats,
    UserStats,
)
from agent_messaging._errors import (
    AgentError,
    AgentMessagingError,
    ConfigurationError,
    ErrorCode,
    EventLogError,
    LeaseLost,
    LifecycleError,
    LocalError,
    OutboxFullError,
    PayloadError,
    RemoteError,
    TransportError,
)
from agent_messaging._events import (
    GOLDEN_PATH,
    AgentCancelled,
    AgentCompleted,
    AgentEvent,
    AgentFailed,
    AgentProgress,
    AgentQueued,
    AgentResponseChunk,
    AgentStarted,
    AgentThinking,
    CancelReason,
    Outcome,
    RunEvent,
    TerminalEvent,
    ToolCompleted,
    ToolExecuting,
    ToolStatus,
)
from agent_messaging._handler import AgentMessageHandler, FinishHook, MessageHandler, RunFinished
from agent_messaging._lifecycle import TRANSITIONS, GoldenPathReport, RunLifecycle, RunState
from agent_messaging._limits import Limits
from agent_messaging._messages import Message, MessageType
from agent_messaging._outbox import (
    SendsAny,
    SendsStr,
    SendsText,
    Transport,
    WebSocketLike,
    as_transport,
)
from agent_messaging._policies import Grace, OnDisconnect, SlowConsumers, ThreadPolicy, grace
from agent_messaging._registry import AgentFunction, AgentLike, AgentRegistry, MessageHandlerService
from agent_messaging._router import MessageRouter
from agent_messaging._run import Run, RunContext, ToolCall
from agent_messaging._session import Session
from agent_messaging._session_end import CloseCallback, SessionEnd, SessionEndReason
from agent_messaging._stats import DurationStats, HandlerStats, ProcessingStats, RouterStats
from agent_messaging._stream import Stream
from agent_messaging.dialects.native import NativeDialect
from agent_messaging.eventlog.memory import MemoryEventLog
from agent_messaging.eventlog.protocol import (
    APPENDED,
    EventLog,
    EventPage,
    Lease,
    LoggedEvent,
    Notice,
    RunRecord,
    RunStatus,
    TakenRun,
)

__all__ = [
    "APPENDED",
    "GOLDEN_PATH",
    "TRANSITIONS",
    "ActiveRunInfo",
    "ActiveRunState",
    "AgentCancelled",
    "AgentCompleted",
    "AgentError",
    "AgentEvent",
    "AgentFailed",
    "AgentFunction",
    "AgentLike",
    "AgentMessageHandler",
    "AgentMessagingError",
    "AgentProgress",
    "AgentQueued",
    "AgentRegistry",
    "AgentResponseChunk",
    "AgentStarted",
    "AgentThinking",
    "CancelReason",
    "Clock",
    "CloseCallback",
    "ConfigurationError",
    "DurationHistogram",
    "DurationStats",
    "Endpoint",
    "EndpointStats",
    "ErrorCode",
    "EventLog",
    "EventLogError",
    "EventPage",
    "FinishHook",
    "GoldenPathReport",
    "Grace",
    "HandlerStats",
    "Lease",
    "LeaseLost",
    "LifecycleError",
    "Limits",
    "LocalError",
    "LoggedEvent",
    "MemoryEventLog",
    "Message",
    "MessageHandler",
    "MessageHandlerService",
    "MessageRouter",
    "MessageType",
    "NativeDialect",
    "Notice",
    "OnDisconnect",
    "OutboxFullError",
    "Outcome",
    "PayloadError",
    "ProcessingStats",
    "RemoteError",
    "RouterStats",
    "Run",
    "RunContext",
    "RunEvent",
    "RunFinished",
    "RunLifecycle",
    "RunRecord",
    "RunState",
    "RunStatus",
    "SendsAny",
    "SendsStr",
    "SendsText",
    "Session",
    "SessionEnd",
    "SessionEndReason",
    "SlowConsumers",
    "Stream",
    "TakenRun",
    "TerminalEvent",
    "ThreadPolicy",
    "ToolCall",
    "ToolCompleted",
    "ToolExecuting",
    "ToolStatus",
    "Transport",
    "TransportError",
    "UserStats",
    "WebSocketLike",
    "as_transport",
    "grace",
]

# What users see in tracebacks, documentation and pickles is where they import it from.
for _public in [globals()[name] for name in __all__]:
    if hasattr(_public, "__qualname__") and _public.__module__.startswith(f"{__name__}."):
        _public.__module__ = __name__
