"""A user who knows the ids of another's runs, threads and messages learns and changes nothing.

Each attack is made in two worlds: in one the other user has what the ids name, in the other it
has nothing. What the attacker is sent, when, and what the log is asked are the same in both.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import pytest

from agent_messaging import AgentMessageHandler, Endpoint, Lease, Limits, Run, ThreadPolicy
from agent_messaging.testing import RecordingTransport, counted_ids, loop_clock, run_virtual
from support import Json, decoded
from support.endpoints import frame, settle
from support.recording_log import Call, RecordingLog

OWNER: Final = "ada"
ATTACKER: Final = "mallory"

#: The owner's runs: the first ids after those of the endpoint and the two connections.
ENDED: Final = "id-4"
RUNNING: Final = "id-5"
WAITING: Final = "id-6"
MESSAGES: Final = (("m-ended", "0", "t-2"), ("m-running", "50", "t-1"), ("m-waiting", "50", "t-1"))


async def agent(run: Run) -> str:
    """Says something about its user, and takes as many seconds as the message says."""
    await run.thinking(f"the secret of {run.context.user_id}")
    await asyncio.sleep(float(run.request))
    return f"the secret of {run.context.user_id}"


@dataclass(frozen=True, slots=True)
class World:
    """What came of an attack.

    Attributes:
        told: what the attacker was sent, and when.
        calls: what the log was asked while the attack was made.
        frames: what the owner was sent, up to the end of its runs.
    """

    told: list[tuple[float, Json]]
    calls: list[Call]
    frames: list[str]


async def _world(attack: tuple[str, ...], policy: ThreadPolicy, *, has_runs: bool) -> World:
    new_id = counted_ids()
    log = RecordingLog()
    owner, attacker = RecordingTransport(), RecordingTransport()
    async with Endpoint(
        AgentMessageHandler(agent, clock=loop_clock()),
        log=log,
        clock=loop_clock(),
        heartbeat=None,
        thread_policy=policy,
        new_id=lambda: new_id(),  # noqa: PLW0108 - it will be another
    ) as endpoint:
        owners = await endpoint.open(OWNER, owner)
        attackers = await endpoint.open(ATTACKER, attacker)
        for message_id, text, thread_id in MESSAGES:
            if has_runs:
                message = {"message_id": message_id, "thread_id": thread_id}
                await owners.receive(frame("chat", {"text": text}, **message))
            await settle()
        new_id = counted_ids("later-")  # what is made from now on is the same in both worlds
        begin = len(log.calls)
        for text in attack:
            await attackers.receive(text)
            await settle()
        calls = log.calls[begin:]
        await asyncio.sleep(200.0)
        told = list(zip(attacker.times, decoded(attacker.frames), strict=True))
        return World(told, calls, list(owner.frames))


def world(attack: tuple[str, ...], policy: ThreadPolicy = "queue", *, has_runs: bool) -> World:
    return run_virtual(_world(attack, policy, has_runs=has_runs))


def stop(**payload: object) -> str:
    return frame("stop_agent", payload)


def resume(**payload: object) -> str:
    return frame("resume", payload)


ATTACKS: Final = {
    "stops the running one": (stop(run_id=RUNNING),),
    "stops the waiting one": (stop(run_id=WAITING),),
    "stops the ended one": (stop(run_id=ENDED),),
    "stops by the envelope": (frame("stop_agent", run_id=RUNNING),),
    "stops the thread": (stop(thread_id="t-1"),),
    "stops the thread by the envelope": (frame("stop_agent", thread_id="t-1"),),
    "stops again and again": (stop(run_id=RUNNING),) * 5,
    "resumes the running one": (resume(after={RUNNING: 0}),),
    "resumes the waiting one": (resume(after={WAITING: 0}),),
    "resumes the ended one": (resume(after={ENDED: 0}),),
    "resumes beyond the end": (resume(after={ENDED: 1000}),),
    "resumes all of them": (resume(after={ENDED: 0, RUNNING: 1, WAITING: 2}),),
    "resumes the thread": (resume(thread_id="t-1"),),
    "resumes the ended thread": (resume(thread_id="t-2", after={ENDED: 1}),),
    "resumes the thread by the envelope": (frame("resume", thread_id="t-1"),),
    "resumes, then stops": (resume(thread_id="t-1"), stop(thread_id="t-1")),
    "talks on the thread": (frame("chat", {"text": "1"}, thread_id="t-1"),),
    "talks on the thread, then stops it": (
        frame("chat", {"text": "9"}, thread_id="t-1"),
        stop(thread_id="t-1"),
    ),
    "names a run in a message": (frame("chat", {"text": "1"}, run_id=RUNNING),),
    "sends the running message": (
        frame("chat", {"text": "50"}, message_id="m-running", thread_id="t-1"),
    ),
    "sends the ended message": (
        frame("chat", {"text": "0"}, message_id="m-ended", thread_id="t-2"),
    ),
    "sends other words as the ended message": (
        frame("chat", {"text": "1"}, message_id="m-ended", thread_id="t-2"),
    ),
    "says who it is not": tuple(
        frame(kind, {"text": "1", "run_id": RUNNING}, user_id=OWNER)
        for kind in ("chat", "stop_agent", "resume", "ping", "connect", "disconnect")
    ),
    "asks in many ways at once": (
        frame("resume", {"thread_id": "t-1", "after": {RUNNING: 0}}, run_id=WAITING),
        frame("chat", {"text": "3"}, message_id="m-waiting", thread_id="t-1"),
        stop(run_id=RUNNING),
        resume(after={"later-1": 0, RUNNING: 0}),
    ),
}


@pytest.fixture(params=ATTACKS)
def attack(request: pytest.FixtureRequest) -> tuple[str, ...]:
    name: str = request.param
    return ATTACKS[name]


def test_what_is_anothers_is_answered_exactly_as_what_does_not_exist(
    attack: tuple[str, ...],
) -> None:
    assert world(attack, has_runs=True).told == world(attack, has_runs=False).told


def test_the_log_is_asked_the_same_about_what_is_anothers_as_about_what_does_not_exist(
    attack: tuple[str, ...],
) -> None:
    assert world(attack, has_runs=True).calls == world(attack, has_runs=False).calls


def test_an_attack_asks_the_log_for_nothing_in_anothers_name(attack: tuple[str, ...]) -> None:
    for call in world(attack, has_runs=True).calls:
        first = call.arguments[0]
        assert (first.user_id if isinstance(first, Lease) else first) == ATTACKER


def test_an_attack_changes_nothing_for_the_owner(attack: tuple[str, ...]) -> None:
    assert world(attack, has_runs=True).frames == world((), has_runs=True).frames


def test_an_attacker_is_sent_nothing_of_the_owners(attack: tuple[str, ...]) -> None:
    for _, sent in world(attack, has_runs=True).told:
        assert OWNER not in str(sent)
        assert sent.get("run_id") not in (ENDED, RUNNING, WAITING)


def test_the_owner_does_have_those_runs() -> None:
    frames = decoded(world((), has_runs=True).frames)
    ends = {sent["run_id"]: sent["type"] for sent in frames if "run_id" in sent}
    assert ends == dict.fromkeys((ENDED, RUNNING, WAITING), "agent_completed")


@pytest.mark.parametrize("policy", ["queue", "reject", "replace", "parallel"])
def test_a_thread_of_the_same_name_is_not_the_same_thread(policy: ThreadPolicy) -> None:
    attack = tuple(frame("chat", {"text": "1"}, thread_id="t-1") for _ in range(3))
    here, elsewhere = (world(attack, policy, has_runs=has_runs) for has_runs in (True, False))
    assert here.told == elsewhere.told
    assert here.calls == elsewhere.calls
    assert here.frames == world((), policy, has_runs=True).frames


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a", "b:c"), ("a:b", "c")),
        (("a", "b/c"), ("a/b", "c")),
        (("a", "t"), ("A", "t")),
        (("a", "t"), ("a ", "t")),
        (("\u0430", "t"), ("a", "t")),  # Cyrillic and Latin
        (("\u00e9", "t"), ("e\u0301", "t")),  # composed and not
        (("t", "t"), ("a", "t")),
    ],
)
def test_users_whose_names_look_alike_share_nothing(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    async def main() -> tuple[list[Json], list[Json]]:
        one, other = RecordingTransport(), RecordingTransport()
        handler = AgentMessageHandler(agent, clock=loop_clock())
        async with Endpoint(handler, clock=loop_clock(), heartbeat=None) as endpoint:
            ones = await endpoint.open(first[0], one)
            others = await endpoint.open(second[0], other)
            message = {"message_id": "m", "thread_id": first[1]}
            await ones.receive(frame("chat", {"text": "5"}, **message))
            await settle()
            run_id = decoded(one.frames)[-1]["run_id"]
            await others.receive(resume(thread_id=second[1], after={run_id: 0}))
            await others.receive(stop(run_id=run_id))
            await others.receive(stop(thread_id=second[1]))
            await asyncio.sleep(10.0)
        return decoded(one.frames), decoded(other.frames)

    frames, answers = run_virtual(main())
    assert [sent["type"] for sent in frames][-2:] == ["agent_completed", "error_message"]
    assert [sent["payload"] for sent in answers[1:4]] == [
        {"runs": []},
        {"run_ids": []},
        {"run_ids": []},
    ]


def test_one_users_flood_takes_nothing_of_anothers_tokens() -> None:
    async def main() -> list[Json]:
        flooded, other = RecordingTransport(), RecordingTransport()
        handler = AgentMessageHandler(agent, clock=loop_clock())
        limits = Limits(messages_per_minute=5, frames_per_minute=20)
        async with Endpoint(handler, limits=limits, clock=loop_clock(), heartbeat=None) as endpoint:
            floods = await endpoint.open(ATTACKER, flooded)
            others = await endpoint.open(OWNER, other)
            for _ in range(100):
                await floods.receive(frame("chat", {"text": "0"}))
            await others.receive(frame("chat", {"text": "0"}))
            await settle()
            codes = {sent["payload"].get("code") for sent in decoded(flooded.frames)}
            assert "rate_limited" in codes
        return decoded(other.frames)

    assert "agent_completed" in [sent["type"] for sent in run_virtual(main())]
