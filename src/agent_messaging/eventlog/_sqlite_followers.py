"""Who in a process follows what."""

from collections.abc import Callable
from typing import Final, Generic, ParamSpec, TypeVar, final

__all__ = ["Followers"]

K = TypeVar("K")
P = ParamSpec("P")


@final
class Followers(Generic[K, P]):
    """What is called for which key; used in the loop's thread alone."""

    __slots__ = ("_by_key", "_emptied")

    def __init__(self, emptied: Callable[[K], object]) -> None:
        """Begin with none; ``emptied`` is told when the last one of a key leaves."""
        self._by_key: Final[dict[K, dict[object, Callable[P, object]]]] = {}
        self._emptied = emptied

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def add(self, key: K, call: Callable[P, object]) -> Callable[[], None]:
        """Have it called for the key, until what is returned is called."""
        follower = object()
        self._by_key.setdefault(key, {})[follower] = call

        def leave() -> None:
            followers = self._by_key.get(key, {})
            if followers.pop(follower, None) is not None and not followers:
                del self._by_key[key]
                self._emptied(key)

        return leave

    def call(self, key: K, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call those of the key."""
        followers = self._by_key.get(key, {})
        for follower in tuple(followers):
            # The one before may have had it leave.
            if follower in followers:
                followers[follower](*args, **kwargs)

    def clear(self) -> None:
        """Call nobody any more; nobody is told that they have left."""
        for followers in self._by_key.values():
            followers.clear()
        self._by_key.clear()
