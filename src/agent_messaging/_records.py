"""The decorator of the vocabulary's small value classes."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

__all__ = ["record"]

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A slotted, keyword-only dataclass that type checkers hold frozen.

    At run time it is not frozen: construction is on the path of every event, and a frozen
    dataclass takes several times as long to build. It has the hash that a frozen one would have.
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
