"""A token bucket: how often something may happen."""

from typing import Final, final

__all__ = ["MINUTE", "TokenBucket"]

MINUTE: Final = 60.0


@final
class TokenBucket:
    """Holds one minute's tokens, and is refilled continuously; synchronous, without a clock.

    Args:
        per_minute: tokens a minute; None for any number.
        now: seconds of a monotonic clock, as in every other call.
    """

    __slots__ = ("_at", "_capacity", "_tokens")

    def __init__(self, per_minute: int | None, now: float) -> None:
        self._capacity = per_minute
        self._tokens = float(per_minute or 0)
        self._at = now

    def take(self, now: float) -> float:
        """Take one token; 0.0, or the seconds until there is one."""
        if self._capacity is None:
            return 0.0
        per_second = self._capacity / MINUTE
        elapsed = max(now - self._at, 0.0)
        self._tokens = min(self._tokens + elapsed * per_second, float(self._capacity))
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / per_second
