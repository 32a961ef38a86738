"""What was logged."""

import logging
from typing import Any

import pytest

__all__ = ["lines", "own_records"]


def own_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the package has logged.

    Without what asyncio says, as of a task that another test left behind and that is collected now.
    """
    return [each for each in caplog.records if each.name.startswith("agent_messaging")]


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The lines of one event, each as the fields of its record."""
    return [vars(record) for record in own_records(caplog) if vars(record).get("event") == event]
