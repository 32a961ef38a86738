"""Fuzzing: ``python tests/fuzz/run.py HARNESS [--executions N] [--seconds S]``.

Executes inputs which atheris and libFuzzer make of those in the corpus, and keeps looking for
others that reach more of the package, until it finds a fault, or has done as much as it was asked
to. Needs the dependency group `fuzz`; ``--reproduce`` does not.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha1
from importlib.util import find_spec
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parent.parent
if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(TESTS)

from fuzz.harnesses import CORPUS, HARNESSES  # noqa: E402 - as above

_STATUS: Final = re.compile(
    r"#(?P<executions>\d+)\s+(?P<event>\w+)\s+cov: (?P<coverage>\d+) ft: (?P<features>\d+)"
    r" corp: (?P<inputs>\d+)/(?P<size>\w+).* exec/s: \d+ rss: (?P<memory>\w+)"
)
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units: (\d+)")

#: Seconds between two lines of progress.
_PACE: Final = 10.0


class Watch:
    """Reads what libFuzzer prints, and says from time to time how far it is.

    Attributes:
        executions: how many there were.
        fault: what libFuzzer said from the first fault on.
    """

    def __init__(self) -> None:
        self.executions = 0
        self.fault: list[str] = []
        self._began = self._told = time.monotonic()
        self._first: re.Match[str] | None = None
        self._last: re.Match[str] | None = None

    def read(self, line: str) -> None:
        """One line of libFuzzer's."""
        status = _STATUS.match(line)
        if self.fault or line.startswith(" === Uncaught Python exception") or "ERROR: " in line:
            self.fault.append(line.rstrip())
        if status is not None:
            self.executions = int(status["executions"])
            self._last = status
            self._first = self._first or (status if status["event"] == "INITED" else None)
            if time.monotonic() - self._told >= _PACE:
                self._told = time.monotonic()
                print(self.figures(), flush=True)
        elif (executed := _EXECUTED.match(line)) is not None:
            self.executions = int(executed[1])

    def figures(self) -> str:
        """How far it is, in words."""
        seconds = time.monotonic() - self._began
        words = f"{self.executions:,} executions, {self.executions / seconds:,.0f}/s"
        words += f", {seconds:,.0f} s"
        if self._first is None or self._last is None:
            return words
        new = int(self._last["coverage"]) - int(self._first["coverage"])
        return (
            f"{words}; coverage {self._last['coverage']} (+{new}), features"
            f" {self._last['features']}; {self._last['inputs']} inputs; {self._last['memory']}"
        )


def child(name: str, options: Sequence[str]) -> subprocess.Popen[str]:
    """The process that fuzzes. It is deaf to the terminal's Ctrl-C, which is handed on once."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "fuzz.child", name, *options],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0,
    )


def watched(name: str, options: Sequence[str], watch: Watch) -> int:
    """The exit code of the process that fuzzes; 130 where it was interrupted."""
    process = child(name, options)
    assert process.stdout is not None
    interrupted = False
    while True:
        try:
            for line in process.stdout:
                watch.read(line)
            code = process.wait()
        except KeyboardInterrupt:
            interrupted = True
            process.send_signal(signal.SIGINT)
        else:
            return 130 if interrupted else code


def fuzz(name: str, arguments: argparse.Namespace) -> int:
    """Look for faults; 1 if there was one."""
    found = Path(arguments.found or tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    found.mkdir(parents=True, exist_ok=True)
    faults = found / "faults"
    faults.mkdir(exist_ok=True)
    (found / "inputs").mkdir(exist_ok=True)
    options = [
        f"-runs={arguments.executions or -1}",
        f"-max_total_time={arguments.seconds}",
        f"-seed={arguments.seed}",
        f"-timeout={arguments.timeout}",
        f"-artifact_prefix={faults}/",
        "-print_final_stats=1",
        str(found / "inputs"),
        str(CORPUS / name),
    ]
    before = set(faults.iterdir())
    for ending in (signal.SIGINT, signal.SIGTERM):  # also in the background, where a shell says no
        signal.signal(ending, signal.default_int_handler)
    watch = Watch()
    code = watched(name, options, watch)
    print(watch.figures())
    print(f"new inputs are in {found / 'inputs'}; keep what is worth it:")
    print(f"    python tests/fuzz/run.py {name} --keep {found / 'inputs'}")
    if code in (0, 130):
        print("no fault was found" if code == 0 else "interrupted; no fault was found")
        return code
    print("\n".join(watch.fault) or f"libFuzzer ended with {code}")
    for fault in sorted(set(faults.iterdir()) - before):
        print(f"to reproduce it:\n    python tests/fuzz/run.py {name} --reproduce {fault}")
    return 1


def keep(name: str, folder: Path) -> int:
    """Have the corpus hold the fewest inputs which reach all that it and a folder reach."""
    before = sorted((CORPUS / name).iterdir())
    with tempfile.TemporaryDirectory() as merged:
        watch = Watch()
        code = watched(name, ["-set_cover_merge=1", merged, str(CORPUS / name), str(folder)], watch)
        kept = [path.read_bytes() for path in Path(merged).iterdir()]
    if code != 0 or not kept:
        print("\n".join(watch.fault))
        return code or 1
    for path in before:
        path.unlink()
    for content in kept:
        (CORPUS / name / sha1(content, usedforsecurity=False).hexdigest()[:16]).write_bytes(content)
    print(f"{len(before)} inputs before, {len(kept)} now, {sum(map(len, kept)):,} bytes")
    return 0


def reproduce(name: str, paths: Sequence[Path]) -> int:
    """Execute some inputs, without the fuzzer; what they raise is raised."""
    for path in paths:
        print(f"{path}: {path.read_bytes()!r}", flush=True)
        HARNESSES[name].execute(path.read_bytes())
    print("all of them hold")
    return 0


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description="Looks for inputs that break the package's promises; exits with 1 if it finds"
        " one, with 0 if it does not, with 130 if it is interrupted.",
        epilog="Without --executions and --seconds it goes on until it is interrupted.",
    )
    parser.add_argument("harness", choices=sorted(HARNESSES), help="what is fuzzed")
    parser.add_argument("--executions", type=int, default=0, metavar="N", help="at most so many")
    parser.add_argument("--seconds", type=int, default=0, metavar="S", help="at most so long")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="0 for another each time")
    parser.add_argument(
        "--timeout", type=int, default=20, metavar="S", help="longer is a fault (default 20)"
    )
    parser.add_argument(
        "--found", metavar="FOLDER", help="where new inputs go, and come from (default: a new one)"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--reproduce", type=Path, nargs="+", metavar="FILE", help="execute these")
    instead.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="put what its inputs reach into the corpus"
    )
    arguments = parser.parse_args()
    if arguments.reproduce:
        return reproduce(arguments.harness, arguments.reproduce)
    if find_spec("atheris") is None:
        print("atheris is not installed: pip install --group fuzz", file=sys.stderr)
        return 2
    if arguments.keep is not None:
        return keep(arguments.harness, arguments.keep)
    return fuzz(arguments.harness, arguments)


if __name__ == "__main__":
    sys.exit(main())
