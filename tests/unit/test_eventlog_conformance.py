"""The log in memory keeps the contract of event logs."""

import pytest

from agent_messaging.testing import run_virtual
from conformance import CASES
from support.event_logs import make_memory_log


@pytest.mark.parametrize("name", CASES)
def test_the_log_in_memory_passes(name: str) -> None:
    run_virtual(CASES[name](make_memory_log))
