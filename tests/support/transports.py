"""Transports on the real contract: an async callable of one text frame."""

import asyncio


class Recorder:
    """Keeps every frame that it accepts.

    Args:
        yields: how often it yields to the loop before it accepts a frame.
        seconds: how long (in the loop's time) it takes over a frame.
        fails_at: the send, counted from 1, from which on every send raises ConnectionError.
        hangs_at: the send, counted from 1, that never returns.
    """

    def __init__(
        self,
        *,
        yields: int = 0,
        seconds: float = 0.0,
        fails_at: int | None = None,
        hangs_at: int | None = None,
    ) -> None:
        self.frames: list[str] = []
        self.sends = 0
        self._under_way = 0
        self._yields = yields
        self._seconds = seconds
        self._fails_at = fails_at
        self._hangs_at = hangs_at

    async def __call__(self, frame: str) -> None:
        assert self._under_way == 0, "two sends at once on one connection"
        self._under_way += 1
        self.sends += 1
        number = self.sends
        task = asyncio.current_task()
        try:
            for _ in range(self._yields):
                await asyncio.sleep(0)
            if self._seconds:
                await asyncio.sleep(self._seconds)
            if self._fails_at is not None and number >= self._fails_at:
                raise ConnectionError(f"send {number} failed")
            if number == self._hangs_at:
                await asyncio.Event().wait()
        finally:
            self._under_way -= 1
        assert asyncio.current_task() is task
        self.frames.append(frame)
