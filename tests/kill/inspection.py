"""What a log's file and the file of executions hold, compared with what was seen."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent_messaging import EventPage, LoggedEvent
from agent_messaging.eventlog.sqlite import SqliteEventLog
from kill.ledger import TERMINAL, Acknowledged, Claim, Client, Ledger, as_seen
from kill.process import Terms

#: More than any run has events, and any thread runs.
_ALL: Final = 2**31


async def look(terms: Terms, ledger: Ledger, clients: Sequence[Client]) -> None:
    """See that the log has all that anybody knows of; runs may be under way."""
    async with SqliteEventLog(terms.log, durability=terms.durability) as log:
        # Clients are about to send these again; which of them were accepted, the log knows.
        unknown = [(client, sent) for client in clients for sent in client.unknown]
        claims = await asyncio.gather(
            *(log.find_claim(client.user_id, sent.message_id) for client, sent in unknown)
        )
        for (client, sent), claim in zip(unknown, claims, strict=True):
            ledger.counts["retries"] += 1
            if claim is not None:
                ledger.counts["retries of accepted messages"] += 1
                ledger.claimed(
                    claim.run_id,
                    client.user_id,
                    claim.thread_id,
                    sent.message_id,
                    ledger.life - 1,
                )
        # As of now: while the log is read, the host tells of more.
        acknowledged = {run_id: replace(run) for run_id, run in ledger.runs.items()}
        pages = await _read(log, ledger, clients)
    for run_id, run in acknowledged.items():
        _compare(ledger, run_id, run, pages[run.user_id, run_id])
    for client in clients:
        for seen in client.runs.values():
            held = [as_seen(*event) for event in pages[client.user_id, seen.run_id].events]
            for event, logged in zip(seen.events, held, strict=False):
                if event != logged:
                    client.fault(Claim.SAW, f"{event} of {seen.run_id}, in the log {logged}")
            if len(held) < seen.cursor:
                words = f"{seen.events[len(held)]} of {seen.run_id}, not in the log"
                client.fault(Claim.SAW, words)
    _look_at_executions(terms.executions, ledger)


async def look_at_ends(terms: Terms, ledger: Ledger, clients: Sequence[Client]) -> None:
    """See that all runs have ended as they have to, and that clients have all of them."""
    async with SqliteEventLog(terms.log, durability=terms.durability) as log:
        threads = [(user, thread) for user, threads in ledger.threads.items() for thread in threads]
        found = await asyncio.gather(
            *(log.runs(user, thread, limit=_ALL) for user, thread in threads)
        )
        records = {
            (user_id, record.run_id): record
            for (user_id, _), runs in zip(threads, found, strict=True)
            for record in runs
        }
        for (user_id, run_id), record in records.items():
            ledger.claimed(run_id, user_id, record.thread_id, record.message_id, ledger.life)
        pages = await _read(log, ledger, clients)
    runs_of: defaultdict[str, list[str]] = defaultdict(list)
    for (user_id, run_id), record in records.items():
        runs_of[record.message_id].append(run_id)
        fault = fault_of(pages[user_id, run_id].events)
        if fault is not None or not record.is_ended:
            kinds = [str(event.type) for event in pages[user_id, run_id].events]
            ledger.fault(Claim.RUNS, f"{record} {fault or 'is not said to have ended'}: {kinds}")
    for client in clients:
        for sent in client.messages.values():
            if runs_of[sent.message_id] != [sent.run_id]:
                words = f"{sent.message_id} has {runs_of[sent.message_id]}"
                client.fault(Claim.CLAIMS, f"{words}, and for the client {sent.run_id}")
        for run in client.runs.values():
            page = pages[client.user_id, run.run_id]
            if [as_seen(*event) for event in page.events] != run.events:
                client.fault(
                    Claim.COMPLETE, f"{run.cursor} of {page.last_seq} events of {run.run_id}"
                )
    _look_at_executions(terms.executions, ledger)


async def _read(
    log: SqliteEventLog, ledger: Ledger, clients: Sequence[Client]
) -> dict[tuple[str, str], EventPage]:
    """The events of all runs that anybody knows."""
    known = {(run.user_id, run_id): None for run_id, run in ledger.runs.items()}
    known |= {(client.user_id, run_id): None for client in clients for run_id in client.runs}
    pages = await asyncio.gather(
        *(log.read(user_id, run_id, after=0, limit=_ALL) for user_id, run_id in known)
    )
    nothing = EventPage((), 1, -1, "queued")
    return {key: nothing if page is None else page for key, page in zip(known, pages, strict=True)}


def _compare(ledger: Ledger, run_id: str, run: Acknowledged, page: EventPage) -> None:
    if page.last_seq < run.last_seq:
        what = "its claim" if page.last_seq < 0 else f"event {run.last_seq}"
        ledger.fault(Claim.ACKNOWLEDGED, f"{what} is not in the log, of {run_id}: {run}")
    if [event.seq for event in page.events] != list(range(1, max(page.last_seq, 0) + 1)):
        ledger.fault(Claim.ACKNOWLEDGED, f"{run_id} has a gap: {page}")


def _look_at_executions(path: Path, ledger: Ledger) -> None:
    lines = path.read_text().splitlines() if path.exists() else []
    executions = [(user_id, message, run) for user_id, message, run in map(json.loads, lines)]
    ledger.counts["executed"] = len(executions)
    for (user_id, message), count in Counter(each[:2] for each in executions).items():
        if count > 1:
            ledger.fault(Claim.EXECUTED, f"{message} of {user_id} was executed {count} times")
    for user_id, message_id, run_id in executions:
        run = ledger.runs.get(run_id)
        if run is None or (run.user_id, run.message_id) != (user_id, message_id):
            ledger.fault(Claim.EXECUTED, f"{run_id} for {message_id} of {user_id}, claimed: {run}")


def fault_of(events: Sequence[LoggedEvent]) -> str | None:
    """What is wrong with the events of a run that has ended; None if nothing."""
    kinds = [str(event.type) for event in events]
    ends = [kind for kind in kinds if kind in TERMINAL]
    if len(ends) != 1 or kinds[-1] not in TERMINAL:
        return f"has the ends {ends}"
    before = [kind for kind in kinds[:-1] if kind != "agent_queued"]
    if before and (before[0] != "agent_started" or before.count("agent_started") != 1):
        return "did not start once"
    opened: Counter[str] = Counter()
    for event in events:
        if event.type == "tool_executing":
            opened[json.loads(event.payload)["tool_call_id"]] += 1
        elif event.type == "tool_completed":
            call = json.loads(event.payload)
            opened[call["tool_call_id"]] -= 1
            if call["status"] == "interrupted" and kinds[-1] == "agent_completed":
                return "completed with a tool that was interrupted"
        if not set(opened.values()) <= {0, 1}:
            return "has a tool that was opened or completed twice"
    return "has an open tool" if opened.total() else None
