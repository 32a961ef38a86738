"""Where a host can be held, or killed: what its program and its parent have to agree on."""

from typing import Final, Literal, TypeAlias, get_args

#: Where a run is, or a host:
#:
#: - ``starting``: the host has no endpoint yet; its log is about to be opened, or just was;
#: - ``before claim``: the log is about to be asked for a claim;
#: - ``claiming``: the transaction of a claim is open;
#: - ``claimed``: the claim is committed, and the endpoint does not know it yet;
#: - ``queued``: the message waits for its turn, and an event in the log says so;
#: - ``running``: the agent is at work;
#: - ``in a tool``: so it is, with a tool open;
#: - ``sending``: an event is in the log, and about to be sent;
#: - ``stopping``: the agent cleans up, since it was stopped;
#: - ``ending``: the log is about to be given the terminal event;
#: - ``committing``: it is written in a transaction that is open;
#: - ``ended``: it is committed, and neither the endpoint nor any client know that yet;
#: - ``recovering``: a run that another host left is taken over, and not ended yet.
Point: TypeAlias = Literal[
    "starting",
    "before claim",
    "claiming",
    "claimed",
    "queued",
    "running",
    "in a tool",
    "sending",
    "stopping",
    "ending",
    "committing",
    "ended",
    "recovering",
]

POINTS: Final[tuple[Point, ...]] = get_args(Point)

#: Where a host is killed: held at a point; or anywhere, while it goes on.
Phase: TypeAlias = Point | Literal["anywhere"]

PHASES: Final[tuple[Phase, ...]] = (*POINTS, "anywhere")

#: What an agent does for a message.
Behaviour: TypeAlias = Literal["talks", "works", "fails", "waits"]

#: The code of an agent that fails as it was asked to.
ASKED_FOR: Final = "asked_for"
