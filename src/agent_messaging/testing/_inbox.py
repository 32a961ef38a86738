"""What a client received: frames, and runs in them."""

from collections.abc import Mapping
from typing import Final, final

from agent_messaging._messages import MessageType
from agent_messaging.eventlog.protocol import TERMINAL
from agent_messaging.testing._received import ReceivedFrame, listed, run_key
from agent_messaging.testing._transcript import Transcript, check_ending
from agent_messaging.testing._troubles import RunKey, Troubles

__all__ = ["Inbox"]


@final
class Inbox:
    """The frames of one client, on all of its connections.

    Its ``str`` lists them, for the message of a failure.

    Attributes:
        frames: all of them.
    """

    def __init__(self, user_id: str, troubles: Troubles) -> None:
        self.frames: Final[list[ReceivedFrame]] = []
        self._user_id = user_id
        self._troubles = troubles
        #: Of the frames those that no wait has come upon yet, but for errors.
        self._unread: list[ReceivedFrame] = []
        self._runs: dict[RunKey, list[ReceivedFrame]] = {}
        #: The runs whose ends a test of this client has waited for.
        self._read_runs: set[RunKey] = set()

    def add(self, frame: ReceivedFrame) -> None:
        """Note one more frame."""
        self.frames.append(frame)
        if frame.type != MessageType.ERROR_MESSAGE:
            self._unread.append(frame)
        if frame.is_of_run and frame.seq is not None:
            run = self._runs.setdefault(run_key(frame), [])
            if not run or frame.seq > (run[-1].seq or 0):  # it may be sent again
                run.append(frame)

    @property
    def runs(self) -> tuple[Transcript, ...]:
        """The runs of which something came, in the order in which it did."""
        return tuple(map(self._transcript, self._runs))

    @property
    def open_runs(self) -> Mapping[str | None, int | None]:
        """The last event of each run that has not ended, by its id."""
        lasts = (frames[-1] for frames in self._runs.values())
        return {last.run_id: last.seq for last in lasts if last.type not in TERMINAL}

    def take(self, type: str) -> ReceivedFrame | None:  # noqa: A002 - the field's name
        """The next frame of a type, those before it passed over; None while there is none."""
        while self._unread:
            frame = self._unread.pop(0)
            if frame.type == type:
                return frame
        return None

    def take_run(self, message_id: str | None) -> Transcript | None:
        """A run that has ended, its frames so far passed over; None while it has not.

        Args:
            message_id: of the run's message, which may be one that was taken before, if no other
                is of it; None for the next run that was not.
        """
        meant = [
            key
            for key, frames in self._runs.items()
            if message_id in (None, frames[0].payload.get("message_id"))
        ]
        unread = [key for key in meant if key not in self._read_runs]
        if unread:
            key = unread[0]
        elif meant and message_id is not None:
            key = meant[-1]
        else:
            return None
        if self._runs[key][-1].type not in TERMINAL:
            return None
        self._read_runs.add(key)
        self._troubles.expected_runs.add(key)
        self._unread = [f for f in self._unread if not f.is_of_run or run_key(f) != key]
        return self._transcript(key)

    def check_runs(self) -> None:
        """See that no run has failed of which no test has said so.

        Raises:
            BaseException: what the agent of one raised.
            UnexpectedError: one failed otherwise.
        """
        for key in self._runs:
            transcript = self._transcript(key)
            if transcript.outcome == "failed" and not self._troubles.expects(key):
                check_ending(transcript, "completed")

    def __str__(self) -> str:
        """All that came."""
        return f"{self._user_id} got:\n{listed(self.frames)}"

    def _transcript(self, key: RunKey) -> Transcript:
        return Transcript(self._runs[key], self._troubles.run_errors.get(key))
