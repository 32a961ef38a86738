"""Whoever follows a log sees all of it, once and in order, whatever happens around it.

The same programs are tried each time. For a longer search, among others each time::

    python -m pytest tests/property/test_seam.py --examples 20000
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from agent_messaging import MemoryEventLog
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance import EVENT_LOG_CASES, LogOnTrial, MakeLog
from support.broken_logs import ending, leasing, owning, racing, reading, separating, waking
from support.broken_logs.base import BrokenLog, Settings
from support.event_logs import HandClock, make_memory_log
from support.gradual_log import GradualLog
from support.seam import EVERYWHERE, IN_TIME, OVER_SESSIONS, explore, see_enough


async def make_gradual_log(*, held_events: int | None = None) -> LogOnTrial:
    clock = HandClock()
    held = 20_000 if held_events is None else held_events
    return LogOnTrial(
        GradualLog(MemoryEventLog(events_per_user=held, clock=clock.read)), clock.advance
    )


async def another_gradual_log(on_trial: LogOnTrial) -> GradualLog:
    assert isinstance(on_trial.log, GradualLog)
    return GradualLog(on_trial.log.inner, seed=1)


def make_broken_log(broken: type[BrokenLog]) -> MakeLog:
    async def make(*, held_events: int | None = None) -> LogOnTrial:
        clock = HandClock()
        return LogOnTrial(broken(Settings(held_events or 20_000, clock.read)), clock.advance)

    return make


def test_who_follows_the_log_in_memory_sees_all_of_it(examples: int | None) -> None:
    situations = explore(
        make_memory_log, run_virtual, examples=examples or 500, is_seeded=examples is None
    )
    see_enough(situations, EVERYWHERE)


def test_who_follows_a_log_that_takes_its_time_sees_all_of_it(examples: int | None) -> None:
    situations = explore(
        make_gradual_log, run_virtual, examples=examples or 500, is_seeded=examples is None
    )
    see_enough(situations, (*EVERYWHERE, *IN_TIME))


def test_who_follows_a_log_in_another_process_sees_all_of_it(examples: int | None) -> None:
    situations = explore(
        make_gradual_log,
        run_virtual,
        examples=examples or 500,
        another=another_gradual_log,
        is_seeded=examples is None,
    )
    see_enough(situations, (*EVERYWHERE, *IN_TIME))


def test_the_clients_of_an_endpoint_see_all_of_the_runs_of_others(examples: int | None) -> None:
    situations = explore(
        make_gradual_log,
        run_virtual,
        examples=examples or 400,
        another=another_gradual_log,
        over_sessions=True,
        is_seeded=examples is None,
    )
    see_enough(situations, (*OVER_SESSIONS, *IN_TIME))


def test_the_clients_of_an_endpoint_see_all_of_a_log_that_is_done_at_once(
    examples: int | None,
) -> None:
    situations = explore(
        make_memory_log,
        run_virtual,
        examples=examples or 400,
        over_sessions=True,
        is_seeded=examples is None,
    )
    see_enough(situations, OVER_SESSIONS)


def test_the_search_needs_no_virtual_time() -> None:
    def run_in_real_time(coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run(coroutine)

    assert explore(make_gradual_log, run_in_real_time, examples=40)["shown to its end"]


#: What is wrong with logs that a search is to find, and how it says so.
FOUND: dict[type[BrokenLog], str] = {
    reading.Reorders: r"\[.*51.*\] read after",
    reading.DropsOne: r"\[.*51.*\] read after",
    reading.DuplicatesOne: r"\[.*50, 50.*\] read after",
    reading.RoundsTimes: "is read, and .* was appended",
    reading.ReadsBeyondTheLimit: "read after",
    reading.GoesOnFillingItsPages: "its page has changed|and LoggedEvent.* comes",
    reading.MixesUpAppends: "refused|accepted|is gone, of",
    reading.EvictsDishonestly: r"read after|starts with 1, after",
    reading.EvictsFromTheMiddle: "read after",
    reading.EvictsTheStatus: "is said to be running",
    owning.AcceptsAWrongToken: "accepted|woken with",
    owning.AppendsUpToWhatItRefuses: "woken with|where no batch does",
    owning.ComparesOnlyTheNumberOfARetry: "accepted",
    waking.ForgetsAWakeUp: "it never comes: .*waits to be woken",
    waking.WakesTheFirstAlone: "it never comes: .*waits to be woken",
    waking.KeepsFollowersForEver: "woken with .*, and had left",
    waking.WakesWhoHasJustLeft: "woken with .*, and had left",
    waking.SaysNothingOfForgottenRuns: "it never comes: .*waits to be woken",
    waking.WakesFromTheNextTurnOn: "it never comes: .*waits to be woken",
    leasing.HandsOverAnOldRecord: "is gone, of 0|where no batch does",
    leasing.LetsTheOldOwnerGoOn: "accepted|woken with|its old owner appended",
    leasing.GivesTheFirstTakersTokenAgain: "the token of .* was another's",
    separating.SwallowsEventsOfForgottenRuns: "accepted: .*the run was forgotten",
    ending.AppendsByHalves: "woken with|where no batch does",
    ending.ReadsBehindALock: "it never comes: .*(Read|Settle)",
    ending.LosesWhatItWasToHandOver: "is never taken, and its lease has expired",
    racing.ChecksTheLeaseTooEarly: "its old owner appended|the run was taken",
    racing.TellsOfLaterEvictions: "read after|starts with",
    racing.DropsEverybodysWakeUpsWhenOneLeaves: "it never comes: .*waits to be woken",
    racing.LosesTheGroupOfWhoIsCancelled: "is gone, of|accepted|appended",
}

#: The same, as clients of an endpoint have it.
FOUND_OVER_SESSIONS: dict[type[BrokenLog], str] = {
    reading.DropsOne: "is at 49, and LoggedEvent.*seq=51|51.* read after",
    reading.EvictsFromTheMiddle: "read after|and LoggedEvent.* comes",
    reading.EmptiesWhatItIsToEvict: "was appended",
    waking.ForgetsAWakeUp: "it never comes: .*a session that watches",
    waking.SaysNothingOfForgottenRuns: "it never comes: .*a session that watches",
    leasing.LetsTheOldOwnerGoOn: "accepted|its old owner appended|is shown",
}

RACING = [each for each in FOUND if each.__module__ == racing.__name__]

named = pytest.mark.parametrize("broken", FOUND, ids=lambda broken: broken.__name__)


@named
def test_what_is_wrong_with_a_log_is_found(broken: type[BrokenLog]) -> None:
    with pytest.raises(AssertionError, match=FOUND[broken]):
        explore(make_broken_log(broken), run_virtual, examples=4000, is_shrunk=False)


@pytest.mark.parametrize("broken", FOUND_OVER_SESSIONS, ids=lambda broken: broken.__name__)
def test_what_is_wrong_with_a_log_is_found_over_sessions(broken: type[BrokenLog]) -> None:
    with pytest.raises(AssertionError, match=FOUND_OVER_SESSIONS[broken]):
        explore(
            make_broken_log(broken), run_virtual, examples=3000, over_sessions=True, is_shrunk=False
        )


def test_nothing_is_found_in_what_the_broken_logs_are_made_of() -> None:
    explore(make_broken_log(BrokenLog), run_virtual, examples=200)


@pytest.mark.parametrize("broken", RACING, ids=lambda broken: broken.__name__)
def test_some_of_that_no_conformance_case_finds(broken: type[BrokenLog]) -> None:
    for case in EVENT_LOG_CASES.values():
        run_virtual(case(make_broken_log(broken)))
