"""Tests of the host's own: its agent, its handler and its event log."""

import pytest
from audit_log import AuditedEventLog
from support_desk import HoursHandler, agents, orders

from agent_messaging import AgentMessageHandler, MemoryEventLog, MessageRouter, MessageType
from agent_messaging.testing import converse, run_agent, run_virtual
from agent_messaging.testing.conformance import EVENT_LOG_CASES, LogOnTrial


def test_an_order_is_looked_up() -> None:
    run = run_agent(orders, "17")
    run.assert_golden_path(strict=True)
    assert run.result == {"order": "17", "status": "shipped"}
    assert [use.result for use in run.tools["find_order"]] == ["shipped"]


def test_an_order_that_is_not_there_is_said_to_be_so() -> None:
    run_agent(orders, "99", expect="failed").assert_ended("failed", code="no_order")


def test_the_desk_is_greeted_and_asked_when_it_is_open() -> None:
    with converse(MessageRouter(AgentMessageHandler(agents), HoursHandler())) as client:
        client.send("Hi", type=MessageType.START_AGENT, payload={"agent": "greeter"})
        assert client.expect_run().text == "Hello user-1"
        client.send_frame({"type": "hours"})
        assert client.expect("hours").payload == {"from": 9, "to": 17}


@pytest.mark.parametrize("name", EVENT_LOG_CASES)
def test_the_audited_log_is_an_event_log(name: str) -> None:
    now = [0.0]

    async def advance(seconds: float) -> None:
        now[0] += seconds

    async def make_log(*, held_events: int | None = None) -> LogOnTrial:
        log = MemoryEventLog(events_per_user=held_events or 20_000, clock=lambda: now[0])
        return LogOnTrial(AuditedEventLog(log), advance)

    run_virtual(EVENT_LOG_CASES[name](make_log))
