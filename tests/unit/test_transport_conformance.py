"""Good transports pass the conformance suite, and broken ones fail the case that is theirs."""

import asyncio
from typing import Final

import pytest

from agent_messaging.testing import RecordingTransport, run_virtual
from agent_messaging.testing.conformance import (
    TRANSPORT_CASES,
    Case,
    ConformanceError,
    MakeTransport,
    TransportOnTrial,
)
from support import broken_transports as broken
from support.broken_transports import Server, Wire

#: What each broken transport fails.
FAILS: Final[dict[type[Wire], list[str]]] = {
    broken.Normalises: ["frames_arrive_unchanged"],
    broken.SendsBytes: ["frames_arrive_unchanged"],
    broken.CutsLongFrames: ["frames_of_any_length_arrive_whole"],
    broken.DropsOne: ["frames_arrive_in_their_order_none_missing_and_none_twice"],
    broken.RepeatsTheLast: ["frames_arrive_in_their_order_none_missing_and_none_twice"],
    broken.SwapsTwo: ["frames_arrive_in_their_order_none_missing_and_none_twice"],
    broken.HoldsOneBack: ["a_frame_arrives_though_none_follows"],
    broken.SendsToWhoCameLast: ["two_connections_do_not_mix"],
    broken.SendsBehindOneLock: ["a_peer_that_does_not_read_holds_up_no_other"],
    broken.FallsWithTheFirst: ["a_peer_that_is_gone_takes_no_other_with_it"],
    broken.WaitsForWhoIsGone: ["a_send_to_a_peer_that_is_gone_comes_to_an_end"],
    broken.GoesOnAccepting: ["a_peer_that_is_gone_is_noticed"],
    broken.ExcusesItselfAsCancelled: [
        "a_peer_that_is_gone_takes_no_other_with_it",
        "a_send_to_a_peer_that_is_gone_comes_to_an_end",
        "a_peer_that_is_gone_is_noticed",
    ],
    broken.SwallowsCancellation: ["a_send_that_is_cancelled_raises_that"],
    broken.SwallowsCancellationWhileItWaits: ["a_send_that_waits_for_its_peer_can_be_cancelled"],
}


def made_of(kind: type[Wire]) -> MakeTransport:
    server: list[Server] = []

    async def make_transport() -> TransportOnTrial:
        server.extend([Server()] if not server else [])
        wire = kind(server[0])
        return TransportOnTrial(
            wire.send, wire.receive, wire.close, raises_when_gone=wire.raises_when_gone
        )

    return make_transport


def passes(case: Case[MakeTransport], kind: type[Wire]) -> bool:
    """Whether such a transport passes the case."""
    try:
        run_virtual(case(made_of(kind)))
    except Exception:  # noqa: BLE001 - whatever a case or a broken transport raises
        return False
    return True


@pytest.mark.parametrize("kind", [Wire, broken.WaitsToBeRead])
@pytest.mark.parametrize("name", TRANSPORT_CASES)
def test_a_connection_in_memory_passes(name: str, kind: type[Wire]) -> None:
    run_virtual(TRANSPORT_CASES[name](made_of(kind)))


@pytest.mark.parametrize("name", TRANSPORT_CASES)
def test_the_kits_own_transport_passes(name: str) -> None:
    async def make_transport() -> TransportOnTrial:
        transport = RecordingTransport(turns=2)
        arrived: asyncio.Queue[str] = asyncio.Queue()

        async def send(frame: str) -> None:
            await transport(frame)
            arrived.put_nowait(frame)

        async def close() -> None:
            transport.fail()

        return TransportOnTrial(send, arrived.get, close)

    run_virtual(TRANSPORT_CASES[name](make_transport))


@pytest.mark.parametrize("name", TRANSPORT_CASES)
def test_a_queue_passes_that_knows_of_nobody_who_leaves(name: str) -> None:
    async def make_transport() -> TransportOnTrial:
        async def close() -> None: ...

        queue: asyncio.Queue[str] = asyncio.Queue()
        return TransportOnTrial(queue.put, queue.get, close, raises_when_gone=False)

    run_virtual(TRANSPORT_CASES[name](make_transport))


@pytest.mark.parametrize("kind", FAILS, ids=lambda kind: kind.__name__)
def test_a_broken_transport_fails_the_cases_that_are_about_its_fault(kind: type[Wire]) -> None:
    assert [name for name, case in TRANSPORT_CASES.items() if not passes(case, kind)] == FAILS[kind]


@pytest.mark.parametrize("name", TRANSPORT_CASES)
def test_every_case_is_failed_by_a_transport_that_fails_no_other(name: str) -> None:
    assert [name] in FAILS.values()


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (broken.SendsBytes, "frames_arrive_unchanged", r"b'{}', .* came$"),
        (broken.HoldsOneBack, "a_frame_arrives_though_none_follows", r"^wanted \['0'\], but \[\]"),
        (broken.GoesOnAccepting, "a_peer_that_is_gone_is_noticed", "raises_when_gone=False$"),
        (broken.SwallowsCancellation, "a_send_that_is_cancelled_raises_that", "after 1 turns"),
    ],
)
def test_a_case_that_fails_says_what_is_wrong(kind: type[Wire], name: str, words: str) -> None:
    with pytest.raises(ConformanceError, match=words):
        run_virtual(TRANSPORT_CASES[name](made_of(kind)))


def test_a_connection_whose_receiving_fails_is_told_by_that() -> None:
    async def make_transport() -> TransportOnTrial:
        async def receive() -> str:
            raise EOFError("the peer reads no more")

        wire = Wire(Server())
        return TransportOnTrial(wire.send, receive, wire.close)

    with pytest.raises(EOFError, match="reads no more"):
        run_virtual(TRANSPORT_CASES["frames_arrive_unchanged"](make_transport))
