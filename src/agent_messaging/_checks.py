"""Checks of what a host sets up."""

from typing import Final

from agent_messaging._errors import ConfigurationError
from agent_messaging._limits import is_id

__all__ = ["check_bound", "check_claims", "check_seconds", "check_user", "check_word"]

_DAY: Final = 24 * 3600


def check_user(user_id: object) -> None:
    """Refuse a user id that the host cannot mean."""
    if not is_id(user_id):
        raise ConfigurationError(
            f"user_id must be a string of 1 to 128 printable characters, not {user_id!r}"
        )


def check_bound(name: str, bound: object) -> int:
    """Refuse what no number of things can be bounded by."""
    if type(bound) is not int or bound < 1:
        raise ConfigurationError(f"{name} must be a positive integer, not {bound!r}")
    return bound


def check_seconds(name: str, seconds: object) -> None:
    """Refuse what no timer can be set to; the upper bound is some thirty years."""
    if not (isinstance(seconds, (int, float)) and 0 < seconds <= 1e9):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {seconds!r}")


def check_claims(claim_seconds: object) -> None:
    """Refuse to keep claims for less than the day that event logs promise."""
    check_seconds("claim_seconds", claim_seconds)
    if not (isinstance(claim_seconds, (int, float)) and claim_seconds >= _DAY):
        raise ConfigurationError(
            f"claim_seconds must be a day ({_DAY}) at least, not {claim_seconds!r}"
        )


def check_word(name: str, word: object, words: tuple[str, ...]) -> None:
    """Refuse a word that is none of those."""
    if word not in words:
        raise ConfigurationError(f"{name} must be one of {', '.join(words)}, not {word!r}")
