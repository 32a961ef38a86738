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

    Attributes:
        frames: what was accepted, as it was sent.
        times: when each of those was, by the loop's clock.
        sends: how many sends began.
        closed: the reasons that `close` was called with.
    """

    def __init__(
        self,
        *,
        turns: int = 0,
        seconds: float = 0.0,
        fails_at: int | None = None,
        hangs_at: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self.frames: list[str] = []
        self.times: list[float] = []
        self.sends: int = 0
        self.closed: list[SessionEndReason] = []
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
        self._hangs_at = 0

    def read_on(self) -> None:
        """Read what waits, and hang no more."""
        self._hangs_at = None
        self._reads_on.set()
        self._reads_on = asyncio.Event()

    def fail(self, error: Exception | None = None) -> None:
        """Be gone: each send raises from now on, those that hang too.

        Args:
            error: what they raise; by default what the constructor was given.
        """
        self._error = error or self._error
        self._fails_at = 0
        self.read_on()

    async def __call__(self, frame: str) -> None:
        """Take one frame.

        Raises:
            AssertionError: another send is under way; a connection has one writer.
            Exception: whatever it is told to fail with.
        """
        if self._is_sending:
            raise AssertionError("two sends at once on one connection")
        self._is_sending = True
        self.sends += 1
        number = self.sends
        try:
            for _ in range(self._turns):
                await asyncio.sleep(0)
            if self._seconds:
                await asyncio.sleep(self._seconds)
            while self._hangs_at is not None and number >= self._hangs_at:
                await self._reads_on.wait()
            if self._fails_at is not None and number >= self._fails_at:
                raise self._error or ConnectionError("the client is gone")
        finally:
            self._is_sending = False
        self.frames.append(frame)
        self.times.append(asyncio.get_running_loop().time())

    async def close(self, reason: SessionEndReason) -> None:
        """Note that the endpoint has ended the session."""
        self.closed.append(reason)
