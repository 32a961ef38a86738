"""What a client received, and what of that a test has not expected yet."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final, final

from agent_messaging._messages import MessageType
from agent_messaging.eventlog.protocol import TERMINAL
from agent_messaging.testing._received import ReceivedFrame, listed
from agent_messaging.testing._transcript import Transcript, check_ending
from agent_messaging.testing._troubles import HANDLER_FAILED, Troubles, UnexpectedError

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
        #: Of the frames those that no wait has come upon yet, and the errors among them apart.
        self._unread: list[ReceivedFrame] = []
        self._errors: list[ReceivedFrame] = []
        self._runs: dict[str, list[ReceivedFrame]] = {}
        #: The runs whose ends a test of this client has waited for.
        self._read_runs: set[str] = set()

    def add(self, frame: ReceivedFrame) -> None:
        """Note one more frame."""
        self.frames.append(frame)
        is_error = frame.type == MessageType.ERROR_MESSAGE
        (self._errors if is_error else self._unread).append(frame)
        if frame.is_of_run and frame.run_id is not None and frame.seq is not None:
            run = self._runs.setdefault(frame.run_id, [])
            if not run or frame.seq > (run[-1].seq or 0):  # it may be sent again
                run.append(frame)

    @property
    def runs(self) -> tuple[Transcript, ...]:
        """The runs of which something came, in the order in which it did."""
        return tuple(map(self._transcript, self._runs))

    @property
    def open_runs(self) -> Mapping[str, int | None]:
        """The last event of each run that has not ended."""
        return {
            run_id: frames[-1].seq
            for run_id, frames in self._runs.items()
            if frames[-1].type not in TERMINAL
        }

    # Reading.

    def take(self, type: str) -> ReceivedFrame | None:  # noqa: A002 - the field's name
        """The next frame of a type, those before it passed over; None while there is none."""
        queue = self._errors if type == MessageType.ERROR_MESSAGE else self._unread
        while queue:
            frame = queue.pop(0)
            if frame.type == type:
                return frame
        return None

    def take_run(self, message_id: str | None) -> Transcript | None:
        """A run that has ended, all its frames passed over; None while it has not.

        Args:
            message_id: of the run's message; None for the next that was not taken yet.
        """
        for run_id, frames in self._runs.items():
            is_next = message_id is None and run_id not in self._read_runs
            if is_next or message_id == frames[0].payload.get("message_id"):
                if frames[-1].type not in TERMINAL:
                    return None
                self._read_runs.add(run_id)
                self._troubles.expected_runs.add(run_id)
                self._unread = [frame for frame in self._unread if frame.run_id != run_id]
                return self._transcript(run_id)
        return None

    def drop_errors(self, code: str | None) -> None:
        """Have the errors with this code be expected."""
        self._errors = [frame for frame in self._errors if frame.payload.get("code") != code]

    # What is left.

    def check_errors(self) -> None:
        """See that no error is left.

        Raises:
            UnexpectedError: one is; its cause is what a handler of the host's raised.
        """
        for frame in self._errors:
            logged = self._troubles.logged
            failed = (each.error for each in logged if each.event == HANDLER_FAILED)
            raise UnexpectedError(
                f"the library answered {frame}; expect_error() says that this is meant; {self}"
            ) from next(failed, None)

    def check_runs(self) -> None:
        """See that no run has failed of which no test has said so.

        Raises:
            BaseException: what the agent of one raised.
            UnexpectedError: one failed otherwise.
        """
        for run_id in self._runs:
            transcript = self._transcript(run_id)
            is_expected = run_id in self._troubles.expected_runs
            if transcript.outcome == "failed" and not is_expected:
                check_ending(transcript, "completed")

    def check_refusals(self, connections: Collection[str]) -> None:
        """See that each refusal of what these connections sent was received.

        Raises:
            UnexpectedError: one was not.
        """
        received = Counter(
            frame.payload.get("code")
            for frame in self.frames
            if frame.type == MessageType.ERROR_MESSAGE
        )
        for refusal in self._troubles.refusals:
            if refusal.fields["connection_id"] in connections:
                code = refusal.fields["code"]
                received[code] -= 1
                if received[code] < 0:
                    raise UnexpectedError(
                        f"the library answered the error {code}, which did not arrive; "
                        f"expect_log({refusal.event!r}) says that this is meant; {self}"
                    )

    def __str__(self) -> str:
        """All that came."""
        return f"{self._user_id} got:\n{listed(self.frames)}"

    def _transcript(self, run_id: str) -> Transcript:
        return Transcript(self._runs[run_id], self._troubles.run_errors.get(run_id))
