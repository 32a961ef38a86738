"""A short sweep of kills over Redis, and that its ledger and its command see what is wrong."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from kill_redis.inspection import KeptRun, compare, look_at_executions, look_at_records
from kill_redis.ledger import Device, Event, Ledger, Line, Sent
from kill_redis.processes import PATIENCE, Execution
from kill_redis.trial import Part, Scale, sweep

COMMAND: Final = Path(__file__).parents[1] / "kill_redis" / "run.py"


# The sweep itself.


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    scale = Scale(kills=6, freezes=2, restarts=2, losses=2, clients=8, seed=1)
    return asyncio.run(sweep(scale, lambda line: None))


def test_after_a_sweep_all_that_must_hold_holds(parts: list[Part]) -> None:
    faults = {
        (part.name, verdict.claim): verdict.faults
        for part in parts
        for verdict in part.verdicts
        if verdict.faults
    }
    assert faults == {}


def test_a_sweep_does_what_it_was_to_do(parts: list[Part]) -> None:
    kept, lost = (part.ledger.counts for part in parts)
    assert [kept[f"trouble {trouble}"] for trouble in ("kill", "freeze", "restart")] == [6, 2, 2]
    assert kept["runs that were fenced"] > 0
    assert kept["frames that a client had and the log lost"] == 0
    assert lost["trouble loss"] == 2
    assert lost["frames that a client had and the log lost"] > 0


# Its command.


def test_the_command_finds_a_log_that_claims_without_looking(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, COMMAND, "--kills", "3", "--log", "claims-without-looking"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "FAIL no message was executed twice" in done.stdout
    assert "what is acknowledged is kept" in done.stderr


def test_an_interrupted_sweep_ends_its_processes() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, COMMAND, "--kills", "50"],
            env={**os.environ, "TMPDIR": folder},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as sweeping,
    ):
        assert sweeping.stderr is not None
        while "10 of" not in sweeping.stderr.readline():
            assert sweeping.poll() is None
        assert len(processes_in(folder)) > 1
        os.kill(sweeping.pid, signal.SIGINT)
        output, errors = sweeping.communicate(timeout=4 * PATIENCE)
        assert sweeping.returncode == 130
        assert (output, errors) == ("", "interrupted; all processes have ended\n")
        assert processes_in(folder) == []
        assert list(Path(folder).iterdir()) == []


def processes_in(folder: str) -> list[str]:
    """The commands of the processes that name the folder."""
    commands: list[str] = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().decode()
        except OSError:
            continue  # it has ended
        if folder in command:
            commands.append(command)
    return commands


# Its ledger.


class Desk:
    """A device of the user ``ada`` with one message, and the line of its first connection."""

    def __init__(self, *, may_lose: bool = False) -> None:
        self.ledger = Ledger(may_lose=may_lose)
        self.device = Device("desk", "ada", self.ledger)
        self.device.messages["m1"] = Sent("", "talks")
        self.line = Line(self.device)

    def reconnects(self) -> None:
        self.line = Line(self.device)

    def comes(self, kind: str, payload: object, **fields: object) -> None:
        self.line.takes(json.dumps({"type": kind, "payload": payload, **fields}))

    def event(self, seq: int, kind: str, payload: object, user_id: str = "ada") -> None:
        fields = {"user_id": user_id, "thread_id": "t", "run_id": "r1", "seq": seq}
        self.comes(kind, payload, timestamp=1.5, **fields)

    def starts(self) -> None:
        self.event(1, "agent_started", {"message_id": "m1"})

    def says(self, seq: int, words: str = "") -> None:
        self.event(seq, "agent_thinking", {"text": words})

    def ends(self, seq: int) -> None:
        self.event(seq, "agent_completed", {"result": "m1"})

    def converses(self) -> None:
        self.line.sends_message("m1")
        self.starts()
        self.says(2)
        self.ends(3)

    def asks(self) -> int:
        """Sends a RESUME; the number of its PING."""
        _, ping = self.line.sends_resume(self.device.unended)
        number: int = json.loads(ping)["payload"]["id"]
        return number

    def resumed(
        self, from_seq: int, to_seq: int, status: str = "running", *, evicted: bool = False
    ) -> None:
        told = {"run_id": "r1", "thread_id": "t", "from_seq": from_seq, "to_seq": to_seq}
        self.comes("resumed", {"runs": [{**told, "status": status, "evicted": evicted}]})


def test_a_ledger_has_nothing_against_a_run_that_goes_on_at_another_worker() -> None:
    desk = Desk()
    desk.line.sends_message("m1")
    desk.starts()
    desk.says(2)
    desk.reconnects()
    number = desk.asks()
    desk.resumed(3, 3)
    desk.comes("pong", {"id": number})
    desk.ends(3)
    assert desk.ledger.faults == {}
    assert desk.device.is_settled


def test_a_ledger_has_nothing_against_a_retry_that_brings_everything_again() -> None:
    desk = Desk()
    desk.converses()
    desk.converses()
    assert desk.ledger.faults == {}


def test_what_may_be_lost_is_lost_when_the_client_is_told_and_is_begun_anew() -> None:
    desk = Desk(may_lose=True)
    desk.line.sends_message("m1")
    desk.starts()
    desk.says(2)
    desk.reconnects()
    desk.asks()
    desk.resumed(1, 1, evicted=True)
    assert desk.device.unknown == ["m1"]
    desk.starts()
    desk.ends(2)
    assert desk.ledger.faults == {}
    assert desk.device.is_settled
    assert [run.is_lost_told for run in desk.device.past] == [True]


def left_out(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.starts()
    desk.says(3)


def begun_without_its_message(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.event(1, "agent_failed", {"code": "interrupted", "retryable": True})


def sent_twice(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.starts()
    desk.starts()


def changed(desk: Desk) -> None:
    desk.converses()
    desk.line.sends_message("m1")
    desk.starts()
    desk.says(2, "something else")


def goes_on_after_the_end(desk: Desk) -> None:
    desk.converses()
    desk.says(4)


def of_another_user(desk: Desk) -> None:
    desk.event(1, "agent_started", {"message_id": "m1"}, user_id="grace")


def refused(desk: Desk) -> None:
    desk.comes("error_message", {"code": "log_unavailable"})


def unasked_stopped(desk: Desk) -> None:
    desk.comes("stopped", {"run_ids": []})


def stopped_too_soon(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.starts()
    desk.line.sends_stop("r1")
    desk.comes("stopped", {"run_ids": ["r1"]})


def ended_unseen(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.starts()
    desk.reconnects()
    desk.asks()
    desk.resumed(2, 1, "completed")


def failed_by_itself(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.starts()
    desk.event(2, "agent_failed", {"code": "agent_error"})


def cancelled_by_nobody(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.starts()
    desk.event(2, "agent_cancelled", {"reason": "cancelled"})


def gone_from_the_log(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.starts()
    desk.reconnects()
    number = desk.asks()
    desk.comes("resumed", {"runs": []})
    desk.comes("pong", {"id": number})


def evicted(desk: Desk) -> None:
    desk.line.sends_message("m1")
    desk.starts()
    desk.asks()
    desk.resumed(1, 1, evicted=True)


def run_twice(desk: Desk) -> None:
    desk.converses()
    desk.line.sends_message("m1")
    fields = {"user_id": "ada", "thread_id": "t", "run_id": "r2", "seq": 1, "timestamp": 1.5}
    desk.comes("agent_started", {"message_id": "m1"}, **fields)


@pytest.mark.parametrize(
    ("kind", "happens"),
    [
        ("gap", left_out),
        ("gap", begun_without_its_message),
        ("twice", sent_twice),
        ("changed", changed),
        ("after the end", goes_on_after_the_end),
        ("unasked", of_another_user),
        ("unasked", refused),
        ("unasked", unasked_stopped),
        ("barrier", stopped_too_soon),
        ("ending", ended_unseen),
        ("ending", failed_by_itself),
        ("ending", cancelled_by_nobody),
        ("lost", gone_from_the_log),
        ("lost", evicted),
        ("executed twice", run_twice),
    ],
    ids=lambda value: value.__name__ if callable(value) else value,
)
def test_a_ledger_notes_what_a_client_may_not_be_sent(
    kind: str, happens: Callable[[Desk], None]
) -> None:
    desk = Desk()
    happens(desk)
    assert kind in desk.ledger.faults


# What it compares.


def kept(desk: Desk, run_id: str = "r1") -> dict[str, KeptRun]:
    """The log, if it has what the client has."""
    events = list(desk.device.runs["r1"].events)
    return {run_id: KeptRun("ada", "m1", run_id, events)}


def test_a_client_that_has_what_the_log_has_is_right() -> None:
    desk = Desk()
    desk.converses()
    compare(desk.ledger, kept(desk), [desk.device])
    assert desk.ledger.faults == {}


def test_what_a_client_has_and_the_log_has_not_is_lost() -> None:
    desk = Desk()
    desk.converses()
    log = kept(desk)
    log["r1"].events[1] = Event.at("agent_thinking", '{"text":"other"}', 1.5)
    compare(desk.ledger, log, [desk.device])
    assert list(desk.ledger.faults) == ["lost"]


def test_a_message_has_one_run_in_the_log_and_it_is_the_one_that_the_client_knows() -> None:
    for run_ids in (("r1", "r2"), ("r2",)):
        desk = Desk()
        desk.converses()
        log = {run_id: kept(desk, run_id)[run_id] for run_id in run_ids}
        compare(desk.ledger, log, [desk.device])
        assert "accepted" in desk.ledger.faults


def test_a_loss_that_an_open_run_was_not_told_of_is_a_fault_even_where_things_may_be_lost() -> None:
    desk = Desk(may_lose=True)
    desk.line.sends_message("m1")
    desk.starts()
    compare(desk.ledger, {}, [desk.device])
    assert list(desk.ledger.faults) == ["lost"]


def test_no_message_and_no_run_begins_twice() -> None:
    for again in (Execution(2, "ada", "m1", "r2"), Execution(2, "ada", "m2", "r1")):
        ledger = Ledger(may_lose=False)
        look_at_executions(ledger, [Execution(1, "ada", "m1", "r1"), again])
        assert list(ledger.faults) == ["executed twice"]


def test_each_recovery_ended_an_interrupted_run_and_nothing_else_is_logged() -> None:
    def recovered(run_id: str) -> dict[str, object]:
        told = {"event": "run_recovered", "level": "WARNING", "text": ""}
        return {**told, "run_id": run_id}

    interrupted = Event.at("agent_failed", '{"code":"interrupted"}', 1.5)
    log = {"r1": KeptRun("ada", "m1", "r1", [interrupted])}
    unheard = {"event": "send_failed", "level": "ERROR", "text": ""}
    broken = {"event": "log_failed", "level": "ERROR", "text": ""}
    for records, kinds in (
        ([recovered("r1")], []),
        ([recovered("r1"), recovered("r1")], ["recovered twice"]),
        ([recovered("r2")], ["recovered twice"]),
        ([unheard], ["records"]),
        ([broken], ["records"]),
    ):
        ledger = Ledger(may_lose=False)
        look_at_records(ledger, records, log)
        assert list(ledger.faults) == kinds
