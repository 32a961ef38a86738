"""Ids that are made."""

import os
from collections.abc import Callable

from agent_messaging._errors import ConfigurationError
from agent_messaging._limits import is_id

__all__ = ["made_id", "new_id"]


def new_id() -> str:
    """A new id of 32 hexadecimal digits: 128 random bits, as in a UUID."""
    return os.urandom(16).hex()


def made_id(make: Callable[[], str]) -> str:
    """What the host's source of ids makes, if it is one."""
    made = make()
    if not is_id(made):
        raise ConfigurationError(f"new_id must return 1 to 128 printable characters, not {made!r}")
    return made
