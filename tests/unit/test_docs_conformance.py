"""What the documentation says of the conformance suites is so, and its own handlers pass."""

import re
from collections.abc import Mapping
from typing import Any, Final

import pytest

from agent_messaging import Message
from agent_messaging.testing import conformance, run_virtual
from agent_messaging.testing.conformance import HANDLER_CASES, TRANSPORT_CASES, HandlerOnTrial
from support import pages

_REFERENCE: Final = pages.page("reference/testing-conformance.md")


def test_the_reference_names_everything_public_once() -> None:
    named = re.findall(r"^\.\. auto\w+:: ([\w.]+)$", _REFERENCE, flags=re.MULTILINE)
    assert sorted(named) == sorted(
        f"agent_messaging.testing.conformance.{name}" for name in conformance.__all__
    )


@pytest.mark.parametrize(
    ("heading", "cases"), [("Transports", TRANSPORT_CASES), ("Handlers", HANDLER_CASES)]
)
def test_the_reference_lists_the_cases_in_their_order(
    heading: str, cases: Mapping[str, object]
) -> None:
    assert pages.names(pages.section(_REFERENCE, f"## {heading}")) == list(cases)


def _feedback_handler() -> Any:
    """The handler that the page on hosts writes."""
    section = pages.section(
        pages.page("how-to/plug-in-a-host.md"), "## Add a message type of your own"
    )
    block = re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Any] = {"__name__": __name__}
    exec(block.partition("async def give_feedback")[0], names)  # noqa: S102 - our own
    return names["FeedbackHandler"]


@pytest.mark.parametrize("name", HANDLER_CASES)
def test_the_handler_of_the_page_on_hosts_passes(name: str) -> None:
    async def make_handler() -> HandlerOnTrial:
        return HandlerOnTrial(_feedback_handler()(), [Message(type="feedback", message_id="m-1")])

    run_virtual(HANDLER_CASES[name](make_handler))
