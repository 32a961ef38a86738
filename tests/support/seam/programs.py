"""What happens around a log, as a list of steps that is good for any log, and how it is drawn."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, get_args

from hypothesis import strategies as st

from agent_messaging import MessageType, Notice

__all__ = [
    "FENCED_OFF",
    "OWNERS",
    "USERS",
    "Act",
    "Again",
    "Append",
    "Await",
    "AwaitOne",
    "Cancel",
    "Claim",
    "Follow",
    "Forget",
    "Intrude",
    "Leave",
    "LeaveWhenWoken",
    "Notify",
    "Program",
    "Read",
    "ReadOn",
    "Renew",
    "Return",
    "Settle",
    "Stall",
    "Step",
    "Take",
    "TimePasses",
    "programs",
    "some",
]

T = TypeVar("T")

USERS: Final = ("ann", "bob")
OWNERS: Final[tuple[str, str]] = ("one", "two")

#: After how many turns of the loop a call is cancelled; None if it is not.
Cancelled: TypeAlias = int | None


class Claim(NamedTuple):
    """An owner claims a new run, or claims again where it does not know whether it has."""

    user_id: str
    owner: str
    cancelled: Cancelled


class Append(NamedTuple):
    """An owner appends events, or those again of which it does not know whether they are."""

    nth: int
    size: int
    is_one_by_one: bool
    end: MessageType | None
    cancelled: Cancelled


class Again(NamedTuple):
    """An owner appends again what was appended last."""

    nth: int
    cancelled: Cancelled


#: What is wrong with an append that is to be refused.
Wrong: TypeAlias = Literal["another token", "a gap", "other content", "half of it was before"]
WRONGS: Final[Sequence[Wrong]] = get_args(Wrong)


class Intrude(NamedTuple):
    """Somebody appends what must not be."""

    nth: int
    wrong: Wrong


class Follow(NamedTuple):
    """A new client follows a run, from some events before its end."""

    nth: int
    back: int
    limit: int
    pace: int
    is_eager: bool
    is_elsewhere: bool


class Return(NamedTuple):
    """A client that has left follows its run again, from where it has come to."""

    nth: int
    limit: int
    pace: int
    is_elsewhere: bool


class Leave(NamedTuple):
    """A follower leaves."""

    nth: int


class LeaveWhenWoken(NamedTuple):
    """A follower is to make another leave, or itself, the next time that it is woken."""

    nth: int
    other: int


class Stall(NamedTuple):
    """A follower takes no more events."""

    nth: int


class ReadOn(NamedTuple):
    """All followers take events again."""


class Read(NamedTuple):
    """Somebody reads a page."""

    nth: int
    after: int
    limit: int
    is_elsewhere: bool
    cancelled: Cancelled


class TimePasses(NamedTuple):
    """The log's clock goes on."""

    seconds: float


class Take(NamedTuple):
    """An owner takes runs whose lease has expired."""

    owner: str
    limit: int
    cancelled: Cancelled


class Renew(NamedTuple):
    """An owner keeps its leases, and those that it has lost."""

    owner: str
    cancelled: Cancelled


class Forget(NamedTuple):
    """A user is forgotten."""

    user_id: str
    cancelled: Cancelled


class Notify(NamedTuple):
    """A run's owner is told something."""

    nth: int
    notice: Notice
    cancelled: Cancelled


class Cancel(NamedTuple):
    """A call that is under way is cancelled."""

    nth: int


class Await(NamedTuple):
    """All calls that are under way come to their end."""


class AwaitOne(NamedTuple):
    """One of them does."""


class Settle(NamedTuple):
    """All of them do, and everybody who reads has caught up."""


Act: TypeAlias = (
    Claim
    | Append
    | Again
    | Intrude
    | Follow
    | Return
    | Leave
    | LeaveWhenWoken
    | Stall
    | ReadOn
    | Read
    | TimePasses
    | Take
    | Renew
    | Forget
    | Notify
    | Cancel
    | Await
    | AwaitOne
    | Settle
)


