"""What the library logs while a test goes on, and what of that the test did not expect."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, final

from agent_messaging._log import listener
from agent_messaging._messages import MessageType

__all__ = ["HANDLER_FAILED", "LoggedTrouble", "Troubles", "UnexpectedError"]

#: The line in the log of a handler of the host's own that raised.
HANDLER_FAILED: Final = "handler_failed"

_RUN_FINISHED: Final = "run_finished"
_FRAME_REFUSED: Final = "frame_refused"


@final
class UnexpectedError(AssertionError):
    """What the library answers or logs in production, where a test did not expect it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedTrouble:
    """A line that the library logged of something that went wrong.

    Attributes:
        event: its stable name, as ``hook_failed``.
        fields: what was logged with it.
        error: the exception behind it; None where there is none.
    """

    event: str
    fields: Mapping[str, object]
    error: BaseException | None


@final
class Troubles:
    """Gathers warnings and errors that the library logs, failed runs, and refused frames.

    However the host has set up logging, and of what its own test has led to alone.

    Attributes:
        logged: what was logged as WARNING or above, and was not expected yet. The end of a run is
            none of it.
        refusals: the refusals of frames that no test has asked the log for. They are answered, and
            whether the answer is expected is for the client that gets it.
        expected_runs: the ids of runs whose ends a test has waited for, in whatever way.
        run_errors: what the agents of runs raised that did not complete, by run id.
        changed: called after each that was logged, in whatever thread did.
    """

    def __init__(self) -> None:
        self.logged: list[LoggedTrouble] = []
        self.refusals: list[LoggedTrouble] = []
        self.expected_runs: set[str] = set()
        self.run_errors: dict[str, BaseException] = {}
        self.changed: Callable[[], object] = bool
        self._excused: list[LoggedTrouble] = []
        #: Of the runs that failed, by run id.
        self._failures: dict[str, LoggedTrouble] = {}
        self._cause: BaseException | None = None

    @contextmanager
    def listen(self) -> Generator[None]:
        """Gather what is logged within, and in the tasks that are begun within."""
        token = listener.set(self._hear)
        try:
            yield
        finally:
            listener.reset(token)

    def _hear(
        self, level: int, event: str, fields: Mapping[str, object], error: BaseException | None
    ) -> None:
        """Note one line."""
        # The traceback of a trouble is logged for itself, just before it.
        cause, self._cause = self._cause, error
        if isinstance(error, GeneratorExit) or isinstance(cause, GeneratorExit):
            return  # a run that some other test left behind, and that is collected now
        trouble = LoggedTrouble(event=event, fields=dict(fields), error=cause)
        if event == "run_error" and error is not None:
            self.run_errors[str(fields["run_id"])] = error
            return
        if event == _RUN_FINISHED:
            if fields["outcome"] != MessageType.AGENT_FAILED:
                return
            self._failures[str(fields["run_id"])] = trouble
        elif event == _FRAME_REFUSED:
            self.refusals.append(trouble)
        elif level >= logging.WARNING:
            self.logged.append(trouble)
        else:
            return
        self.changed()

    def take(self, event: str) -> LoggedTrouble | None:
        """The first trouble of this name, which is thereby expected; None if there is none."""
        if event == _RUN_FINISHED:
            for run_id, failure in self._unexpected_failures():
                self.expected_runs.add(run_id)
                return failure
        for troubles in (self._excused, self.logged, self.refusals):
            for trouble in troubles:
                if trouble.event == event:
                    troubles.remove(trouble)
                    return trouble
        return None

    def excuse(self, event: str) -> None:
        """Have the first trouble of this name be expected; it can still be taken."""
        trouble = self.take(event)
        if trouble is not None:
            self._excused.append(trouble)

    def check(self, advice: str = "") -> None:
        """See that there is none that was not expected.

        Args:
            advice: how the test can say that it is.

        Raises:
            UnexpectedError: there is; its cause is what the host's code raised.
        """
        for trouble in self.logged:
            said = " ".join(f"{name}={value}" for name, value in trouble.fields.items())
            raise UnexpectedError(
                f"the library logged {trouble.event} {said}{advice}"
            ) from trouble.error

    def check_runs(self, advice: str = "") -> None:
        """See that no run has failed of which no test has said so; otherwise as `check`."""
        for run_id, failure in self._unexpected_failures():
            raise UnexpectedError(
                f"{run_id} failed, and no client saw that{advice}"
            ) from failure.error

    @property
    def fault(self) -> BaseException | None:
        """What the agent raised of a run of which no test expected to fail; None if none did."""
        return next((failure.error for _, failure in self._unexpected_failures()), None)

    def _unexpected_failures(self) -> Iterator[tuple[str, LoggedTrouble]]:
        for run_id, failure in self._failures.items():
            if run_id not in self.expected_runs:
                yield run_id, failure
