"""Inputs as scripts: what clients, hosts and time do to an endpoint, a line each.

The first line is how the endpoint is set up, a character for each choice; what lacks is the first.
Each other line is one step: a letter, a digit, and for some steps a frame. So ann opens a
connection, sends a message, some time passes, and she is gone::

    0
    o0
    f0{"type":"chat","payload":{"text":"say3 wait5"},"thread_id":"t"}
    w4
    c0

Every input is a script: any other character stands for one of those which mean something.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from agent_messaging import OnDisconnect, SlowConsumers, ThreadPolicy, grace

T = TypeVar("T")

#: What can happen; the tasks of hosts that are cut are cancelled.
Action: TypeAlias = Literal[
    "open",
    "post",
    "frame",
    "text",
    "close",
    "cut",
    "stall",
    "read on",
    "break",
    "wait",
    "yield",
    "start draining",
    "drain",
    "forget",
]

#: By the letters that mean them.
_ACTIONS: Final[Mapping[str, Action]] = {
    "o": "open",
    "p": "post",
    "f": "frame",
    "t": "text",
    "c": "close",
    "x": "cut",
    "s": "stall",
    "r": "read on",
    "b": "break",
    "w": "wait",
    "y": "yield",
    "d": "start draining",
    "D": "drain",
    "g": "forget",
}
_IN_ORDER: Final = tuple(_ACTIONS.values())

#: Steps that count: a run of them takes a few milliseconds.
STEPS: Final = 48


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens.

    Attributes:
        action: what.
        number: of a connection, of a user, or how much of it; up to 15.
        frame: what a client sends, for an action that has one.
    """

    action: Action
    number: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Setting:
    """How the endpoint is set up."""

    policy: ThreadPolicy
    on_disconnect: OnDisconnect
    slow_consumers: SlowConsumers
    log: Literal["prompt", "slow", "troubled"]
    seed: int | None
    heartbeat: float | None
    idle_timeout: float | None
    is_tight: bool
    events_per_user: int


def setting_of(script: bytes) -> Setting:
    """What the first line says."""
    line = script.partition(b"\n")[0]
    digits = iter(line)

    def chosen(*choices: T) -> T:
        return choices[next(digits, 0x30) % 16 % len(choices)]

    return Setting(
        policy=chosen("queue", "reject", "replace", "parallel"),
        on_disconnect=chosen("cancel", "detach", grace(3.0)),
        slow_consumers=chosen("end", "wait"),
        log=chosen("prompt", "slow", "troubled"),
        seed=chosen(None, *range(1, 16)),
        heartbeat=chosen(None, 5.0),
        idle_timeout=chosen(None, 20.0),
        is_tight=chosen(False, True),
        events_per_user=chosen(20_000, 40),
    )


def steps_of(script: bytes) -> list[Step]:
    """What the other lines say, as many as count."""
    lines = script.split(b"\n")[1 : STEPS + 1]
    return [_step(line) for line in lines if line]


def _step(line: bytes) -> Step:
    action = _ACTIONS.get(chr(line[0])) or _IN_ORDER[line[0] % len(_IN_ORDER)]
    return Step(action, line[1] % 16 if len(line) > 1 else 0, line[2:])


def has_frame(line: bytes) -> bool:
    """Whether a line has a frame of a client in it."""
    return line[:1] in (b"f", b"t", b"p")
