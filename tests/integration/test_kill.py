"""A short kill sweep; that a sweep finds what is wrong with a log; its ledger and its command."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from agent_messaging import LoggedEvent, MessageType
from kill.inspection import fault_of
from kill.ledger import Claim, Client, Ledger, Sent
from kill.points import POINTS, Phase
from kill.process import Terms, hosting
from kill.sweep import Scale, Sweep

COMMAND: Final = Path(__file__).parents[1] / "kill" / "run.py"
#: Seconds for one thing to happen; only a fault, or a very busy machine, comes near.
PATIENCE: Final = 20.0


def terms_of(folder: Path, variant: str = "sound") -> Terms:
    return Terms(folder=folder, durability="process", variant=variant, lease_seconds=0.3)


# The sweep itself.


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    terms = terms_of(tmp_path_factory.mktemp("kill"))
    sweep = Sweep(terms, Scale(kills=20, seed=1, patience=PATIENCE), lambda line: None)
    asyncio.run(sweep.run())
    return sweep.ledger


def test_after_every_kill_all_that_must_hold_holds(swept: Ledger) -> None:
    assert swept.faults == {}


def test_a_sweep_kills_at_every_point_and_anywhere(swept: Ledger) -> None:
    assert set(swept.kills) == {*POINTS, "anywhere"}
    assert swept.kills.total() == 20


def test_after_a_kill_there_is_something_to_recover_to_resume_and_to_send_again(
    swept: Ledger,
) -> None:
    counts = swept.counts
    assert counts["recovered"] > 0
    assert counts["resumes"] > 0
    assert 0 < counts["retries of accepted messages"] < counts["retries"]
    assert counts["frames lost"] > 0


# That it can fail.


@pytest.mark.parametrize(
    ("variant", "phase", "claim"),
    [
        ("sends before it appends", "sending", Claim.SAW),
        ("claims before it commits", "claimed", Claim.ACKNOWLEDGED),
        ("ends before it commits", "ended", Claim.ACKNOWLEDGED),
        ("claims without looking", "claimed", Claim.CLAIMS),
        ("claims without looking", "sending", Claim.EXECUTED),
        ("never recovers", "in a tool", Claim.UNSETTLED),
        ("recovers twice", "in a tool", Claim.RUNS),
        ("leaves tools open", "in a tool", Claim.RUNS),
        ("skips an event", "in a tool", Claim.ORDER),
    ],
)
def test_a_sweep_finds_a_log_that(variant: str, phase: Phase, claim: Claim, tmp_path: Path) -> None:
    # With this seed the first event is held of the first message that is held before it is sent:
    # its agent was at work, and its client does not know.
    scale = Scale(kills=3, seed=7, patience=3.0, phases=(phase,))
    sweep = Sweep(terms_of(tmp_path, variant), scale, lambda line: None)
    asyncio.run(sweep.run())
    assert claim in sweep.ledger.faults


# What it takes for a fault: the ends of runs.


def run_of(*kinds: str) -> list[LoggedEvent]:
    """The events of a run; a tool's are its type and its call, as in ``tool_executing 1``."""
    events: list[LoggedEvent] = []
    for seq, words in enumerate(kinds, 1):
        kind, _, call = words.partition(" ")
        call_id, _, status = call.partition(" ")
        payload = {"tool_call_id": call_id, "status": status or "ok"} if call else {}
        events.append(LoggedEvent(MessageType(kind), json.dumps(payload), seq, 0.0))
    return events


@pytest.mark.parametrize(
    "kinds",
    [
        ("agent_failed",),
        ("agent_queued", "agent_cancelled"),
        ("agent_started", "agent_completed"),
        ("agent_queued", "agent_started", "agent_thinking", "agent_failed"),
        ("agent_started", "tool_executing 1", "tool_completed 1", "agent_completed"),
        ("agent_started", "tool_executing 1", "tool_completed 1 interrupted", "agent_failed"),
    ],
    ids=" ".join,
)
def test_a_run_is_sound(kinds: Sequence[str]) -> None:
    assert fault_of(run_of(*kinds)) is None


