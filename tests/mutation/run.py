"""Mutation testing: ``python tests/mutation/run.py [MODULE ...] [--processes N] [--keep]``.

Changes the core in one place at a time, and runs the unit tests that come by there: one of them
has to fail. Reports the changes that no test noticed and that ``explained.toml`` does not explain.
Needs the dependency group ``mutation``, and Python 3.12 or later.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Final

if not __package__:  # run as a script, this file is found and its package is not
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from mutation.project import Group, copy_project, groups
from mutation.survivors import Change, Explanation, change_of, explained, explanations

#: The tool's words for what became of a mutant that was noticed.
_NOTICED: Final = ("killed", "timeout")

_COLUMNS: Final = "{:<15} {:>8} {:>8} {:>10} {:>10} {:>6}"


def main() -> int:
    """Run the tool in copies of the project, and print the figures; progress goes to stderr."""
    all_names = [name for group in groups() for name in group.modules]
    parser = argparse.ArgumentParser(
        description="Changes the core and runs its tests; exits with 0 if all misses are explained."
    )
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help=f"all by default: {', '.join(all_names)}"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once")
    parser.add_argument("--keep", action="store_true", help="keep the copies, and say where")
    options = parser.parse_args()
    if find_spec("mutmut") is None:
        parser.error("mutmut is not installed: pip install --group mutation, Python 3.12 or later")
    if unknown := set(options.modules).difference(all_names):
        parser.error(f"no module that is changed: {', '.join(sorted(unknown))}")
    names: list[str] = options.modules or all_names
    report = Report()
    print(_COLUMNS.format("module", "mutants", "killed", "timed out", "explained", "left"))
    for group in groups():
        chosen = [name for name in names if name in group.modules]
        if not chosen:
            continue
        folder = Path(tempfile.mkdtemp(prefix="mutation-"))
        try:
            copy_project(folder, group)
            patterns = [f"{group.imported(name)}.x*" for name in chosen]
            _mutmut(folder, "run", f"--max-children={options.processes}", *patterns)
            report.add(folder, group, chosen)
        finally:
            if options.keep:
                print(f"kept; look at it with: cd {folder} && mutmut browse", file=sys.stderr)
            else:
                shutil.rmtree(folder)
    report.finish(are_all=len(names) == len(all_names))
    return 1 if report.left else 0


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


class Report:
    """The figures of the modules, and what is left to look at.

    Attributes:
        left: the changes that were neither noticed nor are explained.
    """

    def __init__(self) -> None:
        self.left: list[Change] = []
        self._known = explanations()
        self._used: set[Explanation] = set()
        self._sums = Counter[str]()

    def add(self, folder: Path, group: Group, names: list[str]) -> None:
        """Print the figures of some modules, which were tried in a folder."""
        lines = (line.strip() for line in _mutmut(folder, "results", "--all=true").splitlines())
        fates = dict(line.rsplit(": ", 1) for line in lines if line)
        for name in names:
            counts = Counter[str]()
            for mutant, fate in fates.items():
                if mutant.startswith(f"{group.imported(name)}."):
                    counts["mutants"] += 1
                    counts[fate if fate in _NOTICED else self._judge(folder, mutant)] += 1
            print(_row(name, counts), flush=True)
            self._sums += counts

    def _judge(self, folder: Path, mutant: str) -> str:
        """The column of a mutant that was not noticed."""
        change = change_of(mutant, _mutmut(folder, "show", mutant))
        explanation = explained(change, self._known)
        if explanation is None:
            self.left.append(change)
            return "left"
        self._used.add(explanation)
        return "explained"

    def finish(self, *, are_all: bool) -> None:
        """Print the sums, what is left, and, where all was tried, what explained nothing."""
        print(_row("all", self._sums))
        for change in self.left:
            print(f"\nnot noticed: {change}")
        for explanation in self._known:
            if are_all and explanation not in self._used:
                print(f"\nexplains nothing: {explanation}")


def _row(name: str, counts: Counter[str]) -> str:
    noticed = sum(counts[fate] for fate in _NOTICED)
    share = 100 * noticed / counts["mutants"] if counts["mutants"] else 0.0
    figures = (counts[key] for key in ("mutants", *_NOTICED, "explained", "left"))
    return f"{_COLUMNS.format(name, *figures)} {share:7.1f} % noticed"


if __name__ == "__main__":
    sys.exit(main())
