"""Any bytes as a script of what clients and hosts do to an endpoint, played in virtual time."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from agent_messaging import MessageType
from agent_messaging.testing import run_virtual
from fuzz.mutations import Mutate, mutated_json
from fuzz.script import Setting, Step, has_frame, setting_of, steps_of
from fuzz.world import World

#: Bytes of the longest input.
LENGTH: Final = 3000

_KINDS: Final = ("start_agent", "user_message", "chat", "connect", "disconnect", "ping")
_TEXTS: Final = (
    *("say3", "say12 wait5", "blurt9", "tool2", "open1 open2 close1", "wait20", "deaf1"),
    *("deaf9", "fail", "raise", "cancel", "group3", "progress", "say40 wait1 say40", " "),
)

#: What libFuzzer puts into inputs, beside what it finds in comparisons.
WORDS: Final = (
    *(f'"type":"{kind}"' for kind in MessageType),
    *('"payload":{', '"thread_id":"t"', '"run_id":"id-3"', '"message_id":"m"', '"after":{'),
    *('"user_id":"ann"', '"timestamp":1', '"text":"', '"user_request":"', '"id-2":0', '"id-4":1'),
    *(f'"{text}"' for text in _TEXTS),
    *("\no0", "\no1", "\no4", "\no8", "\nf0{", "\nf1{", "\np0{", "\nc0", "\nx0", "\ns0", "\nr0"),
    *("\nb0", "\nw1", "\nw3", "\nw6", "\ny4", "\nd0", "\nD4", "\ng0"),
)

#: Seconds of virtual time that no script takes; the endpoint's upkeep alone would go on for longer.
_LONGEST: Final = 20_000.0

_LIST: Final = list[object]()

#: What takes the place of a value in a frame now and then.
_VALUES: Final[tuple[object, ...]] = (
    *_KINDS,
    *("stop_agent", "resume", "pong", "t", "t2", "m", "m2", "ann", "bob", *_TEXTS),
    *(f"id-{number}" for number in range(1, 12)),
    *(None, True, 0, 1, 3, -1, 1.5, 10**30, "", "x" * 129, _LIST, {"": _LIST}, [[[_LIST]]]),
    *({"id-3": 0}, {"id-4": 1, "id-5": 0}, {"thread_id": "t"}, {"run_id": "id-3"}),
)

_LINES: Final = (
    *(b"o0", b"o1", b"o2", b"o4", b"o8", b"c0", b"x0", b"s0", b"r0", b"b0", b"w1", b"w3"),
    *(b"w5", b"w6", b"y2", b"y9", b"d0", b"D4", b"g0"),
    b'f0{"type":"chat","payload":{"text":"say3"},"thread_id":"t","message_id":"m"}',
    b'f1{"type":"chat","payload":{"text":"wait20"},"thread_id":"t"}',
    b'f0{"type":"start_agent","payload":{"user_request":"open1 wait5 say12"}}',
    b'f0{"type":"stop_agent","payload":{"thread_id":"t"}}',
    b'f0{"type":"stop_agent","payload":{"run_id":"id-3"}}',
    b'f0{"type":"resume","payload":{"thread_id":"t"}}',
    b'f1{"type":"resume","payload":{"after":{"id-3":1,"id-5":0}}}',
    b't0{"type":"ping","payload":{"id":7}}',
    b'f0{"type":"disconnect"}',
    b'p0{"type":"chat","payload":{"text":"tool2"},"message_id":"m"}',
)


def _script(*lines: bytes) -> bytes:
    return b"\n".join(lines)


def _messages(thread_ids: Sequence[str]) -> list[bytes]:
    """A message of each text, from two connections in turn, on these threads in turn."""
    return [
        b"f%d" % (nth % 2)
        + json.dumps(
            {
                "type": "chat",
                "payload": {"text": text},
                "thread_id": thread_ids[nth % len(thread_ids)],
                "message_id": f"m{nth}",
            }
        ).encode()
        for nth, text in enumerate(_TEXTS)
    ]


_PING: Final = b't0{"type":"ping"}'

#: What inputs are made of at first.
SEEDS: Final = (
    _script(b"0", *_LINES),
    _script(b"0", b"o0", b"o1", *_messages("tuv"), b"w6", b"w6"),
    _script(b"00020110", b"o0", b"o1", *_messages("tuv"), b"w6", b"D4", b"w6"),
    _script(b"31", b"o0", b"o0", *_messages("t"), b"c0", b"w4", b"o0", b"w6", b"g0"),
    _script(b"2201", b"o0", b"s0", *_messages("tu"), b"w6", b"o4", b"r0", b"w6"),
    _script(b"000000001", b"o2", b"o8", *_messages("tuv"), b"b0", b"w6", b"x1"),
    _script(b"0", b"o0", *[_PING] * 20, b"f0junk", b"f0\xff", b"t0\xff"),
)


def execute(script: bytes) -> None:
    """Play one script to its end, as `played`."""
    played(script)


def played(script: bytes, *, times: int = 1) -> World:
    """What became of a script.

    Args:
        script: as bytes.
        times: how often its steps are done, one after the other.

    Raises:
        AssertionError: a promise was not kept.
        Exception: as raised by what must not raise it.
    """
    setting = setting_of(script)
    errors = _Errors()
    logger = logging.getLogger("agent_messaging")
    logger.addHandler(errors)
    was_propagated, logger.propagate = logger.propagate, False
    try:
        world, troubles = run_virtual(_play(setting, steps_of(script) * times), seed=setting.seed)
    finally:
        logger.propagate = was_propagated
        logger.removeHandler(errors)
    assert not troubles, f"the loop was told: {troubles}"
    _see_logged(errors.events, world)
    return world


def mutated(script: bytes, limit: int, random: Random, mutate: Mutate) -> bytes:
    """Another script: a line more, less, elsewhere or otherwise; or other bytes."""
    lines = script.split(b"\n")
    at = random.randrange(len(lines))
    match random.randrange(10):
        case 0:
            return mutate(script, limit)
        case 1:
            del lines[at]
        case 2:
            lines.insert(random.randrange(1, len(lines) + 1), lines[at])
        case 3 | 4:
            lines.insert(random.randrange(1, len(lines) + 1), random.choice(_LINES))
        case 5:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        case 6 if len(lines[at]) > 1:
            lines[at] = b"%c%d%s" % (lines[at][0], random.randrange(10), lines[at][2:])
        case _ if has_frame(lines[at]):
            head, frame = lines[at][:2], lines[at][2:]
            frame = mutated_json(frame, limit, random, mutate, _VALUES)
            lines[at] = head + frame.replace(b"\n", b" ")
        case _:
            lines[at] = mutate(lines[at], 40).replace(b"\n", b"")
    changed = b"\n".join(lines)
    return changed if len(changed) <= limit else mutate(script, limit)


async def _play(setting: Setting, steps: Sequence[Step]) -> tuple[World, list[dict[str, Any]]]:
    troubles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: troubles.append(told))
    world = World(setting)
    async with asyncio.timeout(_LONGEST):
        await world.endpoint.__aenter__()
        for step in steps:
            await world.play(step)
        await world.end()
    return world, troubles


class _Errors(logging.Handler):
    """Counts what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.events: Final = Counter[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.events[record.getMessage().partition(" ")[0]] += 1


def _see_logged(errors: Counter[str], world: World) -> None:
    """Errors are what agents did that no agent should, and nothing else."""
    abandoned = world.endpoint.stats()["agents_abandoned"]
    assert errors.pop("agent_abandoned", 0) == abandoned
    assert errors.pop("run_finished", 0) <= world.stage.faults
    assert not errors, f"logged as errors: {errors}"
