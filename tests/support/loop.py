"""The running loop: one in virtual time, and the tasks that are left in it."""

import asyncio
from typing import Any, Final

from agent_messaging.testing import VirtualTimeLoop

#: A short while of virtual time, in seconds; sums of it are exact as floats.
TICK: Final = 1 / 64

#: What the loop's clock shows where a trial begins: no zero, for which a lacking start could be
#: taken.
BEGINNING: Final = 1024.0

#: The tasks that look after an endpoint's leases, as long as it is open.
UPKEEP: Final = tuple(f"agent_messaging {task}" for task in ("leases", "recovery", "watchers"))


def virtual_loop() -> VirtualTimeLoop:
    """The running loop, which is one in virtual time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


def tasks_left() -> list[asyncio.Task[Any]]:
    """The tasks of the running loop beside the current one, and an open endpoint's upkeep."""
    return [
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task() and task.get_name() not in UPKEEP
    ]


async def steps(count: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)
