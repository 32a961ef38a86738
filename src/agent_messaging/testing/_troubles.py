"""What the library logs while a test goes on, and what of that the test did not expect."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from agent_messaging._log import listener
from agent_messaging._messages import MessageType

__all__ = ["HANDLER_FAILED", "LoggedTrouble", "RunKey", "Troubles", "UnexpectedError"]

#: A run by its user, its thread and its id. Two handlers of one test may give the same ids.
RunKey: TypeAlias = tuple[object, object, object]

#: The line in the log of a handler of the host's own that raised.
HANDLER_FAILED: Final = "handler_failed"

_RUN_FINISHED: Final = "run_finished"
#: The refusal of a client's frame, and of a message on which the host has a handler work itself.
_FRAME_REFUSED: Final = "frame_refused"
_MESSAGE_REFUSED: Final = "message_refused"


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

    def __str__(self) -> str:
        """The line, without its level."""
        return " ".join((self.event, *(f"{name}={value}" for name, value in self.fields.items())))


@final
class Troubles:
    """Gathers warnings and errors that the library logs, failed runs, and refused frames.

    However the host has set up logging, and of what its own test has led to alone.

    Attributes:
        logged: what was logged as WARNING or above, or as the refusal of a message, and was not
            expected yet. The end of a run is none of it.
        refusals: the refusals of frames whose answers have not arrived.
        expected_runs: the runs whose ends a test has waited for.
        run_errors: what the agents of runs raised that did not complete.
        changed: called after each that was logged, in whatever thread did.
    """

    def __init__(self) -> None:
        self.logged: list[LoggedTrouble] = []
        self.refusals: list[LoggedTrouble] = []
        self.expected_runs: set[RunKey] = set()
        self.run_errors: dict[RunKey, BaseException] = {}
        self.changed: Callable[[], object] = bool
        self._excused: list[LoggedTrouble] = []
        #: The ends of runs that failed, and the runs of those that a test has asked the log for.
        self._failures: list[LoggedTrouble] = []
        self._logged_runs: set[RunKey] = set()
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
            self.run_errors[_key(fields)] = error
            return
        if event == _RUN_FINISHED:
            if fields["outcome"] != MessageType.AGENT_FAILED:
                return
            self._failures.append(trouble)
        elif event == _FRAME_REFUSED:
            self.refusals.append(trouble)
        elif level >= logging.WARNING or event == _MESSAGE_REFUSED:
            self.logged.append(trouble)
        else:
            return
        self.changed()

    def take(self, event: str) -> LoggedTrouble | None:
        """The first trouble of this name, which is thereby expected; None if there is none."""
        if event == _RUN_FINISHED:
            for failure in self._unexpected_failures():
                self._failures.remove(failure)
                self._logged_runs.add(_key(failure.fields))
                return failure
        for troubles in (self.logged, self.refusals, self._excused):
            for trouble in troubles:
                if trouble.event == event:
                    troubles.remove(trouble)
                    return trouble
        return None

    def excuse(self, event: str) -> None:
        """Have the first trouble of this name be expected; it can still be taken."""
        for trouble in self.logged:
            if trouble.event == event:
                self.logged.remove(trouble)
                self._excused.append(trouble)
                return

    def arrived(self, user_id: str, connection_id: str, reply: Mapping[str, object]) -> None:
        """Forget the refusal that an error answers, which is for the client now."""
        answered = {
            "user_id": user_id,
            "connection_id": connection_id,
            "code": reply.get("code"),
            "message_id": reply.get("message_id"),
        }
        for troubles in (self.refusals, self.logged):
            for trouble in troubles:
                is_refusal = trouble.event in {_FRAME_REFUSED, _MESSAGE_REFUSED}
                if is_refusal and trouble.fields.items() <= answered.items():
                    troubles.remove(trouble)
                    return

    def check(self, advice: str = "") -> None:
        """See that there is none that was not expected.

        Args:
            advice: how the test can say that it is.

        Raises:
            UnexpectedError: there is; its cause is what the host's code raised.
        """
        _raise_first(self.logged, advice)

    def expects(self, run: RunKey) -> bool:
        """Whether a test has said of a run that it is to end as it did."""
        return run in self.expected_runs or run in self._logged_runs

    def check_runs(self, advice: str = "") -> None:
        """See that no run has failed of which no test has said so; otherwise as `check`."""
        _raise_first(self._unexpected_failures(), advice)

    @property
    def fault(self) -> BaseException | None:
        """What an agent raised, of the first run that no test expected to fail; None for none."""
        errors = (failure.error for failure in self._unexpected_failures())
        return next((error for error in errors if error is not None), None)

    def _unexpected_failures(self) -> Iterator[LoggedTrouble]:
        return (one for one in self._failures if _key(one.fields) not in self.expected_runs)


def _raise_first(troubles: Iterable[LoggedTrouble], advice: str) -> None:
    for trouble in troubles:
        raise UnexpectedError(f"the library logged {trouble}{advice}") from trouble.error


def _key(fields: Mapping[str, object]) -> RunKey:
    return fields["user_id"], fields["thread_id"], fields["run_id"]
