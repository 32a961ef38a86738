"""The event log that a page writes passes what every event log has to pass."""

import re
from typing import Any, Final

import pytest

from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance import EVENT_LOG_CASES
from support import pages

_BLOCKS: Final = re.findall(
    r"^```python\n(.*?)^```$",
    pages.page("how-to/write-an-event-log.md"),
    flags=re.MULTILINE | re.DOTALL,
)


def _page() -> dict[str, Any]:
    """What the page's programs define, but for the conversation with an endpoint."""
    names: dict[str, Any] = {"__name__": __name__}
    for block in _BLOCKS:
        if "asyncio.run(conversation())" not in block:
            exec(block, names)  # noqa: S102 - our own
    return names


@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_the_log_of_the_page_passes(name: str) -> None:
    run_virtual(EVENT_LOG_CASES[name](_page()["make_log"]))


def test_the_page_tests_its_log_with_every_case() -> None:
    test = _page()["test_the_log"]
    (mark,) = test.pytestmark
    assert mark.args == ("name", EVENT_LOG_CASES)
