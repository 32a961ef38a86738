"""What scripts answer, as the values of a log; for clients that decode words and that do not."""

from typing import Final, cast, final

from agent_messaging._messages import MessageType
from agent_messaging.eventlog._redis_keys import decoded
from agent_messaging.eventlog.protocol import EventPage, LoggedEvent, RunRecord, RunStatus

__all__ = ["FoundRun", "page_of", "text", "texts"]


def text(word: object) -> str:
    """A word, whether or not the client decodes them; all that is kept is ASCII."""
    return word.decode("ascii") if isinstance(word, bytes) else str(word)


def texts(words: object) -> list[str]:
    """A list of words."""
    return [text(word) for word in cast("list[object]", words)]


@final
class FoundRun:
    """A run as a script tells of it.

    Attributes:
        record: what a log tells of it.
        owner: whose it is.
    """

    __slots__ = ("owner", "record")

    def __init__(self, answer: object, run_id: str) -> None:
        first, last, status, thread, message, digest, owner = texts(answer)
        self.record: Final = RunRecord(
            run_id=run_id,
            thread_id=decoded(thread),
            message_id=decoded(message),
            digest=decoded(digest),
            status=cast("RunStatus", status),
            first_seq=int(first),
            last_seq=int(last),
        )
        self.owner: Final = decoded(owner)


def page_of(answer: object) -> EventPage:
    """A page of a run's events."""
    *numbers, status, entries = cast("list[object]", answer)
    first, last = texts(numbers)
    events = [_event(*entry) for entry in cast("list[tuple[object, object]]", entries)]
    return EventPage(events, int(first), int(last), cast("RunStatus", text(status)))


def _event(position: object, fields: object) -> LoggedEvent:
    _, event, _, payload = texts(fields)
    kind, _, timestamp = event.partition(" ")
    seq, _, _ = text(position).partition("-")
    return LoggedEvent(MessageType(kind), payload, int(seq), float(timestamp))
