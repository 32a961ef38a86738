"""What the library logs while a test goes on, and what of that the test did not expect."""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from agent_messaging._log import listener

__all__ = ["LoggedTrouble", "Troubles", "UnexpectedError"]


@final
class UnexpectedError(AssertionError):
    """What the library answers or logs in production, where a test did not expect it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedTrouble:
    """A warning or an error that the library logged.

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
    """Gathers warnings and errors that the library logs, and how runs ended.

    However the host has set up logging, and of what its own test has led to alone.

    Attributes:
        logged: what was logged as WARNING or above, and was not expected yet. The end of a run is
            none of it.
        outcomes: the types of the terminal events of runs that were reported, by run id.
        run_errors: what the agents of runs raised that did not complete, by run id.
        changed: called after each that was logged, in whatever thread did.
    """

    def __init__(self) -> None:
        self.logged: list[LoggedTrouble] = []
        self.outcomes: dict[str, str] = {}
        self.run_errors: dict[str, BaseException] = {}
        self.changed: Callable[[], object] = bool
        self._excused: list[LoggedTrouble] = []
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
        if event == "run_error" and error is not None:
            self.run_errors[str(fields["run_id"])] = error
        elif event == "run_finished":
            self.outcomes[str(fields["run_id"])] = str(fields["outcome"])
        elif level >= logging.WARNING:
            self.logged.append(LoggedTrouble(event=event, fields=dict(fields), error=cause))
            self.changed()

    def take(self, event: str) -> LoggedTrouble | None:
        """The first trouble of this name, which is thereby expected; None if there is none."""
        for troubles in (self._excused, self.logged):
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
