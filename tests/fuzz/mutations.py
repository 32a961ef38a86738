"""Changes to an input that keep it JSON, beside those to its bytes."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias, cast

from support.frames import Json

#: Changes bytes as libFuzzer does; the second argument bounds their number.
Mutate: TypeAlias = Callable[[bytes, int], bytes]

_NAMES: Final = (
    *("type", "payload", "thread_id", "run_id", "message_id", "timestamp", "user_id"),
    *("user_request", "message", "content", "text", "agent", "after", "id", "x", ""),
)

#: How often bytes are changed without regard for what they mean: a few of such changes in one
#: input, and little of it is JSON any more.
_BYTES: Final = 0.2
_SEPARATORS: Final = ((",", ":"), (", ", ": "), (" ,\t", "\r\n:"))


def mutated_json(
    text: bytes, limit: int, random: Random, mutate: Mutate, values: Sequence[object]
) -> bytes:
    """A text with one of its values changed where it is JSON, and with other bytes where not.

    Args:
        text: JSON, or anything else.
        limit: bytes that the outcome may have.
        random: what decides.
        mutate: changes bytes.
        values: what takes the place of a value now and then.
    """
    if random.random() < _BYTES:
        return mutate(text, limit)
    try:
        value: object = json.loads(text)
        changed = _changed(value, random, values)
        encoded = json.dumps(
            changed, ensure_ascii=random.random() < 0.5, separators=random.choice(_SEPARATORS)
        ).encode()
    except (ValueError, RecursionError):
        return mutate(text, limit)
    return encoded if len(encoded) <= limit else mutate(text, limit)


def _changed(value: object, random: Random, values: Sequence[object]) -> object:
    """The value with one change at any depth."""
    whole: object = value  # of which the type checkers go on to know nothing
    goes_deeper = random.random() < 0.8
    if goes_deeper and isinstance(value, dict) and value:
        fields = dict(cast("Json", value))
        name = random.choice(list(fields))
        match random.randrange(8):
            case 0:
                del fields[name]
            case 1:
                fields[random.choice(_NAMES)] = fields[name]
            case 2:
                fields[random.choice(_NAMES)] = random.choice(values)
            case _:
                fields[name] = _changed(fields[name], random, values)
        return fields
    if goes_deeper and isinstance(value, list) and value:
        items = list(cast("list[object]", value))
        at = random.randrange(len(items))
        items[at] = _changed(items[at], random, values)
        return items
    return _replaced(whole, random, values)


def _replaced(value: object, random: Random, values: Sequence[object]) -> object:
    match random.randrange(6):
        case 0:
            return [value]
        case 1:
            return {random.choice(_NAMES): value}
        case 2 if isinstance(value, str):
            at = random.randrange(len(value) + 1)
            return value[:at] + chr(random.choice(_CHARACTERS)) + value[at:]
        case 3 if isinstance(value, int | float):
            return random.choice((-value, value + 1, value * 10, float(value)))
        case _:
            return random.choice(values)


#: Of one to four bytes, controls, spaces, what does not show, and the last before surrogates.
_CHARACTERS: Final = (0, 9, 32, 65, 127, 0xA0, 0xE9, 0x200B, 0x2028, 0xD7FF, 0xFEFF, 0x1F4A9)
