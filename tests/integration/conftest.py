"""The host programs of the documentation, as modules."""

import importlib
from collections.abc import Callable, Generator
from types import ModuleType

import pytest

from integration.hosts import EXAMPLES, SECRET


@pytest.fixture(scope="session")
def example() -> Generator[Callable[[str], ModuleType]]:
    """Imports a module of ``docs/examples/hosts`` by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAT_SECRET", SECRET)
        patch.syspath_prepend(EXAMPLES)  # pyright: ignore[reportUnknownMemberType] - untyped
        yield lambda name: importlib.import_module(f"hosts.{name}")


@pytest.fixture(scope="session")
def issue(example: Callable[[str], ModuleType]) -> Callable[..., str]:
    """Makes a token for a user, good for so many seconds."""
    make: Callable[..., str] = example("auth").issue
    return make
