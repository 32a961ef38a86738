"""The standard library's JSON encoder in C, set up once."""

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Protocol, cast

__all__ = ["json_encoder"]


class _CEncoder(Protocol):
    def __call__(self, value: object, indent_level: int, /) -> tuple[str, ...]: ...


def json_encoder(
    default: Callable[[object], object],
    *,
    separators: tuple[str, str] = (",", ":"),
    sort_keys: bool = False,
    allow_nan: bool = False,
) -> Callable[[object], str]:
    """As `json.JSONEncoder.encode`, which sets up the C encoder for each call.

    Where the interpreter has none that works as we know it, it is that method.
    """
    public = json.JSONEncoder(
        allow_nan=allow_nan, sort_keys=sort_keys, separators=separators, default=default
    ).encode
    make = cast("Callable[..., _CEncoder] | None", getattr(json.encoder, "c_make_encoder", None))
    if make is None:
        return public
    comma, colon = separators
    probe: object = {"text": 'a"\u00e9', "list": [1, 1.5, None, True], "empty": {}}
    try:
        # No markers: a cycle then ends as RecursionError, which is caught like any other.
        encoder = make(
            None, default, encode_basestring_ascii, None, colon, comma, sort_keys, False, allow_nan
        )
        # The function is undocumented: one that works differently is not used.
        if "".join(encoder(probe, 0)) != public(probe):
            return public
    except Exception:  # noqa: BLE001 - whatever it does, it is not the function that we know
        return public

    def encode(value: object) -> str:
        return "".join(encoder(value, 0))

    return encode
