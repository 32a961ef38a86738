"""The strategy for programs of agents."""

from typing import Final, TypeAlias

from hypothesis import strategies as st

from agent_messaging.testing._program import (
    AgentProgram,
    Attempt,
    Chunk,
    Crash,
    Fail,
    Parallel,
    Progress,
    Sleep,
    Step,
    Thinking,
    Tool,
)
from agent_messaging.testing._wire_strategies import TEXTS, ids, json_values

__all__ = ["agent_programs"]

_Steps: TypeAlias = tuple[Step, ...]

_NAMES: Final = st.sampled_from(["search", "book"]) | ids()

#: Small ones more often: a program prints all of its values.
_VALUES: Final[st.SearchStrategy[object]] = st.one_of(
    st.none(), st.integers(0, 9), TEXTS, json_values()
)

_FAILURES: Final[st.SearchStrategy[Step]] = st.one_of(
    st.builds(Crash, TEXTS),
    st.builds(
        Fail,
        TEXTS,
        code=st.sampled_from(["agent_error", "no_flights"]),
        retryable=st.booleans(),
    ),
)

_FAILING: Final[st.SearchStrategy[_Steps]] = st.one_of(
    st.tuples(_FAILURES),
    st.tuples(st.builds(Tool, _NAMES, _VALUES, st.tuples(_FAILURES))),
)


def agent_programs(
    *, may_fail: bool = True, longest_sleep: float = 60.0
) -> st.SearchStrategy[AgentProgram]:
    """Programs of well-behaved agents: every one ends, and none breaks the lifecycle.

    Drawn are texts (also empty ones), progress with any JSON value, tools with steps of their own
    within them, branches at once, sleeping, failures that the agent gets over, and as the last step
    of some a failure: at the top, in a tool, or in one of several branches, where the tools of the
    others are then interrupted. They have up to 5 steps at the top, and some 10 in all. They shrink
    to the program that does nothing and returns None.

    Not drawn: what an agent must not do, as events that are out of place or will not encode,
    swallowed cancellations, or tasks that are left behind.

    Args:
        may_fail: False for programs that all complete.
        longest_sleep: in seconds, of one sleep; 0 for sleeps that only let other tasks go on. Run
            longer ones with `agent_messaging.testing.run_virtual`.
    """
    steps = _steps(longest_sleep)
    last = _last(steps) if may_fail else st.just(())
    return st.builds(AgentProgram, st.builds(_and_last, _several(steps, 4), last), _VALUES)


def _steps(longest_sleep: float) -> st.SearchStrategy[Step]:
    sleep = st.builds(Sleep, st.just(0.0) | st.floats(0.0, longest_sleep))
    # Not `st.recursive`, which takes several times as long; one step in four has others in it.
    steps: st.SearchStrategy[Step] = st.deferred(
        lambda: st.one_of(
            st.builds(Thinking, TEXTS),
            st.builds(Chunk, TEXTS),
            st.builds(Progress, _NAMES, _VALUES),
            sleep,
            # What takes time, so that tools of several branches overlap.
            st.builds(Tool, _NAMES, _VALUES, st.just(()) | st.tuples(sleep), _VALUES),
            st.builds(Attempt, _FAILING),
            st.builds(Tool, _NAMES, _VALUES, block, _VALUES),
            st.builds(Parallel, st.lists(block, min_size=2, max_size=3).map(tuple)),
        )
    )
    block = _several(steps, 3)
    return steps


def _last(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[_Steps]:
    """What a program ends with: nothing, or a failure at one place or another."""
    beside = st.lists(_several(steps, 3), min_size=1, max_size=2)
    return st.one_of(
        st.just(()), st.just(()), _FAILING, st.tuples(st.builds(_in_parallel, beside, _FAILING))
    )


def _several(steps: st.SearchStrategy[Step], most: int) -> st.SearchStrategy[_Steps]:
    return st.lists(steps, max_size=most).map(tuple)


def _in_parallel(branches: list[_Steps], failing: _Steps) -> Step:
    return Parallel((*branches, failing))


def _and_last(steps: _Steps, last: _Steps) -> _Steps:
    return (*steps, *last)
