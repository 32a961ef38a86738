"""The promises of the package, and for each of them twins of the package that break it.

A twin has one fault, and names tests of ours that fail on it. A test that comes to let its twin
pass has become too weak; a twin that no test finds shows which test is missing.
"""

from collections.abc import Mapping
from typing import Final

from twins import (
    bad_input,
    bounds,
    counting,
    in_order,
    isolation,
    one_end,
    one_handler,
    privacy,
    sockets,
    synchronous,
    typed,
)
from twins.twin import Twin

__all__ = ["PROMISES"]

PROMISES: Final[Mapping[str, tuple[Twin, ...]]] = {
    "the socket stays with the host": sockets.TWINS,
    "there is one canonical handler": one_handler.TWINS,
    "decisions are synchronous": synchronous.TWINS,
    "what happened is counted": counting.TWINS,
    "every accepted message ends in exactly one terminal event": one_end.TWINS,
    "what a transport accepted is a prefix of what the run decided": in_order.TWINS,
    "users are isolated by construction": isolation.TWINS,
    "bad input is answered and not swallowed": bad_input.TWINS,
    "every buffer has a bound": bounds.TWINS,
    "nothing private leaks": privacy.TWINS,
    "everything is typed": typed.TWINS,
}
