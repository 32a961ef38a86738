"""STOP_AGENT is a barrier: what is sent right behind it never meets what it stops.

Two hundred seeds by default; ten thousand with::

    python -m pytest tests/property/test_barrier.py --seeds 10000
"""

import asyncio
import logging
import random
from collections import Counter
from typing import Final

import pytest

from agent_messaging import Limits
from support.endpoint_agents import Order, Verb
from support.endpoint_clients import Memory, Pace
from support.endpoint_world import Connection, LogKind, Setting, World
from support.loop import TICK
from support.scheduling import seeded_loop

USER: Final = "ann"
THREADS: Final = ("t1", "t2")
ROUNDS: Final = 6

LOGS: Final[tuple[LogKind, ...]] = ("prompt", "slow", "troubled")
PACES: Final[tuple[Pace, ...]] = ("prompt", "turns", "slow")
#: What an agent is to do at once: talk, use a tool, end, or mind no cancellation for a while.
BEGINNINGS: Final[tuple[tuple[Order, ...], ...]] = (
    (Order("say", 3),),
    (Order("say", 200),),
    (Order("blurt", 5), Order("open")),
    (Order("swallow", 1), Order("say", 4)),
    (Order("swallow", 2), Order("open"), Order("say", 2)),
    (Order("swallow", 9), Order("stray", 12), Order("shield", 40)),
    (Order("open"), Order("shield", 3), Order("close")),
    (Order("say", 2), Order("return")),
    (Order("say", 1), Order("fail")),
)
LAST_WORDS: Final[tuple[Verb, ...]] = ("return", "say", "close", "fail in words", "cancel itself")
#: Each of them occurs in every fourth scene at least.
SITUATIONS: Final = (
    "sent at once",
    "sent behind STOPPED",
    "nothing was left",
    "stopped: running",
    "stopped: queued",
    "abandoned",
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of runs are stopped here, and many of their agents are abandoned."""
    caplog.set_level(logging.CRITICAL, logger="agent_messaging")


class Scene:
    """Two tabs of one user, who stops and sends at once, again and again."""

    def __init__(self, seed: int) -> None:
        self._randomness = random.Random(seed)
        self._messages = 0
        #: Messages for threads on which nothing was any more, as their sender knew.
        self._undisturbed: list[str] = []
        self.situations: Counter[str] = Counter()
        self._world = World(
            Setting(
                log=LOGS[seed % len(LOGS)],
                seed=seed,
                limits=Limits(messages_per_minute=None, frames_per_minute=None),
                cancel_grace=8 * TICK,
            )
        )

    async def play(self) -> None:
        world, randomness = self._world, self._randomness
        await world.enter()
        tabs: list[Connection] = []
        for _ in range(2):
            tab = await world.connect(USER, Memory(), "open", randomness.choice(PACES))
            assert tab is not None
            tabs.append(tab)
        for _ in range(ROUNDS):
            world.stage.first_orders = randomness.choice(BEGINNINGS)
            tab, thread_id = randomness.choice(tabs), randomness.choice(THREADS)
            for _ in range(randomness.randint(1, 2)):
                self._send(tab, thread_id)
            await self._pass()
            for puppet in world.stage.puppets.values():
                if randomness.random() < 0.3:
                    puppet.order(Order(randomness.choice(LAST_WORDS)))
            await self._stop(randomness.choice(tabs), thread_id)
            await self._pass()
            world.check()
        await world.come_to_rest()
        for message_id in self._undisturbed:
            first = world.witness.claims[USER, message_id].events[0]
            assert first.type == "agent_started", f"{message_id} had to wait"
        await world.leave()
        self.situations += world.situations
        self.situations["abandoned"] += world.endpoint.stats()["agents_abandoned"]

    def _send(self, tab: Connection, thread_id: str) -> str:
        self._messages += 1
        message_id = f"m{self._messages}"
        tab.ask("chat", {"text": "go"}, message_id=message_id, thread_id=thread_id)
        return message_id

    async def _stop(self, tab: Connection, thread_id: str) -> None:
        """Stop a thread, or one of its runs, and send the next message."""
        active = [
            run
            for run in self._world.witness.active.get(USER, {}).values()
            if run.thread_id == thread_id
        ]
        for run in active:
            self.situations[f"stopped: {run.status}"] += 1
        if active and self._randomness.random() < 0.3:
            tab.ask("stop_agent", {"run_id": self._randomness.choice(active).run_id})
        else:
            tab.ask("stop_agent", {"thread_id": thread_id})
        if self._randomness.random() < 0.6:
            self.situations["sent at once"] += 1
        else:
            self.situations["sent behind STOPPED"] += 1
            await self._see_answers(tab)
            if not self._is_busy(thread_id):
                self.situations["nothing was left"] += 1
                self._undisturbed.append(self._send(tab, thread_id))
                await self._see_answers(tab)  # or another tab may be first
                return
        self._send(tab, thread_id)

    def _is_busy(self, thread_id: str) -> bool:
        """Whether the thread has a run, or may be about to have one."""
        world = self._world
        is_sending = any(tab.waits or tab.busy_with is not None for tab in world.connections)
        return is_sending or any(run.thread_id == thread_id for run in world.endpoint.runs(USER))

    async def _see_answers(self, tab: Connection) -> None:
        """Wait until the client has its answers."""
        while tab.waits or tab.busy_with is not None or tab.screen.stops:  # noqa: ASYNC110
            await asyncio.sleep(TICK)

    async def _pass(self) -> None:
        for _ in range(self._randomness.randint(0, 6)):
            await asyncio.sleep(0)
        if self._randomness.random() < 0.4:
            await asyncio.sleep(self._randomness.randint(1, 12) * TICK)


def play(seed: int) -> Counter[str]:
    """One scene; what occurred in it."""

    async def scene() -> Counter[str]:
        playing = Scene(seed)
        await playing.play()
        return playing.situations

    # Half of them in the usual order of ready tasks.
    order = seed if seed % 2 else None
    try:
        with asyncio.Runner(loop_factory=lambda: seeded_loop(order, eager=seed % 5 == 0)) as runner:
            return runner.run(scene())
    except AssertionError as fault:
        raise AssertionError(f"seed {seed}: {fault}") from fault


def test_what_is_sent_behind_a_stop_never_meets_what_it_stops(seeds: int) -> None:
    situations = Counter[str]()
    for seed in range(seeds):
        situations += play(seed)
    print(f"\nin {seeds} scenes: {dict(sorted(situations.items()))}")
    for name in SITUATIONS:
        assert situations[name] >= seeds / 4, name
