"""Scheduling as a seed has it: pauses, and tasks that begin at once."""

import asyncio
import random
from typing import Any

from agent_messaging.testing import VirtualTimeLoop
from support.loop import TICK


class Pauses:
    """Suspends whoever awaits it, at random: not at all, for turns of the loop, or for a time.

    Args:
        randomness: what decides.
        share: how often it suspends at all.
        turns: for how many turns of the loop at most.
        ticks: for how many ticks of virtual time at most, every fourth time; 0 for no time at all.
    """

    def __init__(
        self, randomness: random.Random, *, share: float = 0.6, turns: int = 4, ticks: int = 3
    ) -> None:
        self._randomness = randomness
        self._share = share
        self._turns = turns
        self._ticks = ticks

    async def __call__(self) -> None:
        randomness = self._randomness
        if randomness.random() >= self._share:
            return
        if self._ticks and randomness.random() < 0.25:
            await asyncio.sleep(randomness.randint(1, self._ticks) * TICK)
            return
        for _ in range(randomness.randint(1, self._turns)):
            await asyncio.sleep(0)


def seeded_loop(seed: int | None, *, eager: bool = False) -> VirtualTimeLoop:
    """A new loop; ``eager`` where Python has eager tasks, which is since 3.12."""
    loop = VirtualTimeLoop(seed)
    factory: Any = getattr(asyncio, "eager_task_factory", None)
    if eager and factory is not None:
        loop.set_task_factory(factory)
    return loop
