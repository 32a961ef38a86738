"""Programs of agents: what each step does, what is drawn, and that every run of one ends once."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from agent_messaging import (
    AgentMessageHandler,
    AgentRegistry,
    Clock,
    Endpoint,
    Message,
    Run,
)
from agent_messaging.testing import RecordingTransport, run_virtual, strategies
from agent_messaging.testing.strategies import (
    AgentProgram,
    Attempt,
    Chunk,
    Crash,
    Fail,
    Parallel,
    Progress,
    Sleep,
    Thinking,
    Tool,
    agent_programs,
)
from support import Json, chat, decoded, start_agent

ENDS: Final = {"agent_completed", "agent_failed", "agent_cancelled"}

#: The same examples each time, so that what is promised to occur either does or does not.
repeatable: Final = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],  # to explain a failure takes longer than to find it
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Many runs fail here on purpose; their log lines would bury what a test says."""
    caplog.set_level(logging.CRITICAL, logger="agent_messaging")


async def _events(program: AgentProgram, message: Message) -> list[Json]:
    client = RecordingTransport()
    clock = Clock(monotonic=asyncio.get_running_loop().time)
    handler = AgentMessageHandler(program, clock=clock)
    completed = await handler.handle_message("user-1", client, message)
    events = decoded(client.frames)
    assert completed is (events[-1]["type"] == "agent_completed")
    return events


def events_of(program: AgentProgram) -> list[Json]:
    """What a client gets of a run of the program."""
    return run_virtual(_events(program, chat()))


def told(program: AgentProgram) -> list[tuple[str, object]]:
    """The types and payloads of what it gets after the start."""
    return [
        (event["type"].removeprefix("agent_"), event["payload"]) for event in events_of(program)
    ][1:]


# Steps.


def test_a_program_without_steps_returns_its_result() -> None:
    assert told(AgentProgram()) == [("completed", {"result": None, "duration_ms": 0})]
    assert told(AgentProgram(returns=[1])) == [("completed", {"result": [1], "duration_ms": 0})]


def test_steps_are_done_one_after_the_other() -> None:
    program = AgentProgram((Thinking("a"), Chunk("b"), Sleep(2.5), Progress("c", {"d": 1})))
    assert told(program) == [
        ("thinking", {"text": "a"}),
        ("response_chunk", {"text": "b"}),
        ("progress", {"name": "c", "data": {"d": 1}}),
        ("completed", {"result": None, "duration_ms": 2500}),
    ]


def test_a_tool_has_steps_in_its_block_and_a_result_behind_them() -> None:
    inner = Tool("fetch", steps=(Sleep(1.0),))
    program = AgentProgram((Tool("search", {"q": 1}, (Chunk("a"), inner), result=["b"]),))
    assert told(program) == [
        (
            "tool_executing",
            {"tool_call_id": "call_1", "tool_name": "search", "arguments": {"q": 1}},
        ),
        ("response_chunk", {"text": "a"}),
        ("tool_executing", {"tool_call_id": "call_2", "tool_name": "fetch", "arguments": None}),
        ("tool_completed", completed("call_2", "fetch", None, 1000)),
        ("tool_completed", completed("call_1", "search", ["b"], 1000)),
        ("completed", {"result": None, "duration_ms": 1000}),
    ]


def completed(call: str, name: str, result: object, duration_ms: int) -> Json:
    return {
        "tool_call_id": call,
        "tool_name": name,
        "status": "ok",
        "result": result,
        "duration_ms": duration_ms,
    }


def test_branches_go_on_at_once() -> None:
    slow, quick = (Sleep(2.0), Chunk("slow")), (Sleep(1.0), Chunk("quick"))
    program = AgentProgram((Parallel((slow, quick)), Chunk("both")))
    texts = [payload for kind, payload in told(program) if kind == "response_chunk"]
    assert texts == [{"text": "quick"}, {"text": "slow"}, {"text": "both"}]
    assert events_of(program)[-1]["payload"]["duration_ms"] == 2000


