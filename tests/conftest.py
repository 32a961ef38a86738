"""What all tests have in common."""

import gc
from collections.abc import Iterator

import pytest


def pytest_collection_finish() -> None:
    # The tests themselves, of which there are thousands, are never garbage: what looks for some
    # while they run need not look at them.
    gc.collect()
    gc.freeze()


@pytest.fixture
def collected() -> Iterator[None]:
    """A task that is left behind ends with its test: later it would speak during another."""
    yield
    gc.collect()
