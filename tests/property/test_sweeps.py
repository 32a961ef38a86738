"""Sweeps: a cancellation, a failure or a hang at every single point where one can come."""

import asyncio
import functools
import gc
import logging
import weakref
from collections import Counter
from typing import Final

import pytest

from agent_messaging import AgentMessageHandler, Limits, MessageRouter
from support.acts import ERRORS, Halt
from support.invariants import check
from support.loop import BEGINNING, TICK
from support.trial import FINAL_SEND_TIMEOUT, Body, Setting, Trial, conduct
from support.walks import careless, cleaning, hasty, short, stubborn, walk
from support.wires import (
    PACES,
    Pace,
    Wire,
    at_once,
    in_scopes,
    in_task_group,
    taking_time,
    under_timeout,
    yielding,
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of runs fail here on purpose; their log lines would bury what a test says."""
    caplog.set_level(logging.CRITICAL, logger="agent_messaging")


def the(named: object) -> str:
    """What a test's parameter is called."""
    return str(getattr(named, "__name__", named))


AGENTS: Final[tuple[Body, ...]] = (walk, cleaning, stubborn, hasty, careless)


class Kept:
    """The handlers of a sweep, which must keep nothing of its connections."""

    def __init__(self) -> None:
        self._fronts: list[AgentMessageHandler | MessageRouter] = []
        self._wires: list[weakref.ref[Wire]] = []

    def add(self, trial: Trial) -> None:
        self._fronts.append(trial.front)
        self._wires.append(weakref.ref(trial.wire))
        # The agent's own side of the trial holds its run, and by that its connection.
        trial.watch.run = trial.watch.end = None
        trial.watch.tasks.clear()
        trial.finishes.clear()

    def check(self) -> None:
        gc.collect()
        left = sum(wire() is not None for wire in self._wires)
        assert not left, f"{left} of {len(self._wires)} transports are still held"


def ending(trial: Trial) -> str:
    """How the run ended, in a word."""
    if not trial.watch.decided:
        return "nothing"
    return trial.watch.decided[-1].kind.removeprefix("agent_")


def statuses(trial: Trial) -> set[object]:
    """How the run's tools ended."""
    return {event.payload.get("status") for event in trial.watch.decided}


def sweep(agent: Body, wire: Wire, setting: Setting | None = None) -> Trial:
    """One trial of a sweep, with every invariant checked."""
    trial = conduct(lambda watch: watch.watching(agent), wire, setting)
    check(trial)
    return trial


ROOMY: Final = Limits()
TIGHT: Final = Limits(outbox_frames=1)


@pytest.mark.parametrize("limits", [ROOMY, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("pace", PACES, ids=the)
@pytest.mark.parametrize("agent", [walk, cleaning, stubborn], ids=the)
def test_a_run_cancelled_after_any_number_of_steps(agent: Body, pace: Pace, limits: Limits) -> None:
    kept, ends = Kept(), Counter[str]()
    n = sweep(agent, Wire(pace), Setting(limits=limits)).steps
    for k in range(n + 1):
        setting = Setting(limits=limits, cancel_after=[k], routed=k % 2 == 1)
        trial = sweep(agent, Wire(pace), setting)
        assert isinstance(trial.raised, asyncio.CancelledError) is (k < n)
        assert bool(trial.watch.decided) is (k > 0)
        # A tool that is left by a cancellation has not failed.
        assert "error" not in statuses(trial)
        ends[ending(trial)] += 1
        kept.add(trial)
        del trial
    print(f"\n{the(agent)} over {the(pace)}: n = {n}, {dict(ends)}")
    assert n >= 12
    assert ends["nothing"] == 1
    assert ends["cancelled"] >= 10
    assert ends["completed"] >= 2
    assert ends.total() == n + 1
    kept.check()


@pytest.mark.parametrize(
    "pace", [at_once, yielding, under_timeout, in_scopes, in_task_group], ids=the
)
def test_a_run_cancelled_twice_after_any_two_numbers_of_steps(pace: Pace) -> None:
    kept, ends, pairs, given_up = Kept(), Counter[str](), 0, 0
    n = sweep(short, Wire(pace)).steps
    for k in range(n):
        once = sweep(short, Wire(pace), Setting(cancel_after=[k]))
        for j in range(k, max(once.steps, k) + 1):
            trial = sweep(short, Wire(pace), Setting(cancel_after=[k, j]))
            assert isinstance(trial.raised, asyncio.CancelledError)
            end = trial.watch.end
            if end is not None and end.step < trial.cancels[0] and k < j:
                # Both came after the agent's end: the second one ends the waiting.
                assert trial.steps <= j + 1
            given_up += trial.accepted < len(trial.watch.decided)
            ends[ending(trial)] += 1
            pairs += 1
            kept.add(trial)
            del trial, end
    print(f"\nover {the(pace)}: n = {n}, {pairs} pairs, {given_up} given up, {dict(ends)}")
    assert n >= 12
    assert pairs >= n * (n - 1) // 4
    assert ends["cancelled"] > 0
    assert pace is at_once or (ends["completed"] > 0 and given_up > 0)
    kept.check()


@pytest.mark.parametrize("pace", [at_once, yielding, in_scopes], ids=the)
@pytest.mark.parametrize("agent", [walk, stubborn], ids=the)
def test_a_run_in_an_anyio_scope_cancelled_after_any_number_of_steps(
    agent: Body, pace: Pace
) -> None:
    kept, ends = Kept(), Counter[str]()
    n = sweep(agent, Wire(pace)).steps
    for k in range(1, n):
        trial = sweep(agent, Wire(pace), Setting(cancel_after=[k], in_scope=True))
        assert isinstance(trial.raised, asyncio.CancelledError) or k == n - 1
        ends[ending(trial)] += 1
        kept.add(trial)
        del trial
    print(f"\n{the(agent)} over {the(pace)}: n = {n}, {dict(ends)}")
    assert ends["cancelled"] >= 10
    kept.check()


@pytest.mark.parametrize("pace", PACES, ids=the)
def test_a_cancellation_that_the_caller_swallowed_earlier_cancels_nothing(pace: Pace) -> None:
    trial = sweep(short, Wire(pace), Setting(swallowed_before=True))
    assert trial.returned is True


@pytest.mark.parametrize("error", [ConnectionError, Halt, asyncio.CancelledError], ids=the)
@pytest.mark.parametrize("pace", [at_once, yielding, under_timeout], ids=the)
@pytest.mark.parametrize("agent", AGENTS, ids=the)
def test_a_transport_that_fails_at_any_send(
    agent: Body, pace: Pace, error: type[BaseException]
) -> None:
    kept, ends = Kept(), Counter[str]()
    sends = len(sweep(agent, Wire(pace)).wire.frames)
    for k in range(1, sends + 1):
        trial = sweep(agent, Wire(pace, fails_at=k, error=error), Setting(routed=k % 2 == 1))
        assert trial.returned is False
        assert len(trial.wire.frames) == k - 1
        assert trial.wire.begun == k
        ends[ending(trial)] += 1
        kept.add(trial)
        del trial
    print(f"\n{the(agent)} over {the(pace)}: {sends} sends, {dict(ends)}")
    if agent is hasty:
        assert ends["completed"] == sends
    else:
        assert ends["cancelled"] >= (sends // 3 if pace is at_once else 1)
    kept.check()


@pytest.mark.parametrize("pace", [at_once, yielding, under_timeout], ids=the)
@pytest.mark.parametrize("agent", AGENTS, ids=the)
def test_a_transport_that_hangs_at_any_send(agent: Body, pace: Pace) -> None:
    kept = Kept()
    sends = len(sweep(agent, Wire(pace)).wire.frames)
    for k in range(1, sends + 1):
        trial = sweep(agent, Wire(pace, hangs_at=k), Setting(routed=k % 2 == 1))
        assert trial.returned is False
        check_hung(trial, k)
        assert since_the_end(trial) == FINAL_SEND_TIMEOUT
        steps = last_step(trial)
        kept.add(trial)
        # A cancellation while it waits is raised after the wait; a second one ends it.
        once = sweep(agent, Wire(pace, hangs_at=k), Setting(cancel_after=[steps + 1]))
        assert isinstance(once.raised, asyncio.CancelledError)
        check_hung(once, k)
        assert since_the_end(once) == FINAL_SEND_TIMEOUT
        kept.add(once)
        twice = sweep(agent, Wire(pace, hangs_at=k), Setting(cancel_after=[steps + 1, steps + 2]))
        assert isinstance(twice.raised, asyncio.CancelledError)
        check_hung(twice, k)
        assert since_the_end(twice) <= TICK
        kept.add(twice)
        del trial, once, twice
    kept.check()


@pytest.mark.parametrize("agent", [walk, careless, short], ids=the)
def test_a_transport_that_hangs_at_any_send_while_the_agent_waits_for_room(agent: Body) -> None:
    kept, ends = Kept(), Counter[str]()
    sends = len(sweep(agent, Wire(), Setting(limits=TIGHT)).wire.frames)
    setting = Setting(limits=TIGHT, run_timeout=1.0)
    for k in range(1, sends + 1):
        trial = sweep(agent, Wire(hangs_at=k), setting)
        assert trial.returned is False
        check_hung(trial, k)
        assert trial.seconds <= 1.0 + FINAL_SEND_TIMEOUT
        ends[ending(trial)] += 1
        kept.add(trial)
        del trial
    # The last frames fit into the outbox, and the agent ends.
    assert ends["failed"] == sends - ends["completed"] > 0
    kept.check()


def check_hung(trial: Trial, k: int) -> None:
    """The hanging send was the last, and closing ended it."""
    assert len(trial.wire.frames) == k - 1
    assert trial.wire.begun == k
    assert trial.wire.cut == 1
    assert trial.close_seconds <= FINAL_SEND_TIMEOUT


def since_the_end(trial: Trial) -> float:
    """For how long the call went on after its agent had ended."""
    end = trial.watch.end
    assert end is not None
    return trial.seconds - (end.at - BEGINNING)


def last_step(trial: Trial) -> int:
    """In which step of the call its agent ended."""
    end = trial.watch.end
    assert end is not None
    return end.step - trial.start


@pytest.mark.parametrize(
    "error", ["exception", "words", "group of words", "group", "cancelled", "halt"]
)
@pytest.mark.parametrize("pace", [at_once, taking_time], ids=the)
def test_an_agent_that_raises_at_any_step(error: str, pace: Pace) -> None:
    kept, ends = Kept(), Counter[str]()
    steps = Stumble(0, error)
    sweep(functools.partial(walk, step=steps), Wire(pace))
    for k in range(1, steps.taken + 1):
        trial = sweep(
            functools.partial(walk, step=Stumble(k, error)),
            Wire(pace),
            Setting(routed=k % 2 == 1),
        )
        if error == "halt":
            assert trial.raised is not None
        else:
            assert trial.raised is None
        ends[ending(trial)] += 1
        kept.add(trial)
        del trial
    assert steps.taken >= 10
    # A sub-task that is cancelled is no failure of its task group.
    assert ends["completed"] == (4 if error == "cancelled" else 0)
    assert ends["failed"] == steps.taken - ends["completed"]
    kept.check()


class Stumble:
    """Steps that can be counted; the one with this number, from 1, raises."""

    def __init__(self, number: int, error: str) -> None:
        self.taken = 0
        self._number = number
        self._error = error

    async def __call__(self) -> None:
        self.taken += 1
        if self.taken == self._number:
            error = ERRORS[self._error]()
            raise error
        await asyncio.sleep(0)
