"""Random agent programs over random transports: what every run guarantees, whatever it does."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent_messaging import AgentError, Limits
from agent_messaging.testing.strategies import (
    AgentProgram,
    Attempt,
    Chunk,
    Progress,
    Sleep,
    Step,
    Thinking,
    Tool,
    agent_programs,
)
from support import chat, start_agent, user_message
from support.acts import (
    PLACES,
    Block,
    CancelInner,
    Close,
    EmitForbidden,
    Finally,
    Group,
    Halt,
    Leave,
    Open,
    Pause,
    Place,
    Raise,
    Swallow,
    Unawaited,
    Within,
)
from support.invariants import check
from support.loop import TICK
from support.programs import FORMS, Form, agent_of
from support.trial import Setting, Trial, conduct
from support.wires import Pace, Wire, at_once, in_scopes, taking_time, under_timeout, yielding

#: How many programs are tried, and the least share of them that reaches each outcome.
PROGRAMS: Final = 1100
SHARE: Final = 0.05


def _cycle() -> object:
    cycle: list[object] = []
    cycle.append(cycle)
    return cycle


ENCODABLE: Final = st.sampled_from(
    [None, True, 0, -1.5, 10**30, "", "a \u2028 \ud800 \N{BANANA}", [1, [2]], {"a": {"b": None}}]
)
UNENCODABLE: Final = st.sampled_from(
    [float("nan"), float("-inf"), object(), {1, 2}, b"bytes", _cycle(), {("a", 1): 2}]
)
TEXTS: Final = st.sampled_from(["where to look", "", "a \u2028 \ud800 \N{BANANA}"])
NUMBERS: Final = st.integers(1, 3)
PLACED: Final = st.sampled_from(PLACES)

SAYINGS: Final[st.SearchStrategy[Thinking | Chunk]] = st.one_of(
    st.builds(Thinking, TEXTS), st.builds(Chunk, TEXTS)
)
EXCEPTIONS: Final = ["exception", "words", "odd words", "group of words", "group"]
#: What may be raised anywhere: SystemExit and KeyboardInterrupt in a task of its own end the loop.
ANYWHERE: Final = [*EXCEPTIONS, "cancelled", "halt", "group of halts"]
BASE_EXCEPTIONS: Final = ["halt", "group of halts", "exit", "interrupt"]


def _ticks(least: int, most: int) -> st.SearchStrategy[Step]:
    return st.integers(least, most).map(lambda ticks: Sleep(ticks * TICK))


def _progress(content: st.SearchStrategy[object]) -> st.SearchStrategy[Progress]:
    return st.builds(Progress, st.just("step"), content)


def _tool(
    block: st.SearchStrategy[Block], result: st.SearchStrategy[object]
) -> st.SearchStrategy[Step]:
    return st.builds(Tool, st.just("search"), st.just({"q": 1}), block, result)


def _mistakes() -> st.SearchStrategy[Step]:
    return st.one_of(
        _progress(UNENCODABLE),
        st.builds(Unawaited, _progress(UNENCODABLE)),
        st.builds(EmitForbidden, st.sampled_from(["start", "end", "stranger"])),
        st.builds(Close, NUMBERS, st.none()),
        _tool(st.just(()), UNENCODABLE),
    )


def _blocks(steps: st.SearchStrategy[Step], longest: int = 3) -> st.SearchStrategy[Block]:
    return st.lists(steps, max_size=longest).map(tuple)


def _caught(step: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    return st.builds(Attempt, st.tuples(step))


SIMPLE: Final[st.SearchStrategy[Step]] = st.one_of(
    SAYINGS,
    st.builds(Unawaited, SAYINGS | _progress(ENCODABLE)),
    st.one_of(st.builds(Pause, st.integers(1, 4)), _ticks(1, 6)),
    _progress(ENCODABLE),
    _caught(st.builds(Open, NUMBERS)),
    _caught(st.builds(Close, NUMBERS, st.one_of(st.none(), st.just("It broke.")))),
    _caught(_mistakes()),
    st.builds(Leave, st.integers(1, 2), st.integers(0, 8)),
)


def _nested(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    blocks = _blocks(steps)
    inner = st.builds(CancelInner, blocks, st.integers(0, 4))
    return st.one_of(
        _tool(blocks, ENCODABLE),
        _tool(blocks, ENCODABLE),
        st.builds(Group, st.lists(blocks, min_size=1, max_size=3).map(tuple), PLACED),
        st.builds(Finally, blocks, blocks),
        _caught(st.builds(Within, st.integers(1, 6), blocks)),
        st.builds(Swallow, _blocks(inner, 1)),
        st.builds(Swallow, blocks),
        _caught(st.builds(Finally, blocks, st.tuples(_raises(*EXCEPTIONS)))),
    )


def _raises(*errors: str) -> st.SearchStrategy[Step]:
    return st.builds(Raise, st.sampled_from(errors))


STEPS: Final = st.recursive(SIMPLE, _nested, max_leaves=8)


def _group(bodies: list[Block], last: Step, place: Place) -> Step:
    return Group((*bodies, (last,)), place)


#: The last step of a program; None lets it return.
LAST: Final[st.SearchStrategy[Step | None]] = st.one_of(
    st.none(),
    _ticks(2, 8),
    _mistakes(),
    _raises(*EXCEPTIONS, *BASE_EXCEPTIONS),
    st.builds(CancelInner, _blocks(STEPS), st.integers(0, 4)),
    _tool(st.tuples(_raises(*ANYWHERE)), ENCODABLE),
    st.builds(_group, st.lists(_blocks(STEPS), max_size=2), _raises(*ANYWHERE), PLACED),
)


def _program(steps: Block, last: Step | None, result: object) -> AgentProgram:
    return AgentProgram(steps if last is None else (*steps, last), result)


def _programs(last: st.SearchStrategy[Step | None] = LAST) -> st.SearchStrategy[AgentProgram]:
    return st.builds(
        _program, _blocks(STEPS, 5), last, st.one_of(ENCODABLE, ENCODABLE, UNENCODABLE)
    )


@dataclass(frozen=True, slots=True)
class Case:
    """One program in its surroundings."""

    program: AgentProgram
    form: Form
    setting: Setting
    pace: Pace
    fails_at: int | None
    error: type[BaseException]


def _setting(
    *,
    message: int,
    cancel_after: list[int],
    before: str | None,
    routed: bool,
    run_timeout: int | None,
    room: tuple[int, int],
) -> Setting:
    told = before is None
    return Setting(
        message=(chat, start_agent, user_message)[message](),
        cancel_after=cancel_after if told else (),
        cancelled_before=before == "cancelled",
        swallowed_before=before == "swallowed",
        routed=routed,
        run_timeout=run_timeout * TICK if run_timeout is not None and told else None,
        limits=Limits(outbox_frames=room[0], outbox_overrun=room[1]),
    )


ANY_PROGRAM: Final = _programs()

#: What does not happen, unless a stratum says otherwise.
NOTHING: Final[st.SearchStrategy[None]] = st.none()
NO_CANCELS: Final = st.just(list[int]())


def _cases(
    *,
    programs: st.SearchStrategy[AgentProgram] = ANY_PROGRAM,
    cancel_after: st.SearchStrategy[list[int]] = NO_CANCELS,
    run_timeout: st.SearchStrategy[int | None] = NOTHING,
    fails_at: st.SearchStrategy[int | None] = NOTHING,
    before: st.SearchStrategy[str | None] = NOTHING,
) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        program=programs,
        form=st.sampled_from(FORMS),
        setting=st.builds(
            _setting,
            message=st.integers(0, 2),
            cancel_after=cancel_after,
            before=before,
            routed=st.booleans(),
            run_timeout=run_timeout,
            room=st.sampled_from([(256, 4096), (256, 4096), (1, 4096), (2, 5)]),
        ),
        pace=st.sampled_from([at_once, yielding, taking_time, under_timeout, in_scopes]),
        fails_at=fails_at,
        error=st.sampled_from([ConnectionError, Halt]),
    )


def _cancels(earliest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(earliest, 15), min_size=1, max_size=3)


LONG: Final = _programs(_ticks(4, 8))
SENDS: Final = st.sampled_from([1, 2, 3, 5])

#: As many programs of each: what is random in all of them, and what is meant to happen.
STRATA: Final = {
    "all at random": _cases(
        cancel_after=st.one_of(st.just([]), _cancels(0)),
        run_timeout=st.sampled_from([None, None, 1, 2, 3]),
        fails_at=st.one_of(st.none(), SENDS),
        before=st.sampled_from([None, None, None, "cancelled", "swallowed"]),
    ),
    "returns": _cases(programs=_programs(st.none())),
    "raises": _cases(programs=_programs(_raises(*EXCEPTIONS))),
    "raises a BaseException": _cases(programs=_programs(_raises(*BASE_EXCEPTIONS))),
    "cancels a task of its own": _cases(
        programs=_programs(st.builds(CancelInner, _blocks(STEPS), st.integers(0, 4)))
    ),
    "is cancelled": _cases(programs=LONG, cancel_after=_cancels(1)),
    "loses its transport": _cases(programs=LONG, fails_at=SENDS),
    "takes too long": _cases(programs=LONG, run_timeout=st.sampled_from([1, 2, 3])),
    "is left to itself": _cases(),
    "behaves": _cases(programs=agent_programs(longest_sleep=0), fails_at=st.none() | SENDS),
}


def perform(case: Case) -> Trial:
    wire = Wire(case.pace, fails_at=case.fails_at, error=case.error)
    return conduct(agent_of(case.program, case.form), wire, case.setting)


def reached(trial: Trial) -> Iterator[str]:
    """The outcomes that this run is an example of."""
    decided = trial.watch.decided
    if not decided:
        yield "never begun"
        return
    end, escaped = decided[-1], trial.watch.end.escaped if trial.watch.end else None
    yield end.kind.removeprefix("agent_")
    if any(event.payload.get("status") == "interrupted" for event in decided):
        yield "interrupted tool"
    match end.payload.get("reason"):
        case "disconnected":
            yield "disconnected"
        case "cancelled":
            yield "cancelled by the caller"
        case _:
            pass
    if end.payload.get("code") == "agent_error" and is_cancel(escaped):
        yield "cancelled by the agent"
    if isinstance(escaped, AgentError | ExceptionGroup) and end.kind == "agent_failed":
        yield "failed with words or a group"
    if trial.raised is not None and not is_cancel(trial.raised):
        yield "raised a BaseException"
    if end.payload.get("code") == "timeout":
        yield "timed out"


def is_cancel(error: BaseException | None) -> bool:
    return type(error).__name__ == "CancelledError"


OUTCOMES: Final = (
    "completed",
    "failed",
    "cancelled",
    "cancelled by the caller",
    "cancelled by the agent",
    "disconnected",
    "interrupted tool",
    "failed with words or a group",
    "raised a BaseException",
    "timed out",
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of runs fail here on purpose; their log lines would bury what a test says."""
    caplog.set_level(logging.CRITICAL, logger="agent_messaging")


def test_random_programs_keep_every_invariant_and_reach_every_outcome() -> None:
    outcomes: Counter[str] = Counter()
    tried = 0

    def explore(case: Case) -> None:
        nonlocal tried
        trial = perform(case)
        check(trial)
        tried += 1
        outcomes.update(set(reached(trial)))

    for cases in STRATA.values():
        settings(
            max_examples=PROGRAMS // len(STRATA),
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )(given(cases)(explore))()
    shares = {name: outcomes[name] / tried for name in OUTCOMES}
    print(f"\nof {tried} programs: " + ", ".join(f"{n} {s:.1%}" for n, s in shares.items()))
    assert tried >= PROGRAMS - len(STRATA)
    assert all(share >= SHARE for share in shares.values()), shares
