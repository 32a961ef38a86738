"""The sweep: ``python tests/kill_redis/run.py [--kills N] [--seed N] [--clients N]``."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from kill_redis.broken import VARIANTS
from kill_redis.trial import Part, Scale, sweep


def table(part: Part) -> str:
    """One part as text."""
    lines = [f"== {part.name}"]
    lines += [f"{name:<46} {count}" for name, count in sorted(part.ledger.counts.items())]
    for verdict in part.verdicts:
        lines.append(f"{'FAIL' if verdict.faults else 'ok  '} {verdict.claim}")
        lines.extend(f"       {fault[:600]}" for fault in verdict.faults[:10])
    return "\n".join(lines)


def main() -> int:
    """Run the sweep, and print its tables; progress goes to stderr."""
    parser = argparse.ArgumentParser(
        description="Workers over one Redis that are killed; exits with 0 if all verdicts hold."
    )
    parser.add_argument("--kills", type=int, default=100, help="of workers (default 100)")
    parser.add_argument(
        "--clients", type=int, default=12, help="at once, two of each user (default 12)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of what is done (default 1)")
    parser.add_argument(
        "--log", choices=VARIANTS, default="sound", help="one with a fault, which is to be found"
    )
    arguments = parser.parse_args()
    scale = Scale(
        kills=arguments.kills,
        freezes=arguments.kills // 5 + 1,
        restarts=arguments.kills // 5 + 1,
        losses=arguments.kills // 5 + 1,
        clients=arguments.clients,
        seed=arguments.seed,
        variant=arguments.log,
    )
    began = time.monotonic()
    try:
        parts = asyncio.run(sweep(scale, lambda line: print(line, file=sys.stderr, flush=True)))
    except KeyboardInterrupt:
        print("interrupted; all processes have ended", file=sys.stderr)
        return 130
    print("\n\n".join(map(table, parts)))
    print(f"\nseconds in all                                 {time.monotonic() - began:.0f}")
    return 1 if any(part.ledger.faults for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
