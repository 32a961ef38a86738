"""Ids in the log in an SQLite file are what they are, whatever they are made of."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent_messaging import Lease
from agent_messaging.eventlog._sqlite_reader import SqliteLogReader
from agent_messaging.testing.conformance._event_logs.trial import event
from support.sqlite_logs import opened
from support.strategies import patient

#: What SQL, keys, patterns and paths are made of.
pieces = st.sampled_from(
    [
        *(
            "'",
            '"',
            "`",
            "''",
            "\\",
            "\\'",
            ";",
            "--",
            "/*",
            "*/",
            "(",
            ")",
            "[",
            "]",
            "%",
            "_",
            "?",
        ),
        *("*", ":", ":1", "?1", "@a", "$a", "|", "||", "/", "..", "\x00", "\n", "\t", " ", ""),
        *("' OR 1=1 --", "'; DROP TABLE runs; --", "x' UNION SELECT token FROM runs --"),
        *("NULL", "null", "1", "01", "1.0", "1e0", "0x1", "-0", "9" * 30, "a", "A", "é", "e\u0301"),
    ]
)
ids = st.one_of(
    st.lists(pieces, max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
runs = st.lists(st.tuples(ids, ids, ids, ids, ids), min_size=1, max_size=12)


@patient
@given(runs)
def test_no_id_passes_for_another_or_for_more_than_itself(
    wanted: list[tuple[str, str, str, str, str]],
) -> None:
    async def steps(path: Path) -> None:
        made: dict[tuple[str, str], tuple[str, str, str]] = {}
        claims: dict[tuple[str, str], str] = {}
        async with opened(path) as trial:
            log = trial.log
            for number, (user_id, run_id, thread_id, message_id, word) in enumerate(wanted):
                if (user_id, run_id) in made:
                    continue
                record = await trial.attempt(
                    Lease(user_id, run_id, word),
                    message_id=message_id,
                    thread_id=thread_id,
                    digest=word,
                    owner=word,
                )
                first = claims.setdefault((user_id, message_id), run_id)
                assert record.run_id == first
                if first == run_id:
                    made[user_id, run_id] = (thread_id, message_id, word)
                    await trial.append(
                        Lease(user_id, run_id, word), [event(1, payload=str(number))]
                    )
                    await trial.refuses(Lease(user_id, run_id, word + "'"), [event(2)])
            everything = list(wanted)
            for user_id, run_id, thread_id, message_id, _ in everything:
                known = made.get((user_id, run_id))
                record_found = await log.find_run(user_id, run_id)
                assert (record_found is None) == (known is None)
                if record_found is not None:
                    assert (
                        record_found.run_id,
                        record_found.thread_id,
                        record_found.message_id,
                        record_found.digest,
                    ) == (run_id, *(known or ()))
                found = await log.find_claim(user_id, message_id)
                claimed = claims.get((user_id, message_id))
                assert (None if found is None else found.run_id) == claimed
                listed = await log.runs(user_id, thread_id, limit=100)
                assert {run.run_id for run in listed} == {
                    run
                    for (user, run), (thread, _, _) in made.items()
                    if (user, thread) == (user_id, thread_id)
                }
            with SqliteLogReader(path) as reader:
                assert [(run.user_id, run.record.run_id) for run in reader.runs()] == list(made)
            gone = wanted[0][0]
            await log.forget(gone)
            for user_id, run_id in made:
                left = await log.find_run(user_id, run_id)
                assert (left is None) == (user_id == gone)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(steps(Path(folder) / "log.db"))
