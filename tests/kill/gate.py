"""What a host tells its parent, and the point at which it waits to be let go on, or killed."""

import asyncio
import json
import os
import threading
from typing import Final, final

from kill.points import Point

#: The log's thread has something to say too.
_speaking: Final = threading.Lock()


def say(**facts: object) -> None:
    """One JSON line on standard output; only the last one may be in part, when the process ends."""
    line = memoryview(f"{json.dumps(facts)}\n".encode())
    with _speaking:
        while line:
            line = line[os.write(1, line) :]


@final
class Gate:
    """Holds whoever comes to one point, once; all others pass."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited: tuple[Point, str | None] | None = None
        self._passes = 0
        self._opened = asyncio.Event()
        self._opened_in_thread = threading.Event()

    def hold(self, point: Point, message_id: str | None, passes: int) -> None:
        """Hold who comes there next, after so many who pass; None for any message."""
        with self._lock:
            self._awaited = point, message_id
            self._passes = passes

    def go_on(self) -> None:
        """Let go who is held, and hold nobody any more."""
        with self._lock:
            self._awaited = None
        self._opened.set()
        self._opened_in_thread.set()

    async def at(self, point: Point, message_id: str | None = None) -> None:
        """Come to a point in the event loop, which goes on meanwhile."""
        if self._holds(point, message_id):
            await self._opened.wait()

    async def tell_at(self, point: Point, message_id: str, **facts: object) -> None:
        """Come to a point, and tell the parent."""
        say(point=point, message_id=message_id, **facts)
        await self.at(point, message_id)

    def at_in_thread(self, point: Point) -> None:
        """Come to a point in another thread, which waits with all that it has locked."""
        if self._holds(point, None):
            self._opened_in_thread.wait()

    def _holds(self, point: Point, message_id: str | None) -> bool:
        with self._lock:
            if self._awaited is None:
                return False
            awaited, awaited_id = self._awaited
            if awaited != point or awaited_id not in (None, message_id):
                return False
            if self._passes:
                self._passes -= 1
                return False
            self._awaited = None
        say(held=point, message_id=message_id)
        return True