@pytest.mark.parametrize(
    "kinds",
    [
        (),
        ("agent_started",),
        ("agent_started", "agent_failed", "agent_failed"),
        ("agent_started", "agent_failed", "agent_thinking"),
        ("agent_thinking", "agent_failed"),
        ("agent_started", "agent_started", "agent_failed"),
        ("agent_started", "tool_executing 1", "agent_failed"),
        ("agent_started", "tool_completed 1", "agent_failed"),
        ("agent_started", "tool_executing 1", "tool_executing 1", "agent_failed"),
        (
            "agent_started",
            "tool_executing 1",
            "tool_completed 1",
            "tool_completed 1",
            "agent_failed",
        ),
        ("agent_started", "tool_executing 1", "tool_completed 1 interrupted", "agent_completed"),
    ],
    ids=" ".join,
)
def test_a_run_is_not_sound(kinds: Sequence[str]) -> None:
    assert fault_of(run_of(*kinds)) is not None


# And what clients are sent.


class Desk:
    """A client of the user ``ada`` that has sent one message, and two events of its run."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.client = Client("desk", "ada", self.ledger)
        self.reconnect()
        self.client.sends(Sent("m1", "", "talks", "t", False))
        self.event(1, "agent_started", {"message_id": "m1", "agent": "work"})
        self.event(2, "agent_thinking", {"text": "about m1"})

    def reconnect(self) -> None:
        self.client.connects()
        self.comes("connection_established", {})

    def resume(self, **told: object) -> None:
        self.client.resumes()
        run = {"run_id": "r1", "thread_id": "t", "from_seq": 3, "evicted": False}
        self.comes("resumed", {"runs": [{**run, **told}]})

    def comes(self, kind: str, payload: object, **fields: object) -> None:
        self.client.takes(json.dumps({"type": kind, "payload": payload, **fields}))

    def event(self, seq: int, kind: str, payload: object, **fields: object) -> None:
        envelope = {"user_id": "ada", "thread_id": "t", "run_id": "r1", "seq": seq}
        self.comes(kind, payload, **{**envelope, "timestamp": 0.5, **fields})

    def end(self, seq: int) -> None:
        self.event(seq, "agent_completed", {"result": "m1"})


def ends(desk: Desk) -> None:
    desk.end(3)


def goes_on_after_a_restart(desk: Desk) -> None:
    desk.reconnect()
    desk.resume()
    desk.end(3)


def comes_again_as_it_was_sent_again(desk: Desk) -> None:
    desk.end(3)
    desk.client.sends(desk.client.messages["m1"])
    desk.event(1, "agent_started", {"message_id": "m1", "agent": "work"})
    desk.event(2, "agent_thinking", {"text": "about m1"})
    desk.end(3)


def is_interrupted(desk: Desk) -> None:
    desk.event(3, "agent_failed", {"code": "interrupted"})


@pytest.mark.parametrize(
    "happens",
    [ends, goes_on_after_a_restart, comes_again_as_it_was_sent_again, is_interrupted],
)
def test_a_ledger_has_nothing_against_a_run_that(happens: Callable[[Desk], None]) -> None:
    desk = Desk()
    assert not desk.client.is_settled
    happens(desk)
    assert desk.ledger.faults == {}
    assert desk.client.is_settled


def twice(desk: Desk) -> None:
    desk.event(2, "agent_thinking", {"text": "about m1"})


def otherwise_when_sent_again(desk: Desk) -> None:
    desk.client.sends(desk.client.messages["m1"])
    desk.event(2, "agent_thinking", {"text": "about something else"})


def with_a_gap(desk: Desk) -> None:
    desk.end(4)


def after_the_end(desk: Desk) -> None:
    desk.end(3)
    desk.event(4, "agent_thinking", {"text": "about m1"})


def with_another_result(desk: Desk) -> None:
    desk.event(3, "agent_completed", {"result": "m2"})


def stopped_by_nobody(desk: Desk) -> None:
    desk.event(3, "agent_cancelled", {"reason": "stopped"})


def of_another_user(desk: Desk) -> None:
    desk.event(3, "agent_thinking", {}, user_id="grace")


def as_another_run(desk: Desk) -> None:
    desk.event(1, "agent_started", {"message_id": "m1", "agent": "work"}, run_id="r2")


def of_another_message(desk: Desk) -> None:
    desk.event(1, "agent_started", {"message_id": "m2", "agent": "work"}, run_id="r2")


def from_elsewhere(desk: Desk) -> None:
    desk.reconnect()
    desk.resume(from_seq=2)


def evicted(desk: Desk) -> None:
    desk.reconnect()
    desk.resume(evicted=True)


def of_nothing(desk: Desk) -> None:
    desk.reconnect()
    desk.client.resumes()
    desk.comes("resumed", {"runs": []})


def too_soon(desk: Desk) -> None:
    desk.client.stops("r1")
    desk.comes("stopped", {"run_ids": ["r1"]})


def a_stopped_for_nothing(desk: Desk) -> None:
    desk.comes("stopped", {"run_ids": []})


def a_refusal(desk: Desk) -> None:
    desk.comes("error_message", {"code": "log_unavailable", "message_id": "m1"})


@pytest.mark.parametrize(
    ("claim", "happens"),
    [
        (Claim.ORDER, twice),
        (Claim.ORDER, otherwise_when_sent_again),
        (Claim.ORDER, with_a_gap),
        (Claim.ORDER, after_the_end),
        (Claim.RUNS, with_another_result),
        (Claim.RUNS, stopped_by_nobody),
        (Claim.UNASKED, of_another_user),
        (Claim.CLAIMS, as_another_run),
        (Claim.UNASKED, of_another_message),
        (Claim.SAW, from_elsewhere),
        (Claim.SAW, evicted),
        (Claim.SAW, of_nothing),
        (Claim.STOPPED, too_soon),
        (Claim.UNASKED, a_stopped_for_nothing),
        (Claim.UNASKED, a_refusal),
    ],
)
def test_a_ledger_notes_what_a_client_is_sent(
    claim: Claim, happens: Callable[[Desk], None]
) -> None:
    desk = Desk()
    happens(desk)
    assert claim in desk.ledger.faults


# The host's program, and the command.


@pytest.mark.parametrize("point", ["starting", "recovering"])
def test_a_host_ends_with_its_input_even_if_it_is_held(point: Phase, tmp_path: Path) -> None:
    async def end() -> int:
        lines: list[object] = []
        async with hosting(terms_of(tmp_path), lines.append, hold=point) as host:
            assert await host.until(lambda: host.held == point or host.is_ready, PATIENCE)
            return await host.end(PATIENCE)

    assert asyncio.run(end()) == 0


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(COMMAND), *arguments]


def test_the_command_fails_and_says_why_where_something_does_not_hold(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--kills", "15", "--variant", "sends before it appends", "--keep"),
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert f"FAIL {Claim.SAW.value}" in done.stdout
    assert f"ok   {Claim.ORDER.value}" in done.stdout
    [folder] = tmp_path.iterdir()
    assert f"files are in {folder}" in done.stderr
    assert {"events.sqlite", "executions"} <= {path.name for path in folder.iterdir()}


def test_an_interrupted_sweep_kills_its_host_and_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("--kills", "1000"),
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as sweeping:
        assert sweeping.stderr is not None
        assert "the first host is process" in sweeping.stderr.readline()
        os.kill(sweeping.pid, signal.SIGINT)
        output, errors = sweeping.communicate(timeout=4 * PATIENCE)
    assert sweeping.returncode == 130
    assert output == ""
    assert errors.splitlines()[-1] == "interrupted; the host was killed"
    assert list(tmp_path.iterdir()) == []
