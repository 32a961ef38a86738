"""What there is in a process: the library's objects and tasks, and the memory."""

import asyncio
import ctypes
import gc
import os
import resource
import sys
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

#: How the library's modules, and the names of its tasks, begin.
LIBRARY: Final = "agent_messaging"


def objects() -> dict[str, int]:
    """How many instances there are of each of the library's classes."""
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))
    return {
        f"{kind.__module__}.{kind.__qualname__}": count
        for kind, count in kinds.items()
        if str(kind.__module__).partition(".")[0] == LIBRARY
    }


def tasks(*, beside: Collection[str] = ()) -> list[str]:
    """The names of the library's tasks that have not ended, without those that need not have."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith(LIBRARY) and name not in beside]


def resident_bytes() -> int:
    """The resident memory of this process, without what is only kept for reuse; 0 if unknown."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory() -> dict[str, int]:
    """Resident bytes, and blocks that Python holds; a leak of any type shows in these."""
    return {"resident": resident_bytes(), "blocks": sys.getallocatedblocks()}


def peak_bytes() -> int:
    """The most that the resident memory ever was."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
