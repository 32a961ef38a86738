"""The log in memory keeps the contract of event logs."""

import pytest

from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance import EVENT_LOG_CASES
from support.event_logs import make_memory_log


@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_the_log_in_memory_passes(name: str) -> None:
    run_virtual(EVENT_LOG_CASES[name](make_memory_log))
