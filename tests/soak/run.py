"""The soak: ``python tests/soak/run.py [--clients N] [--seconds S] [--seed N]``."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from soak.trial import Report, Scale, soak
from support import Json

_MIB = 1024 * 1024


def table(report: Report) -> str:
    """The report as text."""
    scale, ledger, stats = report.scale, report.ledger, report.rest["stats"]
    counts = ledger.counts
    figures = {
        "clients, users": f"{scale.clients}, {(scale.clients + 1) // 2}",
        "connections, lost": f"{counts['connections']}, {counts['connections lost']}",
        "messages, accepted": f"{counts['messages']}, {stats['runs_accepted']}",
        "completed, failed, cancelled": ", ".join(
            str(stats[f"runs_{outcome}"]) for outcome in ("completed", "failed", "cancelled")
        ),
        "cancelled as": _pairs(counts, "cancelled as "),
        "events sent, received": f"{sum(stats['events_sent'].values())}, {counts['events']}",
        "acts": _pairs(counts, "act "),
        "stops, resumes, retries": f"{counts['stops']}, {counts['resumes']}, {stats['retries']}",
        "refusals": ", ".join(f"{code} {count}" for code, count in sorted(ledger.refusals.items())),
        "session ends": ", ".join(f"{end} {n}" for end, n in sorted(report.rest["ends"].items())),
        "slow consumers": stats["slow_consumers"],
        "abandoned agents": stats["agents_abandoned"],
        "undelivered events": stats["undelivered_events"],
        "at most": f"{report.rest['peak_bytes'] / _MIB:.0f} MiB resident",
        "at the start": _memory(report.start),
        "at rest, with the log": _memory(report.rest),
        "when all was forgotten": _memory(report.forgotten),
        "after the endpoint": _memory(report.end),
    }
    lines = [f"{name:<30} {value}" for name, value in figures.items()]
    for verdict in report.verdicts:
        lines.append(f"{'ok  ' if verdict.holds else 'FAIL'} {verdict.claim}")
        lines.extend(f"       {fault[:600]}" for fault in verdict.faults[:10])
    return "\n".join(lines)


def _memory(answer: Json) -> str:
    memory = answer["memory"]
    return f"{memory['resident'] / _MIB:.0f} MiB resident, {memory['blocks']:,} blocks of Python's"


def _pairs(counts: dict[str, int], prefix: str) -> str:
    found = sorted((name, count) for name, count in counts.items() if name.startswith(prefix))
    return ", ".join(f"{name.removeprefix(prefix)} {count}" for name, count in found)


def main() -> int:
    """Run the soak, and print its table; progress goes to stderr."""
    parser = argparse.ArgumentParser(
        description="Many clients of one server on loopback; exits with 0 if all verdicts hold."
    )
    parser.add_argument("--clients", type=int, default=500, help="at once (default 500)")
    parser.add_argument("--seconds", type=float, default=120.0, help="of acting (default 120)")
    parser.add_argument(
        "--pace", type=float, default=2.0, help="mean seconds between a client's acts (default 2)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of what the clients do (default 1)")
    arguments = parser.parse_args()
    scale = Scale(
        clients=arguments.clients,
        seconds=arguments.seconds,
        pace=arguments.pace,
        seed=arguments.seed,
    )
    began = time.monotonic()
    try:
        report = asyncio.run(soak(scale, lambda line: print(line, file=sys.stderr, flush=True)))
    except KeyboardInterrupt:
        print("interrupted; the server has stopped", file=sys.stderr)
        return 130
    print(f"seconds in all                 {time.monotonic() - began:.0f}")
    print(table(report))
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
