"""The kill sweep: ``python tests/kill/run.py [--kills N] [--seed N] [--keep]``.

Hosts conversations over an `SqliteEventLog`, kills the host with SIGKILL at known points and at any
moment, starts it again on the same file, and compares what clients saw with what the log holds.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from kill.broken import VARIANTS
from kill.ledger import Ledger
from kill.points import PHASES
from kill.process import Terms
from kill.sweep import Scale, Sweep, Verdict


def table(ledger: Ledger, verdicts: Sequence[Verdict]) -> str:
    """The report as text."""
    counts = ledger.counts
    lines = [f"{'killed at or in':<20} {'kills':>6} {'runs there':>11}"]
    for phase in PHASES:
        runs = "" if phase in ("anywhere", "starting") else ledger.struck[phase]
        lines.append(f"{phase:<20} {ledger.kills[phase]:>6} {runs:>11}")
    figures = {
        "kills": ledger.kills.total(),
        "messages, runs": f"{counts['messages']}, {len(ledger.runs)}",
        "executed": counts["executed"],
        "runs recovered": counts["recovered"],
        "retries, of accepted": f"{counts['retries']}, {counts['retries of accepted messages']}",
        "resumes, reloads": f"{counts['resumes']}, {counts['reloads']}",
        "stops": counts["stops"],
        "frames seen, lost": f"{counts['frames']}, {counts['frames lost']}",
        "unnamed ends": counts["ends that name no message"],
        "stalls, live runs lost": f"{counts['stalls of the machine']}, "
        f"{len(ledger.interrupted_alive)}",
    }
    lines += ["", *(f"{name:<26} {value}" for name, value in figures.items()), ""]
    for verdict in verdicts:
        lines.append(f"{'FAIL' if verdict.faults else 'ok  '} {verdict.claim.value}")
        lines.extend(f"       {fault[:800]}" for fault in verdict.faults)
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Kills a host over an SQLite log; exits with 0 if all verdicts hold, else 1."
    )
    parser.add_argument("--kills", type=int, default=300, help="how many (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="of what is done (default 1)")
    parser.add_argument("--keep", action="store_true", help="keep the files, and say where")
    parser.add_argument(
        "--durability", choices=("process", "power"), default="process", help="of the log"
    )
    parser.add_argument("--lease", type=float, default=0.3, help="seconds (default 0.3)")
    parser.add_argument(
        "--variant", choices=sorted(VARIANTS), default="sound", help="a log with a fault"
    )
    parser.add_argument("--patience", type=float, default=20.0, help="seconds (default 20)")
    parsed = parser.parse_args()
    if parsed.kills < 1:
        parser.error("--kills must be 1 or more")
    return parsed


def main() -> int:
    """Run the sweep, and print its table; progress goes to stderr."""
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="kill-sweep-"))
    terms = Terms(
        folder=folder,
        durability=options.durability,
        variant=options.variant,
        lease_seconds=options.lease,
    )
    scale = Scale(kills=options.kills, seed=options.seed, patience=options.patience)
    began = time.monotonic()

    def progress(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s: {line}", file=sys.stderr, flush=True)

    sweep = Sweep(terms, scale, progress)
    try:
        verdicts = asyncio.run(sweep.run())
    except KeyboardInterrupt:
        print("interrupted; the host was killed", file=sys.stderr)
        return 130
    finally:
        if options.keep:
            print(f"files are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    print(table(sweep.ledger, verdicts))
    print(f"\nseconds                    {time.monotonic() - began:.0f}")
    return 1 if sweep.ledger.faults else 0


if __name__ == "__main__":
    sys.exit(main())
