"""Mutation testing: ``python tests/mutation/run.py [MODULE ...] [--processes N] [--keep]``.

Changes the core in one place at a time, and runs the unit tests that come by there: one of them
has to fail. Needs the dependency group ``mutation``. Reports the changes that no test noticed and
that ``explained.toml`` does not explain.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from mutation.project import copy_project, modules
from mutation.survivors import Change, Explanation, change_of, explained, explanations

#: The tool's words for what became of a mutant that was noticed.
_NOTICED: Final = ("killed", "timeout")

_COLUMNS: Final = "{:<15} {:>8} {:>8} {:>10} {:>10} {:>6}"

#: The modules that are changed: their files by their short names.
_MODULES: Final = {Path(path).stem: path for path in modules()}


def main() -> int:
    """Run the tool in a copy of the project, and print the figures; progress goes to stderr."""
    parser = argparse.ArgumentParser(
        description="Changes the core and runs its tests; exits with 0 if all misses are explained."
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help=f"all by default: {', '.join(_MODULES)}"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once")
    parser.add_argument("--keep", action="store_true", help="keep the copy, and say where it is")
    options = parser.parse_args()
    if unknown := [name for name in options.modules if name not in _MODULES]:
        parser.error(f"no module that is changed: {', '.join(unknown)}")
    folder = Path(tempfile.mkdtemp(prefix="mutation-"))
    try:
        copy_project(folder)
        patterns = [f"{_imported(name)}.x*" for name in options.modules]
        _mutmut(folder, "run", f"--max-children={options.processes}", *patterns)
        return _report(folder, options.modules or list(_MODULES))
    finally:
        if options.keep:
            print(f"kept; look at it with: cd {folder} && mutmut browse", file=sys.stderr)
        else:
            shutil.rmtree(folder)


def _imported(name: str) -> str:
    """A module, as it is imported."""
    return ".".join(Path(_MODULES[name]).with_suffix("").parts[1:])


def _mutmut(folder: Path, *arguments: str) -> str:
    """What the tool prints; of a run nothing, which is seen as it goes."""
    done = subprocess.run(
        [Path(sys.executable).with_name("mutmut"), *arguments],
        cwd=folder,
        stdout=sys.stderr if arguments[0] == "run" else subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout or ""


def _report(folder: Path, names: Sequence[str]) -> int:
    """Print the figures of each module, and what is left to look at."""
    known = explanations()
    used: set[Explanation] = set()
    left: list[Change] = []
    print(_COLUMNS.format("module", "mutants", "killed", "timed out", "explained", "left"))
    lines = (line.strip() for line in _mutmut(folder, "results", "--all", "true").splitlines())
    fates = dict(line.rsplit(": ", 1) for line in lines if line)
    sums: Counter[str] = Counter()
    for name in names:
        counts: Counter[str] = Counter()
        for mutant, fate in fates.items():
            if not mutant.startswith(f"{_imported(name)}."):
                continue
            counts["mutants"] += 1
            if fate in _NOTICED:
                counts[fate] += 1
                continue
            change = change_of(mutant, _mutmut(folder, "show", mutant))
            explanation = explained(change, known)
            if explanation is None:
                counts["left"] += 1
                left.append(change)
            else:
                counts["explained"] += 1
                used.add(explanation)
        print(_row(name, counts))
        sums += counts
    if len(names) > 1:
        print(_row("all", sums))
    for change in left:
        print(f"\nnot noticed: {change}")
    if len(names) == len(_MODULES):
        for explanation in known:
            if explanation not in used:
                print(f"\nexplains nothing: {explanation}")
    return 1 if left else 0


def _row(name: str, counts: Counter[str]) -> str:
    noticed = sum(counts[fate] for fate in _NOTICED)
    share = 100 * noticed / counts["mutants"] if counts["mutants"] else 0.0
    figures = (counts[key] for key in ("mutants", *_NOTICED, "explained", "left"))
    return f"{_COLUMNS.format(name, *figures)} {share:7.1f} % noticed"


if __name__ == "__main__":
    sys.exit(main())
