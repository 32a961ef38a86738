"""All tests in random orders: ``python tests/random_order/run.py [--times N] [--jobs N]``.

Each run has its own seed, for the order and for what Hypothesis draws, which repeats it. Needs the
dependency groups ``test`` and ``random-order``. What follows ``--`` goes to pytest.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    """One run of the tests."""

    seed: int
    command: list[str]
    code: int
    printed: str
    errors: str


def run(seed: int, arguments: Sequence[str]) -> Run:
    """Run the tests once."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header"]
    command += [f"--randomly-seed={seed}", f"--hypothesis-seed={seed}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return Run(seed, command, done.returncode, done.stdout, done.stderr)


def main() -> int:
    """Run them as often as asked; 0 if all passed each time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="how often; 50 by default")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once; 1 by default")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; 1 by default")
    parser.add_argument("arguments", nargs="*", help="for pytest, as the names of files")
    asked = parser.parse_args()
    if find_spec("pytest_randomly") is None:
        parser.error("pytest-randomly is not installed: pip install --group random-order")
    start = time.monotonic()
    failed: list[Run] = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        seeds = range(asked.seed, asked.seed + asked.times)
        runs = [pool.submit(run, seed, asked.arguments) for seed in seeds]
        try:
            for number, done in enumerate(as_completed(runs), 1):
                result = done.result()
                seconds = time.monotonic() - start
                last = (result.printed.splitlines() or [""])[-1]
                print(f"{number}/{asked.times} seed {result.seed}: {last} ({seconds:.0f} s in all)")
                if result.code:
                    failed.append(result)
                    # All of it: what happens by chance may never happen again.
                    print(result.printed, result.errors, sep="\n")
                    print(f"again: {' '.join(result.command)}")
                sys.stdout.flush()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print(f"stopped after {time.monotonic() - start:.0f} s")
            return 130
    print(f"{asked.times - len(failed)} of {asked.times} runs passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
