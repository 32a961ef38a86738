"""What a suite is made of: plain coroutine functions, found in their modules by their names."""

import inspect
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

__all__ = ["Case", "cases_of"]

Make = TypeVar("Make")

#: One case of a suite, given a way to make what is tested: it returns, or raises what is wrong.
Case: TypeAlias = Callable[[Make], Coroutine[object, object, None]]


def cases_of(*modules: ModuleType) -> dict[str, Case[Any]]:
    """The cases of these modules by their names: their own coroutine functions."""
    return {
        name: member
        for module in modules
        for name, member in vars(module).items()
        if inspect.iscoroutinefunction(member)
        and member.__module__ == module.__name__
        and not name.startswith("_")
    }
