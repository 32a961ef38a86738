"""Good handlers pass the conformance suite, and broken ones fail the case that is theirs."""

from collections.abc import Callable
from typing import Final

import pytest

from agent_messaging import AgentMessageHandler, Message, MessageHandler, MessageRouter, Run
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance import (
    HANDLER_CASES,
    Case,
    ConformanceError,
    HandlerOnTrial,
    MakeHandler,
)
from support import broken_handlers as broken
from support import chat, start_agent, user_message
from support.broken_handlers import Notes

#: What each broken handler fails.
FAILS: Final[dict[type[Notes], list[str]]] = {
    broken.IsNoCoroutineFunction: ["a_router_takes_it"],
    broken.DeniesAType: ["it_can_handle_each_type_that_it_supports"],
    broken.TakesAnyCase: ["it_can_handle_no_other_type"],
    broken.FallsThrough: ["every_message_is_handled"],
    broken.SaysNan: ["its_frames_are_json_texts"],
    broken.SaysWords: ["its_frames_are_json_texts"],
    broken.SendsBytes: ["its_frames_are_json_texts"],
    broken.KnowsOneFramework: ["any_websocket_will_do"],
    broken.KeepsTheWebsocket: ["calls_at_once_do_not_mix_their_frames"],
    broken.KeepsTheUser: ["calls_at_once_do_not_mix_their_users"],
    broken.SwallowsFailures: ["a_websocket_that_fails_is_no_success"],
    broken.SwallowsTheFailureOfItsTenthSend: ["a_websocket_that_fails_is_no_success"],
    broken.GivesUpForGood: ["it_goes_on_after_a_websocket_that_failed"],
    broken.ExcusesItselfAsCancelled: [
        "a_websocket_that_fails_is_no_success",
        "it_goes_on_after_a_websocket_that_failed",
    ],
    broken.SharesAList: ["nothing_that_is_done_to_its_statistics_changes_them"],
    broken.ShowsItsCounters: ["statistics_that_were_read_stay_as_they_are"],
    broken.SwallowsCancellation: ["a_call_that_is_cancelled_raises_that"],
    broken.SeesEverySendToItsEnd: ["a_call_whose_websocket_hangs_can_be_cancelled"],
    broken.KeepsItsLock: ["it_goes_on_after_a_call_that_was_cancelled"],
}

#: What notes are tried with.
NOTES: Final = [Message(type=kind) for kind in ("note", "note", "recall")]


def made_by(kind: Callable[[], MessageHandler], *messages: Message) -> MakeHandler:
    async def make_handler() -> HandlerOnTrial:
        return HandlerOnTrial(kind(), messages)

    return make_handler


def passes(case: Case[MakeHandler], kind: type[Notes]) -> bool:
    """Whether such a handler passes the case."""
    try:
        run_virtual(case(made_by(kind, *NOTES)))
    except Exception:  # noqa: BLE001 - whatever a case or a broken handler raises
        return False
    return True


# Good ones.


async def agent(run: Run) -> str:
    await run.thinking("Counting")
    async with run.tool("count", run.request) as call:
        call.result = len(run.request)
    return "done"


def canonical() -> AgentMessageHandler:
    return AgentMessageHandler(agent)


def router() -> MessageRouter:
    return MessageRouter(canonical(), MessageRouter(Notes()))


@pytest.mark.parametrize("name", HANDLER_CASES)
def test_the_canonical_handler_passes(name: str) -> None:
    messages = [start_agent(), user_message(), chat("hello", thread_id="t")]
    run_virtual(HANDLER_CASES[name](made_by(canonical, *messages)))


@pytest.mark.parametrize("name", HANDLER_CASES)
def test_a_router_passes_with_all_that_it_routes_to(name: str) -> None:
    messages = [start_agent(), user_message(), chat(), *NOTES]
    run_virtual(HANDLER_CASES[name](made_by(router, *messages)))


@pytest.mark.parametrize(
    "kind", [Notes, broken.SendsNothing, broken.TakesItsTime, broken.GivesUpSoon]
)
@pytest.mark.parametrize("name", HANDLER_CASES)
def test_a_handler_of_the_hosts_own_passes(name: str, kind: type[Notes]) -> None:
    run_virtual(HANDLER_CASES[name](made_by(kind, *NOTES)))


# Broken ones.


@pytest.mark.parametrize("kind", FAILS, ids=lambda kind: kind.__name__)
def test_a_broken_handler_fails_the_cases_that_are_about_its_fault(kind: type[Notes]) -> None:
    assert [name for name, case in HANDLER_CASES.items() if not passes(case, kind)] == FAILS[kind]


@pytest.mark.parametrize("name", HANDLER_CASES)
def test_every_case_is_failed_by_a_handler_that_fails_no_other(name: str) -> None:
    assert [name] in FAILS.values()


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (broken.DeniesAType, "it_can_handle_each_type_that_it_supports", "can_handle.'recall'."),
        (broken.FallsThrough, "every_message_is_handled", "wanted 'True', but 'None' came$"),
        (broken.SaysNan, "its_frames_are_json_texts", "frames for a 'note' .* NaN"),
        (broken.KeepsTheUser, "calls_at_once_do_not_mix_their_users", "name the other user"),
        (broken.SwallowsFailures, "a_websocket_that_fails_is_no_success", "whose send 1 failed"),
        (broken.SwallowsCancellation, "a_call_that_is_cancelled_raises_that", "True returned"),
        (
            broken.SharesAList,
            "nothing_that_is_done_to_its_statistics_changes_them",
            r"get_stats\(\)\['kinds'\]\['all'\]\[2\]",
        ),
    ],
)
def test_a_case_that_fails_says_what_is_wrong(kind: type[Notes], name: str, words: str) -> None:
    with pytest.raises(ConformanceError, match=words):
        run_virtual(HANDLER_CASES[name](made_by(kind, *NOTES)))


def test_a_handler_is_tried_with_messages_of_all_its_types_and_no_others() -> None:
    case = HANDLER_CASES["every_message_is_handled"]
    for messages in (NOTES[:1], [*NOTES, chat()], []):
        with pytest.raises(ConformanceError, match=r"^the types of the messages to try: wanted"):
            run_virtual(case(made_by(Notes, *messages)))
