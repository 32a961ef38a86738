"""What the library logs while a test goes on, and what of that the test did not expect."""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, final

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
class Troubles(logging.Handler):
    """Gathers warnings and errors of the package's loggers, and how runs ended.

    Attributes:
        logged: what was logged as WARNING or above, and was not expected yet. The end of a run is
            none of it.
        outcomes: the types of the terminal events of runs that were reported, by run id.
        run_errors: what the agents of runs raised that did not complete, by run id.
        changed: called after each of them.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.logged: list[LoggedTrouble] = []
        self.outcomes: dict[str, str] = {}
        self.run_errors: dict[str, BaseException] = {}
        self.changed: Callable[[], object] = bool
        self._cause: BaseException | None = None

    @contextmanager
    def watch(self) -> Generator[None]:
        """Gather what the package's loggers say meanwhile, in all threads."""
        logger = logging.getLogger("agent_messaging")
        level = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note one record."""
        fields = {name: value for name, value in vars(record).items() if name not in _USUAL}
        event = fields.pop("event", None)
        if not isinstance(event, str):
            return
        # The traceback of a trouble is logged for itself, just before it.
        cause, self._cause = self._cause, record.exc_info[1] if record.exc_info else None
        if event == "run_error" and self._cause is not None:
            self.run_errors[str(fields["run_id"])] = self._cause
        elif event == "run_finished":
            self.outcomes[str(fields["run_id"])] = str(fields["outcome"])
        elif record.levelno >= logging.WARNING:
            self.logged.append(LoggedTrouble(event=event, fields=fields, error=cause))
            self.changed()

    def take(self, event: str) -> LoggedTrouble | None:
        """The first trouble of this name, which is thereby expected; None if there is none."""
        for trouble in self.logged:
            if trouble.event == event:
                self.logged.remove(trouble)
                return trouble
        return None

    def check(self) -> None:
        """See that there is none that was not expected.

        Raises:
            UnexpectedError: there is; its cause is what the host's code raised.
        """
        for trouble in self.logged:
            said = " ".join(f"{name}={value}" for name, value in trouble.fields.items())
            raise UnexpectedError(
                f"the library logged {trouble.event} {said}; expect_log() says that this is meant"
            ) from trouble.error


#: What every record has; what is more, the library's fields are.
_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