def test_a_branch_that_fails_leaves_the_tools_of_the_others_interrupted() -> None:
    program = AgentProgram((Parallel(((Tool("search", steps=(Sleep(9.0),)),), (Fail("No."),))),))
    assert [(kind, payload) for kind, payload in told(program)][1:] == [
        (
            "tool_completed",
            {
                "tool_call_id": "call_1",
                "tool_name": "search",
                "status": "interrupted",
                "error": "The run ended before the tool did.",
                "duration_ms": 0,
            },
        ),
        (
            "failed",
            {"code": "agent_error", "message": "No.", "retryable": False, "duration_ms": 0},
        ),
    ]


def test_a_failure_is_told_in_its_words_and_a_crash_in_none() -> None:
    failed = {"code": "no_flights", "message": "No.", "retryable": True, "duration_ms": 0}
    assert told(AgentProgram((Fail("No.", "no_flights", retryable=True), Chunk("never")))) == [
        ("failed", failed)
    ]
    ((kind, payload),) = told(AgentProgram((Crash("private"),)))
    assert kind == "failed"
    assert "private" not in str(payload)


def test_what_is_attempted_may_fail() -> None:
    program = AgentProgram((Attempt((Chunk("a"), Crash("private"), Chunk("never"))), Chunk("b")))
    assert [payload for kind, payload in told(program) if kind == "response_chunk"] == [
        {"text": "a"},
        {"text": "b"},
    ]
    assert told(program)[-1][0] == "completed"


def test_any_coroutine_function_of_a_run_is_a_step_and_so_is_a_program() -> None:
    async def shout(run: Run) -> None:
        await run.chunk(run.request.upper())

    program = AgentProgram(
        (shout, AgentProgram((Tool("search", steps=(shout,)),), "unused")), "end"
    )
    kinds = [kind for kind, _ in told(program)]
    assert kinds == [
        *("response_chunk", "tool_executing", "response_chunk", "tool_completed", "completed")
    ]
    assert told(program)[-1][1] == {"result": "end", "duration_ms": 0}


def test_a_program_has_several_runs_at_once_and_stands_in_a_registry() -> None:
    program = AgentProgram((Sleep(1.0), Tool("search", steps=(Sleep(1.0),))), "end")
    agents = AgentRegistry()
    agents.register("travel", program)
    client = RecordingTransport()

    async def talk() -> None:
        async with Endpoint(AgentMessageHandler(agents), thread_policy="parallel") as endpoint:
            session = await endpoint.open("user-1", client)
            for number in range(3):
                message = start_agent(agent="travel", message_id=f"m{number}")
                await session.receive(json.dumps(message.to_dict()))

    run_virtual(talk())
    kinds = [frame["type"] for frame in decoded(client.frames) if "run_id" in frame]
    assert kinds.count("agent_started") == kinds.count("agent_completed") == 3
    assert kinds.index("agent_completed") > 6


# What is drawn.


def check_run(program: AgentProgram) -> list[Json]:
    """The events of one run: numbered, each tool paired, and one end, which is the last."""
    events = events_of(program)
    kinds = [event["type"] for event in events]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert kinds[0] == "agent_started"
    assert [kind for kind in kinds if kind in ENDS] == kinds[-1:]
    calls: dict[str, list[str]] = {kind: [] for kind in ("tool_executing", "tool_completed")}
    for event in events:
        if event["type"] in calls:
            calls[event["type"]].append(event["payload"]["tool_call_id"])
    assert sorted(calls["tool_executing"]) == sorted(calls["tool_completed"])
    return events


@repeatable
@given(agent_programs())
def test_every_program_ends_once_and_pairs_its_tools(program: AgentProgram) -> None:
    check_run(program)


@repeatable
@given(agent_programs(may_fail=False))
def test_programs_that_may_not_fail_complete_with_what_they_return(program: AgentProgram) -> None:
    end = check_run(program)[-1]
    assert end["type"] == "agent_completed"
    assert end["payload"]["result"] == program.returns


