"""The page on the lifecycle shows the table of the source, and says so when it does not."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from agent_messaging import TRANSITIONS, RunState

_DOCS = Path(__file__).parents[2] / "docs"
_PAGE = _DOCS / "explanation" / "lifecycle.md"
_COMMAND = "python docs/lifecycle_diagram.py"

#: The script's own entry: its arguments to its exit code.
_lifecycle_diagram = cast(
    "Callable[[list[str]], int]", runpy.run_path(str(_DOCS / "lifecycle_diagram.py"))["main"]
)


def test_the_page_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lifecycle_diagram(["--check"]) == 0, capsys.readouterr().err


def test_every_transition_stands_in_the_table_and_in_the_diagram() -> None:
    lines = _PAGE.read_text(encoding="utf-8").splitlines()
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith(("| `agent_", "| `tool_"))
    ]
    arrows = [
        (state, successor, kind)
        for line in lines
        if " --> " in line and ": " in line
        for arrow, kinds in [line.split(": ")]
        for state, successor in [arrow.strip().split(" --> ")]
        for kind in kinds.split("<br/>")
    ]
    expected = [
        (str(state), str(successor), str(kind))
        for state, allowed in TRANSITIONS.items()
        for kind, successor in allowed.items()
    ]
    assert sorted(arrows) == sorted(expected)
    assert sorted(
        (str(state), successor, kind)
        for kind, *cells in rows
        for state, successor in zip(RunState, cells, strict=True)
        if successor != "x"
    ) == sorted(expected)


@pytest.mark.parametrize("lost", ["| x | x | running | x |", "    done --> [*]\n"])
def test_a_page_that_is_not_current_is_named_with_the_command_that_renews_it(
    tmp_path: Path, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    current = _PAGE.read_text(encoding="utf-8")
    stale = current.replace(lost, "", 1)
    page = tmp_path / "lifecycle.md"
    page.write_text(stale, encoding="utf-8")

    assert _lifecycle_diagram(["--check", str(page)]) == 1
    assert _COMMAND in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == stale

    assert _lifecycle_diagram([str(page)]) == 0
    assert page.read_text(encoding="utf-8") == current


def test_a_page_without_its_marks_is_not_overwritten(tmp_path: Path) -> None:
    page = tmp_path / "lifecycle.md"
    page.write_text("# The lifecycle of a run\n", encoding="utf-8")
    with pytest.raises(ValueError, match="marks"):
        _lifecycle_diagram([str(page)])
    assert page.read_text(encoding="utf-8") == "# The lifecycle of a run\n"
