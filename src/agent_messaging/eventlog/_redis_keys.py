"""The names of what a log keeps in Redis: none can pose as another, all of a user in one slot."""

import re
import zlib
from typing import Final, NamedTuple, final

from agent_messaging._errors import ConfigurationError

__all__ = ["SHARDS", "Keys", "UserKeys", "decoded", "encoded", "member_of", "parts_of"]

#: How many shards there are, each in one slot of a cluster. Fixed for good: another number would
#: look for every user elsewhere.
SHARDS: Final = 64

#: Users whose keys need not be made anew, as for each event; a few hundred bytes each.
_USERS_REMEMBERED: Final = 1000

_is_plain: Final = re.compile(r"[A-Za-z0-9_.-]*", re.ASCII).fullmatch
_is_prefix: Final = re.compile(r"[A-Za-z0-9_.:/-]+", re.ASCII).fullmatch
_OTHERS: Final = re.compile(rb"[^A-Za-z0-9_.-]")
_ENCODED: Final = re.compile(rb"%([0-9A-F]{2})")


def encoded(name: str) -> str:
    """An id with all but ASCII letters, digits and ``_.-`` percent-encoded; no two become one.

    What is left has no meaning in a key, a cluster's hash tag, a glob or Lua's patterns, and goes
    through a client unchanged, whatever its encoding.
    """
    if _is_plain(name):
        return name
    # A lone surrogate is no printable character, and is nevertheless to meet with no other.
    octets = name.encode("utf-8", "surrogatepass")
    return _OTHERS.sub(lambda found: b"%%%02X" % found[0][0], octets).decode("ascii")


def decoded(name: str) -> str:
    """The id that was encoded so."""
    if "%" not in name:
        return name
    octets = _ENCODED.sub(lambda found: bytes((int(found[1], 16),)), name.encode("ascii"))
    return octets.decode("utf-8", "surrogatepass")


def member_of(user_id: str, run_id: str) -> str:
    """A user's run in one word, as it stands among leases and news."""
    return f"{encoded(user_id)}:{encoded(run_id)}"


def parts_of(member: str) -> tuple[str, str]:
    """The user and the run of a member."""
    user, _, run = member.partition(":")
    return decoded(user), decoded(run)


@final
class UserKeys(NamedTuple):
    """Where all that is known of a user is.

    Attributes:
        user: the user, encoded.
        shard: the number of the user's shard.
        runs: a hash: what is known of the runs, but their events.
        ends: the runs that have ended, by that time.
        events: what the keys of the runs' events begin with.
    """

    user: str
    shard: int
    runs: str
    ends: str
    events: str


@final
class Keys:
    """The keys under one prefix.

    Args:
        prefix: what they all begin with.

    Raises:
        ConfigurationError: the prefix has other characters than ASCII letters, digits and
            ``_.:/-``, or none.
    """

    __slots__ = ("_bases", "_users")

    def __init__(self, prefix: str) -> None:
        if not _is_prefix(prefix):
            raise ConfigurationError(
                f"prefix must be ASCII letters, digits and _.:/- alone, not {prefix!r}"
            )
        self._bases: Final = tuple(f"{prefix}:{{{shard}}}:" for shard in range(SHARDS))
        self._users: Final[dict[str, UserKeys]] = {}

    def user(self, user_id: str) -> UserKeys:
        """The keys of a user."""
        keys = self._users.get(user_id)
        if keys is None:
            shard = _shard_of(user_id)
            base, user = self._bases[shard], encoded(user_id)
            runs, ends, events = f"{base}runs:{user}", f"{base}ends:{user}", f"{base}events:{user}:"
            keys = UserKeys(user, shard, runs, ends, events)
            if len(self._users) >= _USERS_REMEMBERED:
                self._users.clear()
            self._users[user_id] = keys
        return keys

    def leases(self, shard: int) -> str:
        """The runs under way of a shard's users, by the time when their leases expire."""
        return f"{self._bases[shard]}leases"

    def wakes(self, shard: int) -> tuple[str, str]:
        """The stream that tells which runs of a shard have news, and the id of its last entry."""
        base = self._bases[shard]
        return f"{base}wakes", f"{base}wakes:last"

    def notices(self, owner: str) -> tuple[str, str]:
        """The stream of an owner's notices, and the id of its last entry."""
        base = f"{self._bases[_shard_of(owner)]}notices:{encoded(owner)}"
        return base, f"{base}:last"


def _shard_of(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % SHARDS
