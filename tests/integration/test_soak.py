"""A short soak against a real server, and that its ledger and its command see what is wrong."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from soak.agents import ASKED_FOR
from soak.connection import PATIENCE
from soak.ledger import Account, Device, Ledger, Line, Sent
from soak.trial import Report, Scale, soak

COMMAND: Final = Path(__file__).parents[1] / "soak" / "run.py"


# The soak itself.


@pytest.fixture(scope="module")
def report() -> Report:
    return asyncio.run(soak(Scale(clients=60, seconds=10.0, pace=0.7, seed=1), lambda line: None))


def test_after_a_soak_all_that_must_hold_holds(report: Report) -> None:
    assert {verdict.claim: verdict.faults for verdict in report.verdicts if verdict.faults} == {}


def test_a_soak_has_runs_of_every_outcome(report: Report) -> None:
    assert report.ledger.counts["agent_completed"] > 0
    assert report.ledger.counts["agent_failed"] > 0
    assert report.ledger.counts["agent_cancelled"] > 0


def test_a_soak_has_sessions_that_end_otherwise_than_by_leaving(report: Report) -> None:
    assert report.rest["ends"]["slow_consumer"] > 0


# Its command.


def test_the_command_fails_and_says_why_where_something_does_not_hold(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, COMMAND, "--clients", "2", "--seconds", "1", "--pace", "0.5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    # Two clients cannot have tried everything.
    assert "FAIL every act was tried" in done.stdout
    assert "ok   no task of the library is left" in done.stdout
    assert "the server listens on port" in done.stderr


def test_an_interrupted_soak_stops_its_server(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, COMMAND, "--clients", "4", "--seconds", "60", "--pace", "0.5"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as soaking:
        assert soaking.stderr is not None
        port = int(soaking.stderr.readline().rpartition(" ")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE):
            pass
        os.kill(soaking.pid, signal.SIGINT)
        output, errors = soaking.communicate(timeout=4 * PATIENCE)
    assert soaking.returncode == 130
    assert (output, errors) == ("", "interrupted; the server has stopped\n")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE)


# Its ledger.


class Desk:
    """A device of the user ``ada`` with one message, and the line of its first connection."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.device = Device("desk", Account("ada"), self.ledger)
        self.device.messages["m1"] = Sent("", "quick")
        self.line = self.reconnect()

    def reconnect(self) -> Line:
        self.line = Line(self.device)
        number = len(self.ledger.connection_ids)
        self.comes("connection_established", {"connection_id": f"c{number}"})
        return self.line

    def comes(self, kind: str, payload: object, **fields: object) -> None:
        self.line.takes(json.dumps({"type": kind, "payload": payload, **fields}))

    def event(self, seq: int, kind: str, payload: object, user_id: str = "ada") -> None:
        self.comes(kind, payload, user_id=user_id, thread_id="t", run_id="r1", seq=seq)

    def starts(self) -> None:
        self.event(1, "agent_started", {"message_id": "m1"})

    def says(self, seq: int, words: str = "") -> None:
        self.event(seq, "agent_thinking", {"text": f"ada m1 {words}"})

    def ends(self, seq: int) -> None:
        self.event(seq, "agent_completed", {"result": "ada m1"})

    def sends(self) -> None:
        self.line.sends_message("m1")

    def resumes(self, from_seq: int, *, evicted: bool = False) -> None:
        told = {"run_id": "r1", "thread_id": "t", "from_seq": from_seq, "evicted": evicted}
        self.comes("resumed", {"runs": [told]})


