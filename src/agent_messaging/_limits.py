"""Every bound of the package, in one place."""

from dataclasses import dataclass
from typing import Final, TypeGuard, final

__all__ = ["DEFAULT_LIMITS", "ID_LENGTH", "Limits", "is_id"]

#: Ids are keys in logs, databases and headers; 128 holds a UUID, a URN of one and a prefix.
ID_LENGTH: Final = 128


def is_id(value: object) -> TypeGuard[str]:
    """Whether ``value`` can be an id: a string of 1 to 128 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= ID_LENGTH and value.isprintable()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds on what comes in and on what waits to go out.

    Raises:
        ValueError: a bound is not a positive integer, nor None where that means no bound.
    """

    #: Bytes of one inbound frame. A long prompt with a pasted file fits; an upload does not.
    frame_bytes: int = 256 * 1024
    #: Nesting of one inbound frame. Forms and tool arguments rarely pass 10.
    json_depth: int = 32
    #: Characters of one inbound JSON number: an exact double takes 17, a 256-bit integer 78.
    number_length: int = 128
    #: Bytes of one outbound payload. Browsers and proxies commonly refuse frames beyond 1 MiB.
    payload_bytes: int = 1024 * 1024
    #: Frames waiting for one connection before awaiting an event waits for room.
    outbox_frames: int = 256
    #: Frames waiting for one connection before an event that nobody awaited is refused.
    #: Well above ``outbox_frames``, since every sub-task of an agent may hold one.
    outbox_overrun: int = 4096

    # What an endpoint holds its users and sessions to.

    #: Agent messages a minute of one user, over all sessions; None for no bound. A person types
    #: a few; 60 leaves room for scripts that retry.
    messages_per_minute: int | None = 60
    #: Frames a minute of one user, over all sessions; None for no bound. Ten for each message.
    frames_per_minute: int | None = 600
    #: Runs of one user at once: as many tabs as anybody watches.
    runs_per_user: int = 4
    #: Messages that wait for their turn on one thread.
    queued_per_thread: int = 16
    #: Sessions of one user at once: a few devices with a few tabs each.
    sessions_per_user: int = 8
    #: Events that a session may be behind a run that it watches live, while a send is pending.
    lag_events: int = 256
    #: Runs of a thread that one RESUME brings back, the newest; runs that it may name.
    resumed_runs: int = 100
    #: Answers that wait for one session before its next frame waits to be received.
    pending_replies: int = 64

    def __post_init__(self) -> None:
        for name in self.__slots__:
            bound: object = getattr(self, name)
            if bound is None and name.endswith("_per_minute"):
                continue
            if type(bound) is not int or bound < 1:
                raise ValueError(f"Limits.{name} must be a positive integer, not {bound!r}")
        if self.outbox_overrun <= self.outbox_frames:
            # Else what is awaited would be refused before there is anything to wait for.
            raise ValueError("Limits.outbox_overrun must be more than outbox_frames")


DEFAULT_LIMITS: Final = Limits()
