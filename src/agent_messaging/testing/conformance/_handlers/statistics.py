"""Cases: what a handler tells of its counters is a copy of them."""

from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Final, cast

from agent_messaging.testing.conformance._expect import expect
from agent_messaging.testing.conformance._handlers.trial import MakeHandler, on_trial

#: What no handler counts.
_MARK: Final = "changed by whoever has read it"


async def nothing_that_is_done_to_its_statistics_changes_them(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    await trial.handle_all()
    _spoil(trial.handler.get_stats())
    expect(_marked(trial.handler.get_stats()), [], "statistics that their reader has changed")


async def statistics_that_were_read_stay_as_they_are(make_handler: MakeHandler) -> None:
    trial = await on_trial(make_handler)
    await trial.handle_all()
    read = trial.handler.get_stats()
    before = _copied(read)
    await trial.handle_all()
    expect(_copied(read), before)


def _items(value: object) -> Iterable[tuple[object, object]] | None:
    """What a mapping or a sequence holds, each with its key or place; None for other values."""
    if isinstance(value, Mapping):
        return cast("Mapping[object, object]", value).items()
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return enumerate(cast("Sequence[object]", value))
    return None


def _spoil(value: object) -> None:
    """Change whatever of it can be changed."""
    for _, item in [*(_items(value) or ())]:
        _spoil(item)
    if isinstance(value, MutableMapping):
        mapping = cast("MutableMapping[object, object]", value)
        mapping.update(dict.fromkeys(mapping, _MARK))
    elif isinstance(value, MutableSequence):
        cast("MutableSequence[object]", value).append(_MARK)


def _marked(value: object, place: str = "get_stats()") -> list[str]:
    """The places in it that were changed."""
    if value == _MARK:
        return [place]
    items = _items(value) or ()
    return [found for key, item in items for found in _marked(item, f"{place}[{key!r}]")]


def _copied(value: object) -> object:
    """What it holds now, whatever becomes of it."""
    items = _items(value)
    return value if items is None else [(key, _copied(item)) for key, item in items]
