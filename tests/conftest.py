"""What all tests have in common."""

import gc


def pytest_collection_finish() -> None:
    # The tests themselves, of which there are thousands, are never garbage: what looks for some
    # while they run need not look at them.
    gc.collect()
    gc.freeze()
