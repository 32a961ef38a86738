"""What other tests have left to be collected."""

import gc
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["without_collections"]


@contextmanager
def without_collections() -> Generator[None]:
    """Collect no garbage: it may be another test's, whose end would be counted too."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
