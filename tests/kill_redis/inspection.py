"""What the log has in the end, beside what the clients saw and what the agents did."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent_messaging import EventLog
from kill_redis.ledger import TERMINAL, Device, Event, Ledger, SeenRun
from kill_redis.processes import Execution
from support import Json

#: Log events that kills, frozen workers and a server that is down lead to.
_EXPECTED = frozenset({"run_recovered", "lease_lost", "log_failed", "redis_read_failed"})
#: And those that a server leads to which has lost something.
_OF_LOSSES = frozenset({"log_went_backwards", "log_unavailable"})
_EVERYTHING = 1_000_000


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run as the log has it."""

    user_id: str
    message_id: str
    run_id: str
    events: list[Event]


async def read_all(log: EventLog, ledger: Ledger) -> dict[str, KeptRun]:
    """All runs that are in the log."""
    kept: dict[str, KeptRun] = {}
    for user_id, thread_id in sorted(ledger.threads):
        for record in await log.runs(user_id, thread_id, limit=_EVERYTHING):
            page = await log.read(user_id, record.run_id, after=0, limit=_EVERYTHING)
            if page is None:
                ledger.fault("log", f"{record} has no events")
                continue
            events = [Event.at(event.type, event.payload, event.timestamp) for event in page.events]
            kept[record.run_id] = KeptRun(user_id, record.message_id, record.run_id, events)
            ends = [at for at, event in enumerate(events, 1) if event.kind in TERMINAL]
            numbers = [event.seq for event in page.events]
            if numbers != list(range(1, len(events) + 1)) or ends != [len(events)]:
                ledger.fault("log", f"{record}: numbers {numbers}, ends at {ends}")
            if not record.is_ended:
                ledger.fault("log", f"{record} has not ended")
    return kept


def compare(ledger: Ledger, kept: dict[str, KeptRun], devices: Iterable[Device]) -> None:
    """What the clients saw with what the log has."""
    of_messages: dict[tuple[str, str], list[str]] = {}
    for run in kept.values():
        of_messages.setdefault((run.user_id, run.message_id), []).append(run.run_id)
    for key, runs in of_messages.items():
        if len(runs) > 1:
            ledger.fault("accepted", f"{key} has the runs {runs}")
    for device in devices:
        for seen in (*device.past, *device.runs.values()):
            _compare_run(ledger, kept.get(seen.run_id), device, seen)
        for message_id, sent in device.messages.items():
            runs = of_messages.get((device.user_id, message_id), [])
            if not ledger.may_lose and runs != [sent.run_id]:
                device.fault("accepted", f"{message_id} is {sent.run_id} here, {runs} in the log")


def _compare_run(ledger: Ledger, kept: KeptRun | None, device: Device, run: SeenRun) -> None:
    of_log = [] if kept is None else kept.events[: run.cursor]
    if run.events == of_log:
        return
    same = sum(1 for ours, theirs in zip(run.events, of_log, strict=False) if ours == theirs)
    ledger.counts["runs of which a client had more than the log"] += 1
    ledger.counts["frames that a client had and the log lost"] += run.cursor - same
    if run.is_lost_told:
        ledger.counts["of these, told to the client"] += 1
    elif run.end is not None and run.end != "otherwise":
        # It has no reason to ask, and is told nothing.
        ledger.counts["of these, ended before the client"] += 1
    elif run.end == "otherwise":
        ledger.counts["of these, told by the status alone"] += 1
    if not ledger.may_lose or (run.end is None and not run.is_lost_told):
        device.fault("lost", f"{run.run_id} has {same} of {run.cursor} events in the log")


def look_at_executions(ledger: Ledger, executions: Sequence[Execution]) -> None:
    """No message, and no run, may have begun twice."""
    ledger.counts["executions"] = len(executions)
    messages = Counter((each.user_id, each.message_id) for each in executions)
    runs = Counter(each.run_id for each in executions)
    if not ledger.may_lose:
        for message, count in messages.items():
            if count > 1:
                ledger.fault("executed twice", f"{message}, {count} times")
    for run_id, count in runs.items():
        if count > 1:
            ledger.fault("executed twice", f"{run_id}, {count} times")


def look_at_records(ledger: Ledger, records: Sequence[Json], kept: dict[str, KeptRun]) -> None:
    """What the workers have logged."""
    expected = _EXPECTED | _OF_LOSSES if ledger.may_lose else _EXPECTED
    for record in records:
        ledger.counts[f"logged {record['event']}"] += 1
        is_fault_of_log = record["event"] == "log_failed" and record["level"] != "WARNING"
        is_of_agent = record["event"] == "run_finished"
        if (record["event"] not in expected and not is_of_agent) or is_fault_of_log:
            ledger.fault("records", record["text"])
    ended = Counter(record["run_id"] for record in records if record["event"] == "run_recovered")
    interrupted = {
        run.run_id for run in kept.values() if '"code":"interrupted"' in run.events[-1].payload
    }
    ledger.counts["runs interrupted, in the log"] = len(interrupted)
    ledger.counts["of these, said to be ended"] = sum(ended.values())
    if ledger.may_lose:
        return  # a run may come back, to be ended again
    for run_id, count in ended.items():
        if count > 1 or run_id not in interrupted:
            ledger.fault("recovered twice", f"{run_id}, {count} times")
