"""What was logged."""

from typing import Any

import pytest

__all__ = ["lines"]


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The lines of one event, each as the fields of its record."""
    return [
        vars(record)
        for record in caplog.records
        if record.name.startswith("agent_messaging.") and vars(record).get("event") == event
    ]