@repeatable
@given(agent_programs(longest_sleep=0))
def test_programs_that_may_not_sleep_take_no_time(program: AgentProgram) -> None:
    assert check_run(program)[-1]["payload"]["duration_ms"] == 0


@repeatable
@given(agent_programs())
def test_a_program_prints_as_the_python_that_makes_it(program: AgentProgram) -> None:
    assert eval(repr(program), dict(vars(strategies))) == program  # noqa: S307 - what it printed


def test_what_a_program_prints_leaves_out_the_defaults() -> None:
    steps = (Thinking("a"), Parallel(((Chunk("b"),), ())), Tool("c", steps=(Fail("d"),), result=1))
    assert repr(AgentProgram(steps, {"e": 2})) == (
        "AgentProgram((Thinking('a'), Parallel(((Chunk('b'),), ())), "
        "Tool('c', steps=(Fail('d'),), result=1)), returns={'e': 2})"
    )
    assert repr(AgentProgram()) == "AgentProgram(())"


def test_hypothesis_prints_a_program_in_that_way() -> None:
    @repeatable
    @given(agent_programs())
    def fail(program: AgentProgram) -> None:
        assert not program.steps

    with pytest.raises(AssertionError) as raised:
        fail()
    assert "program=AgentProgram((" in "".join(raised.value.__notes__)
    assert "_and_last" not in "".join(raised.value.__notes__)


def found(is_sought: Callable[[list[Json]], bool]) -> AgentProgram:
    """A drawn program of which a client gets such events."""
    drawing = settings(repeatable, max_examples=1000, phases=[Phase.generate])
    return find(agent_programs(), lambda program: is_sought(events_of(program)), settings=drawing)


def holds(kind: str, **payload: object) -> Callable[[list[Json]], bool]:
    """Whether an event of this type has these fields in its payload."""

    def is_held(events: list[Json]) -> bool:
        return any(
            event["type"] == kind and payload.items() <= event["payload"].items()
            for event in events
        )

    return is_held


def overlap(events: list[Json]) -> bool:
    """Whether a tool call ends before one that began after it."""
    calls = [
        (event["type"], event["payload"]["tool_call_id"])
        for event in events
        if event["type"].startswith("tool_")
    ]
    return any(
        first[0] == second[0] == "tool_executing" and third == ("tool_completed", first[1])
        for first, second, third in zip(calls, calls[1:], calls[2:], strict=False)
    )


def sleeps(events: list[Json]) -> bool:
    duration_ms: int = events[-1]["payload"]["duration_ms"]
    return duration_ms > 1000


SOUGHT: Final[dict[str, Callable[[list[Json]], bool]]] = {
    "an empty text": holds("agent_thinking", text=""),
    "a chunk": holds("agent_response_chunk"),
    "progress": holds("agent_progress"),
    "a tool": holds("tool_completed", status="ok"),
    "a tool that fails": holds("tool_completed", status="error"),
    "a tool that is interrupted": holds("tool_completed", status="interrupted"),
    "tools that overlap": overlap,
    "a result": holds("agent_completed"),
    "words": holds("agent_failed", code="no_flights"),
    "words of one that may be retried": holds("agent_failed", retryable=True),
    "a crash": holds("agent_failed", message="The agent failed."),
    "sleep": sleeps,
    "much": lambda events: len(events) > 20,
}


@pytest.mark.parametrize("what", SOUGHT)
def test_what_programs_are_said_to_do_is_drawn(what: str) -> None:
    found(SOUGHT[what])


def test_programs_shrink_to_the_one_that_does_nothing() -> None:
    limited = settings(repeatable, max_examples=200)
    assert find(agent_programs(), lambda _: True, settings=limited) == AgentProgram()
    failing = find(
        agent_programs(),
        lambda program: holds("agent_failed")(events_of(program)),
        settings=limited,
    )
    assert failing == AgentProgram((Crash(""),))
