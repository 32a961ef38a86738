"""Who reads the streams that tell of news: one for each shard with followers, and each owner."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, cast, final

from agent_messaging._log import log, raised_at
from agent_messaging._timeouts import timeout_after
from agent_messaging.eventlog._redis_answers import text
from agent_messaging.eventlog._redis_calls import Calls
from agent_messaging.eventlog._redis_client import RedisClient
from agent_messaging.eventlog._redis_keys import parts_of
from agent_messaging.eventlog._redis_scripts import LAST
from agent_messaging.eventlog.protocol import Notice

__all__ = ["NoticeReader", "Outage", "Reading", "WakeReader"]

_logger: Final = logging.getLogger("agent_messaging.eventlog")

#: Entries that are read at once, at most.
_COUNT: Final = 1000

#: An entry's number: those of one stream grow.
_Position: TypeAlias = tuple[int, int]

_START: Final[_Position] = (0, 0)

#: Entries as a client hands them out.
_Page: TypeAlias = Sequence[tuple[object, Mapping[object, object]]]


class _Entry(NamedTuple):
    position: _Position
    #: The entry before it; the one that a reader had last, unless it has missed some.
    after: _Position
    fields: Mapping[str, str]


@final
class Outage:
    """Whether a log's readers have lost the server: said once for all of them, as is its return.

    It lasts from the first reader that cannot read until one can, and none is left that cannot.
    """

    __slots__ = ("_is_under_way", "_streams")

    def __init__(self) -> None:
        self._is_under_way = False
        self._streams: set[str] = set()

    def failed(self, stream: str, error: Exception) -> None:
        """The stream could not be read."""
        level = logging.DEBUG if self._is_under_way else logging.WARNING
        self._is_under_way = True
        self._streams.add(stream)
        fields: dict[str, object] = {
            "stream": stream,
            "error": type(error.__cause__ or error).__name__,
            "raised_at": raised_at(error),
        }
        log(_logger, level, "redis_read_failed", fields)

    def read(self, stream: str) -> None:
        """The stream was read."""
        if not self._is_under_way:
            return
        self._streams.discard(stream)
        if not self._streams:
            self._is_under_way = False
            log(_logger, logging.INFO, "redis_read_recovered", {"stream": stream})

    def left(self, stream: str) -> None:
        """The stream is not read any more; whether it could be, nobody will find out."""
        self._streams.discard(stream)


@final
class Reading(NamedTuple):
    """What all readers of a log share.

    Attributes:
        client: the host's client.
        calls: the log's calls.
        block: seconds that the server holds an answer back while there is no news.
        timeout: seconds beyond those until a read without an answer is given up.
        random: numbers from 0 to 1, so that not all processes come back at once.
        outage: whether they have lost the server.
    """

    client: RedisClient
    calls: Calls
    block: float
    timeout: float
    random: Callable[[], float]
    outage: Outage


@final
class _Stream:
    """Reads one stream while there is anybody to tell.

    Args:
        reading: what all readers share.
        key: the stream.
        is_wanted: whether there is anybody to tell.
        begin: sees to whatever may have been missed, given the stream's last entry; where to read
            on.
        tell: tells of entries, given where reading went on; whether none is missing before them.
        ended: called when it is not read any more, since there is nobody to tell.
    """

    __slots__ = (
        "_begin",
        "_ended",
        "_failures",
        "_is_wanted",
        "_key",
        "_reading",
        "_task",
        "_tell",
    )

    def __init__(
        self,
        reading: Reading,
        key: str,
        is_wanted: Callable[[], bool],
        begin: Callable[[_Position], Awaitable[_Position]],
        tell: Callable[[_Position, Sequence[_Entry]], bool],
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self._reading: Final = reading
        self._key: Final = key
        self._is_wanted: Final = is_wanted
        self._begin: Final = begin
        self._tell: Final = tell
        self._ended: Final = ended
        self._task: asyncio.Task[None] | None = None
        #: How often in a row it could not read.
        self._failures = 0

    def start(self) -> None:
        """Read, unless it is being read."""
        if self._task is None or self._task.done():
            name = f"agent_messaging reader of {self._key}"
            self._task = asyncio.get_running_loop().create_task(self._read(), name=name)

    async def aclose(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _read(self) -> None:
        """Read until nobody is to be told any more; a read under way is not cut for that."""
        try:
            while self._is_wanted():
                try:
                    await self._read_on()
                except Exception as error:  # noqa: BLE001 - the host's client may raise anything
                    if not self._is_wanted():  # as when the log was closed meanwhile
                        break
                    self._reading.outage.failed(self._key, error)
                    await asyncio.sleep(_pause(self._failures, self._reading.random()))
                    self._failures += 1
        finally:
            self._task = None
            self._reading.outage.left(self._key)
            if not self._is_wanted():
                self._ended()

    async def _read_on(self) -> None:
        """See to what may have been missed, then read until something may have been again."""
        at = await self._begin(await self._last())
        while self._is_wanted():
            entries = await self._entries(at)
            self._failures = 0
            self._reading.outage.read(self._key)
            if not entries:
                # A server that came back with less than it had numbers its entries as it likes.
                if await self._last() < at:
                    break
            elif self._tell(at, entries):
                at = entries[-1].position
            else:
                break

    async def _last(self) -> _Position:
        return _position(await self._reading.calls.ask(LAST, (self._key,)))

    async def _entries(self, after: _Position) -> Sequence[_Entry]:
        reading = self._reading
        async with timeout_after(reading.block + reading.timeout):
            reply = await reading.client.execute_command(
                *("XREAD", "BLOCK", max(1, round(reading.block * 1000)), "COUNT", _COUNT),
                *("STREAMS", self._key, f"{after[0]}-{after[1]}"),
            )
        return [_entry(*one) for one in _entries_of(reply)]


def _pause(attempt: int, random: float) -> float:
    """Seconds before another attempt: 0.05, 0.1, 0.2, up to 5, and up to half of that less."""
    return min(0.05 * 2.0 ** min(attempt, 10), 5.0) * (1.0 - random / 2)


def _position(word: object) -> _Position:
    time, _, number = text(word).partition("-")
    return int(time), int(number)


def _entries_of(reply: object) -> _Page:
    """The entries in what a client says of one stream, by whatever version of the protocol."""
    if not reply:
        return ()
    if isinstance(reply, dict):
        (pages,) = cast("dict[object, list[_Page]]", reply).values()
        return pages[0]
    ((_, page),) = cast("list[tuple[object, _Page]]", reply)
    return page


def _entry(position: object, fields: Mapping[object, object]) -> _Entry:
    words = {text(name): text(value) for name, value in fields.items()}
    return _Entry(_position(position), _position(words.pop("after")), words)


@final
class WakeReader:
    """Wakes those who follow the runs of one shard.

    Args:
        reading: what all readers share.
        key: the shard's stream of wake-ups.
        look: the last events of some runs of a user; None for each that is unknown.
    """

    __slots__ = ("_look", "_runs", "_stream")

    def __init__(
        self,
        reading: Reading,
        key: str,
        look: Callable[[str, Sequence[str]], Awaitable[Sequence[int | None]]],
    ) -> None:
        self._look: Final = look
        self._runs: dict[str, _Followed] = {}
        self._stream: Final = _Stream(reading, key, self._is_wanted, self._begin, self._tell)

    def follow(self, member: str, wake: Callable[[int], None]) -> Callable[[], None]:
        """Have ``wake`` called for the member's run, until what is returned is called."""
        run = self._runs.setdefault(member, _Followed())
        key = object()
        run.wakes[key] = wake
        self._stream.start()

        def unfollow() -> None:
            run.wakes.pop(key, None)
            if not run.wakes and self._runs.get(member) is run:
                del self._runs[member]

        return unfollow

    async def aclose(self) -> None:
        """Wake nobody any more."""
        self._runs.clear()
        await self._stream.aclose()

    def _is_wanted(self) -> bool:
        return bool(self._runs)

    async def _begin(self, last: _Position) -> _Position:
        """Wake all who may have missed something: news so far, and those that were lost."""
        runs: dict[str, list[tuple[str, _Followed]]] = {}
        for member, run in self._runs.items():
            user_id, run_id = parts_of(member)
            runs.setdefault(user_id, []).append((run_id, run))
        for user_id, followed in runs.items():
            seqs = await self._look(user_id, [run_id for run_id, _ in followed])
            for (_, run), seq in zip(followed, seqs, strict=True):
                # Whoever follows a run without events yet has nothing to read.
                if seq != run.last_seq or seq:
                    run.wake(seq or 0)
        return last

    def _tell(self, at: _Position, entries: Sequence[_Entry]) -> bool:
        for entry in entries:
            if entry.after != at:
                return False
            at = entry.position
            for member, seq in entry.fields.items():
                if member in self._runs:
                    self._runs[member].wake(int(seq))
        return True


