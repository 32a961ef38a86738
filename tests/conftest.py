"""What all tests have in common."""

import logging


def pytest_configure() -> None:
    # What asyncio says of something that one test has left behind, it says when that is collected,
    # during some other test, whose log it is not to stand in. Standard error has it.
    logging.getLogger("asyncio").propagate = False