class Step(NamedTuple):
    """An act, and how many turns of the loop pass after it."""

    act: Act
    turns: int


class Program(NamedTuple):
    """What happens around one log.

    Attributes:
        held_events: how many events of a user the log is to hold; None for all.
        steps: what happens.
    """

    held_events: int | None
    steps: Sequence[Step]


#: The owner of a run goes on with it when it is another's, who took it after its time was over.
FENCED_OFF: Final = Program(
    None,
    [
        Step(act, 0)
        for act in (
            Append(0, 2, False, None, None),
            Settle(),
            TimePasses(100.0),
            Take(OWNERS[0], 9, None),
            Settle(),
            Append(2, 1, False, None, None),  # of four who hold the two runs, or did, an old one
            Settle(),
        )
    ],
)

_nth = st.integers(0, 7)
_back = st.sampled_from([0, 1, 3, 100])
_sizes = st.sampled_from([1, 1, 1, 2, 3, 4, 7, 60])
_paces = st.sampled_from([0, 0, 1, 4, 12])
#: Mostly none, for things that come at once.
_turns = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 6, 30])
_users = st.sampled_from([*USERS, USERS[0], USERS[0]])
_owners = st.sampled_from(OWNERS)
_cancelled: st.SearchStrategy[Cancelled] = st.sampled_from(
    [None, None, None, None, 0, 1, 2, 3, 5, 20, 60]
)
_limits = st.sampled_from([1, 2, 3, 4, 64])
_ends: st.SearchStrategy[MessageType | None] = st.sampled_from(
    [
        *[None] * 9,
        MessageType.AGENT_COMPLETED,
        MessageType.AGENT_FAILED,
        MessageType.AGENT_CANCELLED,
    ]
)

#: Each kind of act, and how often: as often as it takes for all of them to meet.
_ACTS: Final[Sequence[tuple[int, st.SearchStrategy[Act]]]] = (
    (20, st.builds(Append, _nth, _sizes, st.booleans(), _ends, _cancelled)),
    (3, st.builds(Again, _nth, _cancelled)),
    (2, st.builds(Intrude, _nth, st.sampled_from(WRONGS))),
    (7, st.builds(Claim, _users, _owners, _cancelled)),
    (8, st.builds(Follow, _nth, _back, _limits, _paces, st.booleans(), st.booleans())),
    (4, st.builds(Return, _nth, _limits, _paces, st.booleans())),
    (3, st.builds(Leave, _nth)),
    (3, st.builds(LeaveWhenWoken, _nth, _nth)),
    (3, st.builds(Stall, _nth)),
    (1, st.just(ReadOn())),
    (3, st.builds(Read, _nth, st.integers(0, 40), _limits, st.booleans(), _cancelled)),
    (7, st.builds(TimePasses, st.sampled_from([100.0, 100.0, 100.0, 10.0, 30.0]))),
    (9, st.builds(Take, _owners, st.sampled_from([9, 9, 1]), _cancelled)),
    (2, st.builds(Renew, _owners, _cancelled)),
    (2, st.builds(Notify, _nth, st.sampled_from(["stop", "watched"]), _cancelled)),
    (1, st.builds(Forget, _users, _cancelled)),
    (3, st.builds(Cancel, _nth)),
    (4, st.just(Await())),
    (4, st.just(AwaitOne())),
    (6, st.just(Settle())),
)
_kinds = st.sampled_from([at for at, (share, _) in enumerate(_ACTS) for _ in range(share)])


@st.composite
def _steps(draw: st.DrawFn) -> Step:
    _, act = _ACTS[draw(_kinds)]
    return Step(draw(act), draw(_turns))


def programs(steps: int) -> st.SearchStrategy[Program]:
    """Programs of up to so many steps."""
    lists = st.integers(0, steps).flatmap(
        lambda length: st.lists(_steps(), min_size=length, max_size=length)
    )
    return st.builds(Program, st.sampled_from([None, 8, 20]), lists)


def some(choices: Sequence[T], nth: int) -> T:
    """One of them, the newer ones more often."""
    return choices[-1 - nth % len(choices)]