def converses(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.says(2)
    desk.ends(3)


def test_a_ledger_has_nothing_against_a_run_that_is_sent_in_order() -> None:
    desk = Desk()
    converses(desk)
    assert desk.ledger.faults == {}
    assert desk.device.is_settled


def test_a_ledger_has_nothing_against_a_run_that_goes_on_after_a_reload() -> None:
    desk = Desk()
    desk.sends()
    desk.starts()
    desk.says(2)
    desk.reconnect()
    desk.line.sends_resume({"r1": 2})
    desk.resumes(3)
    desk.ends(3)
    assert desk.ledger.faults == {}
    assert desk.device.is_settled


def test_a_ledger_has_nothing_against_a_retry_that_brings_everything_again() -> None:
    desk = Desk()
    converses(desk)
    converses(desk)
    assert desk.ledger.faults == {}


def test_a_message_that_nobody_answered_is_not_settled() -> None:
    desk = Desk()
    desk.sends()
    assert not desk.device.is_settled
    desk.starts()
    assert not desk.device.is_settled


def left_out(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.says(3)


def left_out_by_a_resume(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.reconnect()
    desk.line.sends_resume({"r1": 1})
    desk.resumes(3)


def evicted(desk: Desk) -> None:
    desk.line.sends_resume({"r1": 0})
    desk.resumes(1, evicted=True)


def changed(desk: Desk) -> None:
    converses(desk)
    desk.sends()
    desk.starts()
    desk.says(2, "something else")


def sent_twice(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.says(2)
    desk.says(2)


def sent_anew_unasked(desk: Desk) -> None:
    converses(desk)
    desk.starts()


def two_runs(desk: Desk) -> None:
    converses(desk)
    desk.sends()
    desk.comes(
        "agent_started", {"message_id": "m1"}, user_id="ada", thread_id="t", run_id="r2", seq=1
    )


def goes_on_after_the_end(desk: Desk) -> None:
    converses(desk)
    desk.says(4)


def of_another_user(desk: Desk) -> None:
    desk.sends()
    desk.event(1, "agent_started", {"message_id": "m1"}, user_id="grace")


def never_asked_for(desk: Desk) -> None:
    desk.starts()


def with_the_words_of_another(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.event(2, "agent_thinking", {"text": "grace m1 begins"})


def with_the_result_of_another(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.event(2, "agent_completed", {"result": "grace m1"})


def pong_of_another(desk: Desk) -> None:
    desk.line.sends_ping(1)
    desk.comes("pong", {"id": 2})


def refusal_of_another(desk: Desk) -> None:
    desk.comes("error_message", {"code": "rate_limited", "message_id": "m2"})


def resumed_of_another(desk: Desk) -> None:
    desk.line.sends_resume({})
    desk.resumes(1)


def unasked_resumed(desk: Desk) -> None:
    desk.resumes(1)


def unasked_stopped(desk: Desk) -> None:
    desk.comes("stopped", {"run_ids": []})


def unasked_refusal(desk: Desk) -> None:
    desk.comes("error_message", {"code": "malformed_frame"})


def a_second_greeting(desk: Desk) -> None:
    desk.comes("connection_established", {"connection_id": "c9"})


def stopped_too_soon(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.line.sends_stop()
    desk.comes("stopped", {"run_ids": ["r1"]})


def an_unknown_code(desk: Desk) -> None:
    desk.sends()
    desk.comes("error_message", {"code": "agent_error", "message_id": "m1"})


def a_failure_that_nobody_asked_for(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.event(2, "agent_failed", {"code": "agent_error"})


def a_failure_of_the_wrong_agent(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.event(2, "agent_failed", {"code": ASKED_FOR})


def stopped_by_nobody(desk: Desk) -> None:
    desk.sends()
    desk.starts()
    desk.event(2, "agent_cancelled", {"reason": "stopped"})


@pytest.mark.parametrize(
    ("kind", "happens"),
    [
        ("gap", left_out),
        ("gap", left_out_by_a_resume),
        ("gap", evicted),
        ("gap", changed),
        ("twice", sent_twice),
        ("twice", sent_anew_unasked),
        ("twice", two_runs),
        ("after the end", goes_on_after_the_end),
        ("wrong client", of_another_user),
        ("wrong client", never_asked_for),
        ("wrong client", with_the_words_of_another),
        ("wrong client", with_the_result_of_another),
        ("wrong client", pong_of_another),
        ("wrong client", refusal_of_another),
        ("wrong client", resumed_of_another),
        ("unasked", unasked_resumed),
        ("unasked", unasked_stopped),
        ("unasked", unasked_refusal),
        ("unasked", a_second_greeting),
        ("barrier", stopped_too_soon),
        ("unknown code", an_unknown_code),
        ("ending", a_failure_that_nobody_asked_for),
        ("ending", a_failure_of_the_wrong_agent),
        ("ending", stopped_by_nobody),
    ],
    ids=lambda value: value.__name__ if callable(value) else value,
)
def test_a_ledger_notes_what_a_client_may_not_be_sent(
    kind: str, happens: Callable[[Desk], None]
) -> None:
    desk = Desk()
    happens(desk)
    assert kind in desk.ledger.faults
