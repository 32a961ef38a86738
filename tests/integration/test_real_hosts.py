"""Real servers and a real client: the same frames everywhere, and a client that vanishes."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import InvalidStatus

from integration.conversation import CONVERSATION, ENDINGS, REPORT, client, normalised, start
from integration.hosts import Host, running
from integration.vanishing import VANISHINGS, Vanishing
from support import Json

GOLDEN: Final = Path(__file__).with_name("golden_conversation.jsonl")


@dataclass
class Story:
    """What happened at one host, from its start to its stop."""

    expected: Vanishing
    refusals: list[int] = field(default_factory=list[int])
    frames: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    endings: list[Json] = field(default_factory=list[Json])
    afterwards: list[Json] = field(default_factory=list[Json])
    report: Json = field(default_factory=dict[str, object])
    go: Json = field(default_factory=dict[str, object])
    statistics: Json = field(default_factory=dict[str, object])
    errors: list[str] = field(default_factory=list[str])
    is_told: bool = False

    @property
    def runs(self) -> list[Json]:
        return [*self.endings, self.report, self.go]


async def happen(story: Story, issue: Callable[..., str]) -> None:
    async with running(story.expected.program) as host:
        token = issue("ada")
        for bad in ("", f"{token}0", token.replace("ada", "grace"), issue("ada", -1.0)):
            story.refusals.append(await refusal(host, bad))
        async with client(host.uri, token) as ada:
            story.frames = await ada.converse()
            story.endings = [await host.says() for _ in ENDINGS]
            await ada.vanish()
        if story.expected.ends_at_once:
            story.report = await host.says()
        # By the time that another client is served, the server has seen that the first is gone.
        async with client(host.uri, issue("grace")) as grace:
            story.afterwards = await grace.ask(start("go", message_id="go"))
        while not (story.go and story.report):
            said = await host.says()
            if said["message_id"] == REPORT:
                story.report = said
            else:
                story.go = said
        story.statistics = await host.stop()
        story.errors = host.errors()


async def refusal(host: Host, token: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with client(host.uri, token):
            pass
    return refused.value.response.status_code


@pytest.fixture(scope="module")
def stories() -> dict[str, Story]:
    """The stories that have been seen; each is told once, in whatever order the tests come."""
    return {}


@pytest.fixture(params=VANISHINGS, ids=lambda expected: expected.program)
def story(
    request: pytest.FixtureRequest, stories: dict[str, Story], issue: Callable[..., str]
) -> Story:
    expected: Vanishing = request.param
    if expected.program not in stories:
        story = stories[expected.program] = Story(expected)
        asyncio.run(happen(story, issue))
        story.is_told = True
    assert stories[expected.program].is_told, "the first error of this host says what went wrong"
    return stories[expected.program]


def test_a_client_without_a_good_token_gets_no_connection(story: Story) -> None:
    assert story.refusals == [story.expected.refusal] * 4


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
    told = [(run["finished"], run["code"], run["error"]) for run in story.endings]
    assert told == list(ENDINGS)
    assert all(run["user_id"] == "ada" for run in story.endings)
    assert all(run["delivered"] == run["decided"] for run in story.endings)


def test_a_run_whose_client_vanished_ends_as_the_table_says(story: Story) -> None:
    expected, report = story.expected, story.report
    assert report["finished"] == expected.outcome
    assert report["error"] == expected.agent_gets
    assert report["cause"] == expected.send_raises


def test_its_events_count_as_delivered_only_where_the_server_accepted_them(story: Story) -> None:
    report = story.report
    assert report["delivered"] >= 2, "the start and the first line came before the vanishing"
    assert (report["delivered"] == report["decided"]) is story.expected.is_delivered
    if story.expected.agent_gets is None:
        assert report["decided"] == 1002, "the start, a thousand lines and the end"
    else:
        assert report["decided"] < 1002, "the agent was stopped on its way"


def test_another_client_is_served_as_if_nothing_had_happened(story: Story) -> None:
    types = [frame["type"] for frame in story.afterwards]
    assert types == ["agent_started", "agent_thinking", "agent_completed"]
    assert {frame["user_id"] for frame in story.afterwards} == {"grace"}
    assert story.go["finished"] == "agent_completed"


def test_the_statistics_agree_with_what_the_host_was_told(story: Story) -> None:
    [handler] = story.statistics["handlers"]
    outcomes = Counter(run["finished"] for run in story.runs)
    assert handler["runs_in_flight"] == 0
    assert handler["runs_completed"] == outcomes["agent_completed"]
    assert handler["runs_failed"] == outcomes["agent_failed"] == handler["errors"]
    assert handler["runs_cancelled"] == outcomes["agent_cancelled"]
    assert sum(handler["events_sent"].values()) == sum(run["delivered"] for run in story.runs)
    assert handler["undelivered_events"] == sum(
        run["decided"] - run["delivered"] for run in story.runs
    )
    refusals = Counter(
        frame["payload"]["code"] for _, frame in story.frames if frame["type"] == "error_message"
    )
    assert story.statistics["refusals"] == dict(refusals)
    assert story.statistics["errors"] == refusals.total()


def test_the_host_reports_the_agent_that_broke_and_no_other_trouble(story: Story) -> None:
    assert len(story.errors) == 1, "\n".join(story.errors)
    [line] = story.errors
    assert line.startswith("run_finished user_id=ada ")
    assert " code=agent_error " in line
    assert " error=KeyError raised_at=agents.py:" in line
    assert "private table" not in line