@final
class _Followed:
    """Those who follow one run.

    Attributes:
        wakes: what wakes them, by a key of each.
        last_seq: what they were woken with last; 0 for a run that has no events, or is unknown.
    """

    __slots__ = ("last_seq", "wakes")

    def __init__(self) -> None:
        self.wakes: dict[object, Callable[[int], None]] = {}
        self.last_seq = 0

    def wake(self, seq: int) -> None:
        """Wake all of them."""
        self.last_seq = seq
        for key in tuple(self.wakes):
            wake = self.wakes.get(key)
            if wake is not None:  # the one before may have unfollowed it
                wake(seq)


@final
class NoticeReader:
    """Tells those who listen for the notices of one owner.

    Args:
        reading: what all readers share.
        key: the owner's stream of notices.
        ended: called when nobody has listened for a while, and nothing is under way any more.
    """

    __slots__ = ("_heard", "_stream", "_tells")

    def __init__(self, reading: Reading, key: str, ended: Callable[[], object]) -> None:
        self._tells: dict[object, Callable[[str, str, Notice], None]] = {}
        self._heard = _START
        self._stream: Final = _Stream(reading, key, self._is_wanted, self._begin, self._tell, ended)

    def follow(self, tell: Callable[[str, str, Notice], None]) -> Callable[[], None]:
        """Have ``tell`` called for each notice, until what is returned is called."""
        key = object()
        self._tells[key] = tell
        self._stream.start()

        def unfollow() -> None:
            self._tells.pop(key, None)

        return unfollow

    async def aclose(self) -> None:
        """Tell nobody any more."""
        self._tells.clear()
        await self._stream.aclose()

    def _is_wanted(self) -> bool:
        return bool(self._tells)

    async def _begin(self, last: _Position) -> _Position:
        """Read on, or from the start of what there is by now: no notice of this owner is old."""
        if last < self._heard:
            self._heard = _START
        return self._heard

    def _tell(self, _: _Position, entries: Sequence[_Entry]) -> bool:
        for entry in entries:
            self._heard = entry.position
            for member, notice in entry.fields.items():
                user_id, run_id = parts_of(member)
                for key in tuple(self._tells):
                    tell = self._tells.get(key)
                    if tell is not None:
                        tell(user_id, run_id, cast("Notice", notice))
        return True
