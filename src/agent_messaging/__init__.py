"""The message layer between a chat front end and AI agents, with the socket left out."""

from agent_messaging._emitter import Clock
from agent_messaging._errors import (
    AgentError,
    AgentMessagingError,
    ConfigurationError,
    ErrorCode,
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
from agent_messaging._registry import AgentFunction, AgentLike, AgentRegistry, MessageHandlerService
from agent_messaging._router import MessageRouter
from agent_messaging._run import Run, RunContext, ToolCall
from agent_messaging._stats import DurationStats, HandlerStats, ProcessingStats, RouterStats
from agent_messaging.dialects.native import NativeDialect

__all__ = [
    "GOLDEN_PATH",
    "TRANSITIONS",
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
    "ConfigurationError",
    "DurationStats",
    "ErrorCode",
    "FinishHook",
    "GoldenPathReport",
    "HandlerStats",
    "LifecycleError",
    "Limits",
    "LocalError",
    "Message",
    "MessageHandler",
    "MessageHandlerService",
    "MessageRouter",
    "MessageType",
    "NativeDialect",
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
    "RunState",
    "SendsAny",
    "SendsStr",
    "SendsText",
    "TerminalEvent",
    "ToolCall",
    "ToolCompleted",
    "ToolExecuting",
    "ToolStatus",
    "Transport",
    "TransportError",
    "WebSocketLike",
    "as_transport",
]

# What users see in tracebacks, documentation and pickles is where they import it from.
for _public in [globals()[name] for name in __all__]:
    if getattr(_public, "__module__", "").startswith(f"{__name__}."):
        _public.__module__ = __name__
