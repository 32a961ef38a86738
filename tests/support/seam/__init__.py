"""The seam between a log and those who follow it: what they see, whatever comes in between.

One line tries any log::

    explore(make_my_log, asyncio.run, examples=50, steps=40)

A follower follows first, and then reads page by page whenever it is woken. It sees each event of its
run once, in their order, as the log acknowledged them; or is told that some were evicted, and
goes on without a gap. It comes to the last of them without asking for it. Nothing shows of what
is appended without the lease, and nothing that was acknowledged or shown is gone, unless it was
evicted. All that holds whatever else happens, and wherever calls are cancelled.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias

from hypothesis import HealthCheck, Phase, given, settings

from agent_messaging import EventLog
from conformance import LogOnTrial, MakeLog
from support.seam.programs import Program, programs
from support.seam.world import World

__all__ = ["EVERYWHERE", "IN_TIME", "Another", "explore", "see_enough"]

#: Opens what another log keeps, as another process does.
Another: TypeAlias = Callable[[LogOnTrial], Awaitable[EventLog]]

#: Seconds of the loop's time until what has to come is missed.
PATIENCE: Final = 20.0


def explore(
    make_log: MakeLog,
    run: Callable[[Coroutine[Any, Any, None]], object],
    *,
    examples: int,
    steps: int = 50,
    another: Another | None = None,
    patience: float = PATIENCE,
    is_seeded: bool = True,
    is_shrunk: bool = True,
) -> Counter[str]:
    """Try a log with programs of what may happen around it.

    Args:
        make_log: makes the log.
        run: runs a coroutine to its end on a loop of its own, in virtual time or not.
        examples: how many programs.
        steps: how many steps a program has at most.
        another: opens the same log once more, for some of the owners and followers.
        patience: seconds of the loop's time until what has to come is missed.
        is_seeded: whether the programs are the same each time.
        is_shrunk: whether a program that shows a fault is made as small as that can be, which
            may take minutes where each try waits for what never comes.

    Returns:
        Which situations occurred, and how often.

    Raises:
        AssertionError: what is wrong with the log.
    """
    situations: Counter[str] = Counter()

    async def play(program: Program) -> None:
        on_trial = await make_log(held_events=program.held_events)
        others = [] if another is None else [await another(on_trial)]
        await World(on_trial, others, program.held_events, patience, situations).play(program)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=is_seeded,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink] if is_shrunk else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs(steps))
    def explored(program: Program) -> None:
        run(play(program))

    explored()
    return situations


#: What occurs around any log, whether it takes its time or not.
EVERYWHERE: Final = (
    "appended again",
    "came back",
    "claimed again",
    "fenced off",
    "forgotten while it was followed",
    "leases lost",
    "left while others were woken",
    "left while reading",
    "left while waiting",
    "owners told",
    "refused: a gap",
    "refused: another token",
    "refused: half of it was before",
    "refused: other content",
    "renewed",
    "shown to its end",
    "told of an eviction",
    "users forgotten",
    "wake-ups merged",
)

#: What occurs beside that around a log whose calls wait for something.
IN_TIME: Final = (
    "appended again after a cancellation",
    "cancelled appends that had happened",
    "cancelled appends that had not happened",
    "taken over an append",
)


def see_enough(situations: Counter[str], names: tuple[str, ...], times: int = 3) -> None:
    """Each of these occurred so often at least, for the search to be worth its time."""
    seldom = {name: situations[name] for name in names if situations[name] < times}
    assert not seldom, seldom
