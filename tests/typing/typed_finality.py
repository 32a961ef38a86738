"""No concrete class is for inheriting from, and type checkers say so; never run."""

from agent_messaging import (
    ActiveRunInfo,
    AgentCancelled,
    AgentCompleted,
    AgentError,
    AgentFailed,
    AgentMessageHandler,
    AgentMessagingError,
    AgentProgress,
    AgentQueued,
    AgentRegistry,
    AgentResponseChunk,
    AgentStarted,
    AgentThinking,
    Clock,
    ConfigurationError,
    Endpoint,
    ErrorCode,
    EventLog,
    EventLogError,
    EventPage,
    GoldenPathReport,
    Grace,
    Lease,
    LeaseLost,
    LifecycleError,
    Limits,
    LocalError,
    LoggedEvent,
    MemoryEventLog,
    Message,
    MessageHandler,
    MessageHandlerService,
    MessageRouter,
    MessageType,
    NativeDialect,
    OutboxFullError,
    PayloadError,
    RemoteError,
    Run,
    RunContext,
    RunFinished,
    RunLifecycle,
    RunRecord,
    RunState,
    Session,
    SessionEnd,
    Stream,
    TakenRun,
    ToolCall,
    ToolCompleted,
    ToolExecuting,
    TransportError,
)
from agent_messaging.compat import AdaptedService, FormerWebSocket


class MyActiveRunInfo(ActiveRunInfo): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAdaptedService(AdaptedService): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentCancelled(AgentCancelled): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentCompleted(AgentCompleted): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentError(AgentError): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentFailed(AgentFailed): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentMessageHandler(AgentMessageHandler): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentProgress(AgentProgress): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentQueued(AgentQueued): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentRegistry(AgentRegistry): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentResponseChunk(AgentResponseChunk): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentStarted(AgentStarted): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyAgentThinking(AgentThinking): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyClock(Clock): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyConfigurationError(ConfigurationError): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyEndpoint(Endpoint): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyErrorCode(ErrorCode): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyEventPage(EventPage): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyFormerWebSocket(FormerWebSocket): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyGoldenPathReport(GoldenPathReport): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyGrace(Grace): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyLease(Lease): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyLeaseLost(LeaseLost): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyLifecycleError(LifecycleError): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyLimits(Limits): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyLoggedEvent(LoggedEvent): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyMemoryEventLog(MemoryEventLog): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyMessage(Message): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyMessageRouter(MessageRouter): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyMessageType(MessageType): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyNativeDialect(NativeDialect): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyOutboxFullError(OutboxFullError): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyPayloadError(PayloadError): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyRemoteError(RemoteError): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyRun(Run): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyRunContext(RunContext): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyRunFinished(RunFinished): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyRunLifecycle(RunLifecycle): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyRunRecord(RunRecord): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyRunState(RunState): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MySession(Session): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MySessionEnd(SessionEnd): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyStream(Stream): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyTakenRun(TakenRun): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyToolCall(ToolCall): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyToolCompleted(ToolCompleted): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyToolExecuting(ToolExecuting): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyTransportError(TransportError): ...  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


class MyError(AgentMessagingError): ...


class MyLocalError(LocalError): ...


class MyEventLog(EventLog): ...


class MyEventLogError(EventLogError): ...


class MyHandler(MessageHandler): ...


class MyService(MessageHandlerService): ...
