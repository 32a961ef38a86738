"""What type checkers know of the strategies for hosts' tests; never run."""

from typing import assert_type

from hypothesis.strategies import SearchStrategy

from agent_messaging import (
    AgentLike,
    AgentMessageHandler,
    AgentRegistry,
    ErrorCode,
    Limits,
    Message,
    MessageType,
    Run,
)
from agent_messaging.testing.strategies import (
    AgentProgram,
    Attempt,
    Chunk,
    Crash,
    Fail,
    NearValidFrame,
    Parallel,
    Progress,
    Sleep,
    Step,
    Thinking,
    Tool,
    agent_programs,
    frames,
    ids,
    json_values,
    messages,
    near_valid_frames,
)


def each_strategy_says_what_it_draws() -> None:
    assert_type(json_values(), SearchStrategy[object])
    assert_type(ids(), SearchStrategy[str])
    assert_type(messages(), SearchStrategy[Message])
    assert_type(frames(), SearchStrategy[str | bytes])
    assert_type(near_valid_frames(), SearchStrategy[NearValidFrame])
    assert_type(agent_programs(), SearchStrategy[AgentProgram])


def types_are_given_by_position_and_the_rest_by_name() -> None:
    messages("chat", MessageType.PING, user_id="u", agents=["a", "b"])
    frames("order", user_id=None, agents=())
    near_valid_frames(user_id="u", limits=Limits())
    agent_programs(may_fail=False, longest_sleep=0)
    messages(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    near_valid_frames("u")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    agent_programs(False)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_frame_that_is_nearly_valid_says_what_is_wrong(near_valid: NearValidFrame) -> None:
    assert_type(near_valid.frame, str | bytes)
    assert_type(near_valid.fault, str)
    assert_type(near_valid.code, ErrorCode | None)
    near_valid.code = None  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def own_step(run: Run) -> int:
    return len(run.request)


def plain_function(run: Run) -> int:
    return len(run.request)


def a_program_is_an_agent_and_a_step(program: AgentProgram) -> None:
    agent: AgentLike = program
    AgentMessageHandler(program)
    AgentRegistry().register("program", program)
    steps: tuple[Step, ...] = (
        program,
        own_step,
        Thinking("a"),
        Chunk("a"),
        Progress("a", {"b": 1}),
        Sleep(1),
        Tool("a", steps=(own_step, program), result=1),
        Parallel(((own_step,), (Sleep(1.0), program))),
        Attempt((Fail("a", code="b", retryable=True), Crash("a"))),
    )
    AgentProgram(steps, returns=agent)
    AgentProgram((plain_function,))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AgentProgram([own_step])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def what_a_program_returns_is_an_object(program: AgentProgram, run: Run) -> None:
    assert_type(await program(run), object)
    assert_type(program.steps, tuple[Step, ...])
