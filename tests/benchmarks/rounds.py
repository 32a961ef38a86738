"""Interleaved rounds: floor, path, floor, path, floor; and the ratios of each round."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.paths import Batch, Path
from benchmarks.quartiles import Quartiles, quartiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One path's ratios to its floor, one for each round.

    Attributes:
        name: the path's.
        budget: the path's.
        ratio: over the rounds.
        floor_us: microseconds of one unit of the floor's work; for orientation only.
    """

    name: str
    budget: float | None
    ratio: Quartiles
    floor_us: float


async def compare(
    paths: Sequence[Path], *, rounds: int, batch: int, progress: Callable[[int], None]
) -> list[Result]:
    """Measure each path between two measurements of its floor, ``rounds`` times over.

    A machine's speed drifts by more than the differences that matter here. A ratio is taken only
    between neighbours of some milliseconds, and the rounds show how far to trust it. Times are
    of the processor, so that other programs disturb less; nothing here waits. The garbage
    collector stays on, as in a server.

    Args:
        paths: what to measure.
        rounds: how often.
        batch: how many plain runs one measurement is worth.
        progress: told the number of each round.
    """
    ratios: list[list[float]] = [[] for _ in paths]
    floors: list[list[float]] = [[] for _ in paths]
    for number in range(rounds + 1):
        progress(number)
        for index, path in enumerate(paths):
            count = max(1, batch // path.weight)
            gc.collect()
            before = await _seconds(path.floor, count)
            taken = await _seconds(path.batch, count)
            after = await _seconds(path.floor, count)
            if number:  # the first round warms up
                ratios[index].append(2 * taken / (before + after))
                floors[index].append((before + after) / 2 / count)
    return [
        Result(
            name=path.name,
            budget=path.budget,
            ratio=quartiles(ratios[index]),
            floor_us=statistics.median(floors[index]) * 1e6,
        )
        for index, path in enumerate(paths)
    ]


async def _seconds(batch: Batch, count: int) -> float:
    start = time.process_time()
    await batch(count)
    return time.process_time() - start
