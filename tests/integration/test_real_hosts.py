"""Real servers and real clients: the same frames everywhere, and a client that comes back."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from integration.clients import LAST, Client, RefusedError
from integration.conversation import (
    CONVERSATION,
    ENDINGS,
    REPORT,
    converse,
    normalised,
    start,
)
from integration.hosts import Host, running
from integration.servers import SERVERS, Server
from support import Json

GOLDEN: Final = Path(__file__).with_name("golden_conversation.jsonl")
#: The start, a thousand lines and the end.
REPORT_EVENTS: Final = 1002


@dataclass
class Story:
    """What happened at one host, from its start to its stop."""

    server: Server
    refusals: list[object] = field(default_factory=list[object])
    frames: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    endings: list[Json] = field(default_factory=list[Json])
    gone: Json = field(default_factory=dict[str, object])
    resumed: list[Json] = field(default_factory=list[Json])
    others: list[Json] = field(default_factory=list[Json])
    retried: list[Json] = field(default_factory=list[Json])
    last_endings: list[Json] = field(default_factory=list[Json])
    statistics: Json = field(default_factory=dict[str, object])
    errors: list[str] = field(default_factory=list[str])
    is_told: bool = False

    @property
    def seen(self) -> list[Json]:
        """The events of the report, up to the vanishing."""
        run_id = self.frames[-1][1]["run_id"]
        return [frame for _, frame in self.frames if frame.get("run_id") == run_id]


async def happen(story: Story, issue: Callable[..., str]) -> None:
    connect = story.server.connect
    async with running(story.server.program) as host:
        token = issue("ada")
        for bad in ("", f"{token}0", token.replace("ada", "grace"), issue("ada", -1.0)):
            story.refusals.append(await refusal(story.server, host, bad))
        async with connect(host.port, token) as ada:
            story.frames = await converse(ada)
            story.endings = [await host.says_next("finished") for _ in ENDINGS]
            await ada.vanish()
        while story.gone.get("session", "completed") == "completed":
            story.gone = await host.says_next("session")
        async with connect(host.port, token) as ada, connect(host.port, issue("grace")) as grace:
            seen = {story.seen[-1]["run_id"]: story.seen[-1]["seq"]}
            resume = {"type": "resume", "payload": {"after": seen}}
            story.resumed = await ada.ask(json.dumps(resume), frozenset({"resumed"}))
            story.others, rest = await asyncio.gather(
                grace.ask(start("go", message_id="go")), to_the_end(ada)
            )
            story.resumed.extend(rest)
            again = start("report", message_id=REPORT, thread_id="t5")
            story.retried = await ada.ask(again)
        story.last_endings = [await host.says_next("finished") for _ in range(2)]
        story.statistics = await host.stop()
        story.errors = host.errors()


async def to_the_end(client: Client) -> list[Json]:
    frames = [await client.reads()]
    while frames[-1]["type"] not in LAST:
        frames.append(await client.reads())
    return frames


async def refusal(server: Server, host: Host, token: str) -> object:
    with pytest.raises(RefusedError) as refused:
        async with server.connect(host.port, token) as nobody:
            await nobody.ask(start("go"))
    return refused.value.args[0]


@pytest.fixture(scope="module")
def stories() -> dict[str, Story]:
    """The stories that have been seen; each is told once, in whatever order the tests come."""
    return {}


@pytest.fixture(params=SERVERS, ids=lambda server: server.program)
def story(
    request: pytest.FixtureRequest, stories: dict[str, Story], issue: Callable[..., str]
) -> Story:
    server: Server = request.param
    if server.program not in stories:
        story = stories[server.program] = Story(server)
        asyncio.run(happen(story, issue))
        story.is_told = True
    assert stories[server.program].is_told, "the first error of this host says what went wrong"
    return stories[server.program]


def test_a_client_without_a_good_token_gets_no_connection(story: Story) -> None:
    assert story.refusals == [story.server.refusal] * 4


def test_the_frames_of_the_conversation_are_the_golden_ones(story: Story, tmp_path: Path) -> None:
    frames = normalised(story.frames)
    actual = tmp_path / GOLDEN.name
    actual.write_text("".join(f"{json.dumps(frame)}\n" for frame in frames))
    golden = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    assert frames == golden, f"what came is in {actual}"


def test_every_step_of_the_conversation_is_in_the_golden_file() -> None:
    golden = [json.loads(line)["after"] for line in GOLDEN.read_text().splitlines()]
    assert list(dict.fromkeys(golden)) == [step.name for step in CONVERSATION]


def test_the_host_is_told_of_each_run_and_of_nothing_else(story: Story) -> None:
    told = [(run["finished"], run["code"], run["reason"], run["error"]) for run in story.endings]
    assert told == list(ENDINGS)
    assert all(run["user_id"] == "ada" for run in story.endings)
    assert all(run["delivered"] == run["decided"] for run in story.endings)


def test_the_session_of_a_client_that_vanished_ends_at_once_as_the_table_says(
    story: Story,
) -> None:
    told = {"session": "disconnected", "user_id": "ada", "error": story.server.error}
    assert story.gone == told


def test_a_client_that_comes_back_gets_the_rest_none_missing_and_none_twice(story: Story) -> None:
    answer, *events = story.resumed
    [run] = answer["payload"]["runs"]
    assert (run["thread_id"], run["status"], run["evicted"]) == ("t5", "running", False)
    assert (run["from_seq"], run["to_seq"]) == (3, 2), "nothing was missed yet"
    stitched = [*story.seen, *events]
    assert [event["seq"] for event in stitched] == list(range(1, REPORT_EVENTS + 1))
    assert {event["run_id"] for event in stitched} == {run["run_id"]}
    assert stitched[-1]["type"] == "agent_completed"
    assert story.retried == stitched, "as a retry is answered"


def test_another_client_is_served_as_if_nothing_had_happened(story: Story) -> None:
    types = [frame["type"] for frame in story.others]
    assert types == ["agent_started", "agent_thinking", "agent_completed"]
    assert {frame["user_id"] for frame in story.others} == {"grace"}


def test_the_run_that_was_left_and_resumed_was_delivered_as_a_whole(story: Story) -> None:
    [report] = [run for run in story.last_endings if run["message_id"] == REPORT]
    assert report["finished"] == "agent_completed"
    assert report["delivered"] == report["decided"] == REPORT_EVENTS


def test_the_statistics_agree_with_what_was_told_and_received(story: Story) -> None:
    statistics = story.statistics
    runs = [*story.endings, *story.last_endings]
    outcomes = Counter(run["finished"] for run in runs)
    assert statistics["sessions"] == statistics["runs_in_flight"] == 0
    assert statistics["runs_accepted"] == len(runs)
    assert statistics["runs_completed"] == outcomes["agent_completed"]
    assert statistics["runs_failed"] == outcomes["agent_failed"]
    assert statistics["runs_cancelled"] == outcomes["agent_cancelled"]
    assert statistics["undelivered_events"] == 0
    assert statistics["retries"] == 2
    received = [
        *(frame for _, frame in story.frames),
        *story.resumed,
        *story.others,
        *story.retried,
    ]
    events = Counter(frame["type"] for frame in received if "seq" in frame)
    assert Counter(statistics["events_sent"]) == events
    refusals = Counter(
        frame["payload"]["code"] for frame in received if frame["type"] == "error_message"
    )
    assert statistics["refusals"] == dict(refusals)


def test_the_host_reports_the_agent_that_broke_and_no_other_trouble(story: Story) -> None:
    assert len(story.errors) == 1, "\n".join(story.errors)
    [line] = story.errors
    assert line.startswith("run_finished user_id=ada ")
    assert " code=agent_error " in line
    assert " error=KeyError raised_at=agents.py:" in line
    assert "private table" not in line
