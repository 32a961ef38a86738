"""Trying tests of ours on another copy of the package, each time in a process of its own."""

import contextlib
import io
import multiprocessing
import os
import sys
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

__all__ = ["Verdict", "try_tests"]

ROOT: Final = Path(__file__).parents[2]

#: Seconds for one trial; most take a fraction of one.
PATIENCE: Final = 60.0

# Forked from a process that has imported what is the same for all, and nothing of the package: a
# new interpreter would take several times as long.
_FORKS: Final = "forkserver" in multiprocessing.get_all_start_methods()
_processes: Final[Any] = multiprocessing.get_context("forkserver" if _FORKS else "spawn")
if _FORKS:
    _processes.set_forkserver_preload(["anyio", "asyncio", "hypothesis", "pytest"])


class Verdict(NamedTuple):
    """What became of the tests.

    Attributes:
        passed: the tests that passed, as pytest names them, parameters included.
        failed: what each of those raised that failed.
        said: what pytest printed.
    """

    passed: frozenset[str]
    failed: dict[str, str]
    said: str


def try_tests(folder: Path, node_ids: Sequence[str]) -> Verdict:
    """Run tests with the package that is in ``folder``."""
    receiver, sender = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_run, args=(str(folder), tuple(node_ids), sender))
    process.start()
    sender.close()
    try:
        assert receiver.poll(PATIENCE), "it hangs"
        verdict: Verdict = receiver.recv()
    finally:
        process.kill()
        process.join()
        process.close()
        receiver.close()
    return verdict


class _Ledger:
    """What pytest tells of each test."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.failed: dict[str, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            # Outside the test itself nothing is to go wrong, and an empty word is no error's name.
            raised = call.excinfo.typename if call.excinfo and call.when == "call" else ""
            self.failed.setdefault(item.nodeid, raised)
        elif report.passed and report.when == "call":
            self.passed.add(item.nodeid)
        return report


def _run(folder: str, node_ids: Sequence[str], sender: Connection) -> None:
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = folder  # for the programs that tests start
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they take time, and the tests need none
    os.chdir(ROOT)
    ledger, said = _Ledger(), io.StringIO()
    # Asserts as Python has them, and no search for garbage: both would take their time.
    options = ("-q", f"--rootdir={ROOT}", "--assert=plain", "-p", "no:unraisableexception")
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        pytest.main([*options, "-p", "no:cacheprovider", *node_ids], plugins=[ledger])
    sender.send(Verdict(frozenset(ledger.passed), ledger.failed, said.getvalue()))
