"""The seam between a log and those who follow it: what they see, whatever comes in between.

One line tries any log::

    explore(make_my_log, asyncio.run, examples=50, steps=40)

A follower follows first, and then reads page by page whenever it is woken. It sees each event of
its run once, in their order, as the log acknowledged them; or is told that some were evicted, and
goes on without a gap. It comes to the last of them without asking for it. Nothing shows of what is
appended without the lease, and nothing that was acknowledged or shown is gone, unless it was
evicted. A run that nobody holds any more is taken over in the end. All that, whatever else happens,
and wherever calls are cancelled.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, TypeAlias

from hypothesis import HealthCheck, Phase, given, settings

from agent_messaging import EventLog
from agent_messaging.testing.conformance import LogOnTrial, MakeLog
from support.seam.calls import Calls
from support.seam.followers import Client, Follower, Reader
from support.seam.programs import Follow, Program, Return, programs
from support.seam.watchers import Watcher, endpoint_for_watchers
from support.seam.world import Connect, World

__all__ = ["EVERYWHERE", "IN_TIME", "OVER_SESSIONS", "Another", "explore", "see_enough"]

#: Opens what another log keeps, as another process does.
Another: TypeAlias = Callable[[LogOnTrial], Awaitable[EventLog]]

#: Seconds of the loop's time until what has to come is missed.
PATIENCE: Final = 20.0


def explore(
    make_log: MakeLog,
    run: Callable[[Coroutine[Any, Any, None]], object],
    *,
    examples: int,
    first: Sequence[Program] = (),
    steps: int = 50,
    another: Another | None = None,
    over_sessions: bool = False,
    patience: float = PATIENCE,
    is_seeded: bool = True,
    is_shrunk: bool = True,
) -> Counter[str]:
    """Try a log with programs of what may happen around it.

    Args:
        make_log: makes the log.
        run: runs a coroutine to its end on a loop of its own, in virtual time or not.
        examples: how many programs.
        first: programs that are tried before those.
        steps: how many steps a program has at most.
        another: opens the same log once more, for some of the owners and followers.
        over_sessions: whether those who follow do so over the sessions of an endpoint.
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
        async with AsyncExitStack() as stack:
            stack.push_async_callback(on_trial.log.aclose)
            logs = [on_trial.log]
            if another is not None:
                logs.append(await another(on_trial))
                stack.push_async_callback(logs[1].aclose)
            connects = [
                await _by_sessions(stack, log) if over_sessions else _directly(log) for log in logs
            ]
            await World(
                logs,
                on_trial.advance,
                connects,
                held_events=program.held_events,
                patience=patience,
                situations=situations,
            ).play(program)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=is_seeded,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink] if is_shrunk else [Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(programs(steps))
    def explored(program: Program) -> None:
        run(play(program))

    for program in first:
        run(play(program))
    explored()
    return situations


def _directly(log: EventLog) -> Connect:
    def connect(client: Client, act: Follow | Return, calls: Calls) -> Reader:
        is_eager = isinstance(act, Follow) and act.is_eager
        return Follower(log, client, act.limit, act.pace, calls, is_eager=is_eager)

    return connect


async def _by_sessions(stack: AsyncExitStack, log: EventLog) -> Connect:
    endpoint = await stack.enter_async_context(endpoint_for_watchers(log))
    return lambda client, act, calls: Watcher(endpoint, client, act.pace, calls)


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
    "recovered",
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

#: What occurs where those who follow are clients of an endpoint.
OVER_SESSIONS: Final = (
    "came back",
    "fenced off",
    "forgotten while it was followed",
    "leases lost",
    "left while watching",
    "recovered",
    "shown to its end",
    "told of an eviction",
    "users forgotten",
)


def see_enough(situations: Counter[str], names: tuple[str, ...], times: int = 3) -> None:
    """Each of these occurred so often at least, for the search to be worth its time."""
    seldom = {name: situations[name] for name in names if situations[name] < times}
    assert not seldom, seldom
