"""What type checkers know of events: a closed union of immutable classes; never run."""

from dataclasses import replace
from typing import Literal, assert_never, assert_type

from agent_messaging import (
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
    MessageType,
    RunEvent,
    TerminalEvent,
    ToolCompleted,
    ToolExecuting,
    ToolStatus,
)


def a_match_over_every_event_is_exhaustive(event: RunEvent) -> str:
    match event:
        case AgentQueued(message_id=message_id, position=position):
            assert_type(position, int)
            return message_id
        case AgentStarted(message_id=message_id, agent=agent):
            assert_type(message_id, str)
            return agent
        case AgentThinking(text=text) | AgentResponseChunk(text=text):
            return text
        case AgentProgress(name=name, data=data):
            assert_type(data, object)
            return name
        case ToolExecuting(tool_call_id=_, tool_name=tool_name, arguments=arguments):
            assert_type(arguments, object)
            return tool_name
        case ToolCompleted(status=status, error=error, duration_ms=duration_ms):
            assert_type(status, ToolStatus)
            assert_type(error, str | None)
            assert_type(duration_ms, int)
            return status
        case AgentCompleted(result=result):
            assert_type(result, object)
            return ""
        case AgentFailed(code=code, message=message, retryable=retryable):
            assert_type(message, str)
            assert_type(retryable, bool)
            return code
        case AgentCancelled(reason=reason):
            assert_type(reason, CancelReason)
            return reason
        case _:
            assert_never(event)


def a_match_that_leaves_one_out_is_not(event: TerminalEvent) -> str:
    match event:
        case AgentCompleted():
            return "completed"
        case AgentFailed():
            return "failed"
        case _:
            assert_never(event)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def isinstance_narrows_as_match_does(event: TerminalEvent) -> str:
    if isinstance(event, AgentCompleted):
        return "completed"
    assert_type(event, AgentFailed | AgentCancelled)
    return "failed" if isinstance(event, AgentFailed) else event.reason


def the_type_on_the_wire_narrows_too(event: RunEvent) -> None:
    if event.type is MessageType.AGENT_STARTED:
        assert_type(event, AgentStarted)
    elif event.type == MessageType.TOOL_COMPLETED:
        assert_type(event, ToolCompleted)
    match event.type:
        case MessageType.AGENT_FAILED:
            assert_type(event, AgentFailed)
        case _:
            pass


def statuses_and_reasons_are_closed_too(status: ToolStatus, reason: CancelReason) -> str:
    match status:
        case "ok" | "error":
            pass
        case "interrupted":
            pass
        case _:
            assert_never(status)
    match reason:
        case "stopped" | "replaced" | "disconnected" | "shutdown":
            return "from outside"
        case "cancelled":
            return "by the host"
        case _:
            assert_never(reason)


def unions_contain_each_other(
    event: AgentEvent, end: TerminalEvent, any_event: RunEvent
) -> tuple[RunEvent, ...]:
    only_the_agents: AgentEvent = end  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    only_the_ends: TerminalEvent = any_event  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    return (event, end, AgentQueued(message_id="m1", position=1), only_the_agents, only_the_ends)


def a_type_belongs_to_its_class() -> None:
    assert_type(AgentQueued.type, Literal[MessageType.AGENT_QUEUED])
    assert_type(AgentStarted.type, Literal[MessageType.AGENT_STARTED])
    assert_type(AgentThinking.type, Literal[MessageType.AGENT_THINKING])
    assert_type(AgentResponseChunk.type, Literal[MessageType.AGENT_RESPONSE_CHUNK])
    assert_type(AgentProgress.type, Literal[MessageType.AGENT_PROGRESS])
    assert_type(ToolExecuting.type, Literal[MessageType.TOOL_EXECUTING])
    assert_type(ToolCompleted.type, Literal[MessageType.TOOL_COMPLETED])
    assert_type(AgentCompleted.type, Literal[MessageType.AGENT_COMPLETED])
    assert_type(AgentFailed.type, Literal[MessageType.AGENT_FAILED])
    assert_type(AgentCancelled.type, Literal[MessageType.AGENT_CANCELLED])


def it_is_no_argument() -> None:
    AgentThinking(type=MessageType.AGENT_FAILED, text="")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def fields_are_given_by_name() -> None:
    AgentQueued("m1", 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentStarted("m1", "agent")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentThinking("text")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentResponseChunk("text")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentProgress("name")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ToolExecuting("call_1", "search")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ToolCompleted("call_1", "search")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentCompleted("result")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentFailed("code", "message")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentCancelled("stopped")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def fields_that_have_no_default_must_be_given() -> None:
    AgentQueued(message_id="m1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentStarted(message_id="m1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentThinking()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentResponseChunk()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentProgress()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ToolExecuting(tool_name="search")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ToolCompleted(tool_name="search")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentFailed(code="code")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AgentCancelled()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(AgentCompleted(), AgentCompleted)


def fields_have_their_types() -> None:
    AgentThinking(text=b"")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentQueued(message_id="m1", position="first")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ToolCompleted(tool_call_id="c", tool_name="t", status="failed")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentCancelled(reason="bored")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentFailed(code="c", message=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def no_field_can_be_assigned(
    queued: AgentQueued,
    started: AgentStarted,
    thinking: AgentThinking,
    chunk: AgentResponseChunk,
    progress: AgentProgress,
    executing: ToolExecuting,
    tool: ToolCompleted,
    completed: AgentCompleted,
    failed: AgentFailed,
    cancelled: AgentCancelled,
) -> None:
    queued.position = 0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    started.agent = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    thinking.text = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    chunk.text = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    progress.data = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    executing.arguments = {}  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    tool.status = "ok"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    completed.result = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    failed.code = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    cancelled.reason = "stopped"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    thinking.type = MessageType.AGENT_THINKING  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def a_changed_copy_is_of_the_same_class(failed: AgentFailed) -> None:
    assert_type(replace(failed, retryable=True), AgentFailed)


def every_event_has_a_payload(event: RunEvent) -> None:
    assert_type(event.payload(), dict[str, object])


def the_golden_path_is_five_types() -> None:
    path: tuple[MessageType, MessageType, MessageType, MessageType, MessageType] = GOLDEN_PATH
    assert_type(path.index(MessageType.TOOL_EXECUTING), int)
    GOLDEN_PATH[5]  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    GOLDEN_PATH[0] = MessageType.CHAT  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
