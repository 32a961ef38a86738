"""A client's connection in memory, which fails, hangs and dawdles as a test tells it to."""

import asyncio
from typing import final

from agent_messaging._session_end import SessionEndReason
from agent_messaging.testing._received import ReceivedFrame, received

__all__ = ["RecordingTransport"]


@final
class RecordingTransport:
    """Keeps the frames that it is sent: a websocket for handlers, routers and endpoints.

    A connection that is well behaved unless it is told otherwise, by these arguments or later.
    For an endpoint, its `close` goes with it: ``endpoint.open(user_id, transport,
    close=transport.close)``.

    Args:
        turns: of the event loop that a send takes.
        seconds: of the loop's time that a send takes.
        fails_at: the send, counted from 1, from which on each raises.
        hangs_at: the send, counted from 1, from which on each waits for `read_on`.
        error: what those that fail raise; by default a ConnectionError.
        swallows: how many cancellations a send that hangs takes no notice of.

    Attributes:
        frames: what was accepted, as it was sent.
        times: when each of those was, by the loop's clock.
        sends: how many sends began.
        closed: the reasons that `close` was called with.
        swallows: how many cancellations will still be swallowed.
    """

    def __init__(
        self,
        *,
        turns: int = 0,
        seconds: float = 0.0,
        fails_at: int | None = None,
        hangs_at: int | None = None,
        error: BaseException | None = None,
        swallows: int = 0,
    ) -> None:
        self.frames: list[str] = []
        self.times: list[float] = []
        self.sends: int = 0
        self.closed: list[SessionEndReason] = []
        self.swallows: int = swallows
        self._turns = turns
        self._seconds = seconds
        self._fails_at = fails_at
        self._hangs_at = hangs_at
        self._error = error
        self._reads_on = asyncio.Event()
        self._is_sending = False

    @property
    def received(self) -> tuple[ReceivedFrame, ...]:
        """The frames, decoded."""
        return tuple(received(frame) for frame in self.frames)

    def hang(self) -> None:
        """Read nothing from now on: each send waits until `read_on`."""
        self._hangs_at = self._next

    def read_on(self, sends: int | None = None) -> None:
        """Read what waits, and hang no more.

        Args:
            sends: let so many through, beside those that were let through before, and hang again.
        """
        self._hangs_at = None if sends is None else max(self._hangs_at or 0, self._next) + sends
        self._reads_on.set()
        self._reads_on = asyncio.Event()

    def fail(self, error: BaseException | None = None) -> None:
        """Be gone: each send raises from now on, those that hang too.

        Args:
            error: what they raise; by default what the constructor was given.
        """
        self._error = error or self._error
        self._fails_at = 0
        self.read_on()

    @property
    def _next(self) -> int:
        """The number of the send that is under way, or will be next."""
        return self.sends if self._is_sending else self.sends + 1

    async def __call__(self, frame: str) -> None:
        """Take one frame.

        Raises:
            AssertionError: another send is under way, as a connection has one writer; or the send
                was begun in one task and ends in another, in which no time-out of it would hold.
            BaseException: whatever it is told to fail with.
        """
        if self._is_sending:
            raise AssertionError("two sends at once on one connection")
        self._is_sending = True
        self.sends += 1
        number = self.sends
        task = asyncio.current_task()
        try:
            for _ in range(self._turns):
                await asyncio.sleep(0)
            if self._seconds:
                await asyncio.sleep(self._seconds)
            while self._hangs_at is not None and number >= self._hangs_at:
                await self._wait()
            if self._fails_at is not None and number >= self._fails_at:
                raise self._error or ConnectionError("the client is gone")
        finally:
            self._is_sending = False
        if asyncio.current_task() is not task:
            raise AssertionError("a send that ends in another task than it began in")
        self.frames.append(frame)
        self.times.append(asyncio.get_running_loop().time())

    async def _wait(self) -> None:
        try:
            await self._reads_on.wait()
        except asyncio.CancelledError:
            if not self.swallows:
                raise
            self.swallows -= 1

    async def close(self, reason: SessionEndReason) -> None:
        """Note that the endpoint has ended the session."""
        self.closed.append(reason)
