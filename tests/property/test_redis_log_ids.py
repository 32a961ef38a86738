"""Ids in Redis: whatever they are made of, none poses as another, and none is more than a name."""

import re
from itertools import chain, combinations

from hypothesis import given
from hypothesis import strategies as st

from agent_messaging import Lease, MemoryEventLog
from agent_messaging.eventlog._redis_keys import Keys, decoded, encoded, member_of, parts_of
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance._event_logs.trial import Trial, event
from support.event_logs import on_trial
from support.redis_logs import fake_client, redis_trial

#: What keys, hash tags, globs, patterns, scripts and commands are written in, and what clients
#: and encodings stumble over.
PIECES = (
    *("{", "}", "{0}", "{}", "*", "?", "[a-z]", "\\", "^", "$", "%", "%d", "%S*", "%%", "%20", ":"),
    *(" ", "/", "|", "-", "_", ".", ",", ";", "'", '"', "]]", "--", "..", "0-0", "+", "$", ">"),
    *("KEYS[1]", "ARGV[1]", "redis.call('FLUSHALL')", "nil", "false", "after", "s", "r", "c", "t"),
    *("runs", "events", "ends", "wakes", "wakes:last", "leases", "agent_messaging", "a", "A", "é"),
    *("e\u0301", "漢", "😀", "\u202e", "\udcff", "\x00", "\r\n", "\t", "*1\r\n$4\r\nPING\r\n"),
)

ids = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join) | st.text(min_size=1)


@given(ids)
def test_an_id_comes_back_from_what_it_is_written_as(name: str) -> None:
    written = encoded(name)
    assert re.fullmatch(r"(?:[A-Za-z0-9_.-]|%[0-9A-F]{2})*", written)
    assert decoded(written) == name


@given(ids, ids)
def test_two_ids_are_never_written_alike(one: str, other: str) -> None:
    assert (encoded(one) == encoded(other)) == (one == other)


@given(st.lists(st.tuples(ids, ids), min_size=2, max_size=5, unique=True))
def test_no_key_of_a_run_is_that_of_another_or_of_anything_else(
    runs: list[tuple[str, str]],
) -> None:
    keys = Keys("agent_messaging")
    shards = {keys.user(user_id).shard for user_id, _ in runs}
    users = {user_id for user_id, _ in runs}
    owners = {run_id for _, run_id in runs}
    all_keys = [
        *chain.from_iterable(((of := keys.user(user_id)).runs, of.ends) for user_id in users),
        *(keys.user(user_id).events + encoded(run_id) for user_id, run_id in runs),
        *chain.from_iterable((*keys.wakes(shard), keys.leases(shard)) for shard in shards),
        *chain.from_iterable(keys.notices(owner) for owner in owners),
    ]
    assert len(all_keys) == len(set(all_keys))
    members = [member_of(user_id, run_id) for user_id, run_id in runs]
    assert [parts_of(member) for member in members] == runs
    assert len(set(members)) == len(runs)


@given(ids, ids)
def test_the_hash_tag_of_a_key_is_its_shard_whatever_the_ids(user_id: str, run_id: str) -> None:
    keys = Keys("agent_messaging")
    user = keys.user(user_id)
    for key in (user.runs, user.ends, user.events + encoded(run_id), *keys.wakes(user.shard)):
        # As a cluster has it: what is between the first brace and the next closing one.
        tag = key[key.index("{") + 1 :].partition("}")[0]
        assert tag == str(user.shard)


@given(st.lists(ids, min_size=2, max_size=4, unique=True))
def test_a_log_takes_odd_ids_as_a_log_in_memory_does(names: list[str]) -> None:
    async def told(trial: Trial) -> list[object]:
        said: list[object] = []
        pairs = list(combinations(names, 2))
        for user_id, other in pairs:
            lease = Lease(user_id, other, user_id + other)
            said.append(
                await trial.attempt(
                    lease, thread_id=user_id, message_id=other, digest=other, owner=user_id
                )
            )
            said.append(
                await trial.refuses(lease._replace(token=other + user_id + "x"), [event(1)])
            )
            said.append(await trial.refuses(lease, [event(1, payload='{"a":"%s"}')]))
        for user_id in names:
            for other in names:
                said.append(await trial.log.find_run(user_id, other))
                said.append(await trial.log.find_claim(user_id, other))
                said.append(list(await trial.log.runs(user_id, other, limit=9)))
                page = await trial.log.read(user_id, other, after=0, limit=9)
                said.append(None if page is None else (list(page.events), page.status))
                said.append(await trial.log.notify(user_id, other, "stop"))
        await trial.log.forget(names[0])
        for user_id, other in pairs:
            said.append(await trial.log.find_run(user_id, other))
        await trial.log.aclose()
        return said

    async def main() -> None:
        async with fake_client() as client:
            assert await told(redis_trial(client)) == await told(on_trial(MemoryEventLog()))

    run_virtual(main())
