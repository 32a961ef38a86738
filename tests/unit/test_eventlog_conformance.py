"""The log in memory keeps the contract of event logs."""

import pytest

from conformance import CASES
from support import run
from support.event_logs import make_memory_log


@pytest.mark.parametrize("name", CASES)
def test_the_log_in_memory_passes(name: str) -> None:
    run(CASES[name](make_memory_log))
