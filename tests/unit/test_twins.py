"""Each broken twin of the package fails the tests that are there to find its fault."""

import compileall
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

import agent_messaging
from twins import PROMISES
from twins.trial import try_tests
from twins.twin import MISSING, Twin

#: The promises of the house, each of which is to have twins that break it.
NUMBER_OF_PROMISES: Final = 11

TWINS: Final = {twin.fault: twin for twins in PROMISES.values() for twin in twins}
NODE_IDS: Final = sorted({node_id for twin in TWINS.values() for node_id in twin.node_ids})

#: What shows that a twin was badly made, and fails whatever a test looks at. An empty word stands
#: for what was raised outside the test itself.
SLIPS: Final = frozenset(
    {
        *("", "SyntaxError", "ImportError", "ModuleNotFoundError"),
        *("NameError", "UnboundLocalError", "AttributeError", "TypeError"),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package."""
    folder = tmp_path_factory.mktemp("twins")
    shutil.copytree(Path(agent_messaging.__file__).parent, folder / "agent_messaging")
    compileall.compile_dir(folder, quiet=2)  # once for all twins
    return folder


def named(node_id: str, tests: Iterable[str]) -> list[str]:
    """Those of the tests that are the one of that id, with whatever parameters."""
    return [test for test in tests if test == node_id or test.startswith(f"{node_id}[")]


@pytest.mark.parametrize("fault", TWINS)
def test_a_twin_fails_its_tests(fault: str, folder: Path) -> None:
    twin = TWINS[fault]
    with twin.taking_the_place_of(folder / "agent_messaging"):
        verdict = try_tests(folder, twin.node_ids)
    missed = [node_id for node_id in twin.node_ids if not named(node_id, verdict.failed)]
    assert missed == [], verdict.said
    assert SLIPS.isdisjoint(verdict.failed.values()), verdict.said


def test_where_nothing_is_broken_these_tests_pass(folder: Path) -> None:
    verdict = try_tests(folder, NODE_IDS)
    assert verdict.failed == {}, verdict.said
    assert all(named(node_id, verdict.passed) for node_id in NODE_IDS), verdict.said


def test_each_promise_has_twins_and_each_twin_has_tests_and_a_fault_of_its_own() -> None:
    assert len(PROMISES) == NUMBER_OF_PROMISES
    assert all(PROMISES.values())
    assert all(twin.tests for twin in TWINS.values())
    assert sum(map(len, PROMISES.values())) == len(TWINS)


# What trials are made of.


def twin_of_ids(edit: str) -> Twin:
    return Twin("is otherwise", "_ids.py", edit, "test_ids.py", ("test_it",))


@pytest.mark.parametrize(
    ("edit", "twins"),
    [
        ("-old = 2\n+new = 2", "old = 1\nnew = 2\nold = 3\n"),
        (" old = 1\n+new = 1\n@@\n-old = 3", "old = 1\nnew = 1\nold = 2\n"),
        (MISSING, None),
    ],
)
def test_the_package_is_the_twin_for_a_while(edit: str, twins: str | None, tmp_path: Path) -> None:
    module = tmp_path / "_ids.py"
    module.write_text("old = 1\nold = 2\nold = 3\n")
    before = module.read_text(), module.stat().st_mtime_ns
    with suppress(KeyError), twin_of_ids(edit).taking_the_place_of(tmp_path):
        assert (module.read_text() if module.exists() else None) == twins
        raise KeyError
    assert (module.read_text(), module.stat().st_mtime_ns) == before


@pytest.mark.parametrize("times", [0, 2])
def test_an_edit_that_is_of_no_one_place_any_more_is_told(times: int, tmp_path: Path) -> None:
    (tmp_path / "_ids.py").write_text("new = 1\n" + "old = 1\n" * times)
    broken = twin_of_ids("-old = 1\n+old = 2").taking_the_place_of(tmp_path)
    with pytest.raises(AssertionError, match=rf"in _ids\.py {times} times"), broken:
        pass


def test_what_is_no_test_neither_fails_nor_passes(folder: Path) -> None:
    verdict = try_tests(folder, ["tests/unit/test_twins.py::test_nothing"])
    assert (verdict.passed, verdict.failed) == (frozenset(), {})
    assert "not found" in verdict.said
