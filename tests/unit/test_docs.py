"""The documentation runs: its Python blocks, the programs it has the reader save, and its output.

A page is a Markdown file, its blocks one program from top to bottom. A block of ``python`` is
executed, unless the line before it says ``Save this as `name.py`:``, which makes it a file, or
``<!-- not run: why -->``, which has it compiled alone. A block of ``output`` is what was printed
since the last one. In a block of ``console``, ``$ python name.py`` runs a saved file; with
arguments it is a client, which the tests over real servers run.
"""

import contextlib
import doctest
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from sybil import Document, Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser
from sybil.typing import Parser

_ROOT: Final = Path(__file__).parents[2]
_PAGES: Final = sorted(
    path.relative_to(_ROOT).as_posix()
    for path in (_ROOT / "README.md", _ROOT / "CHANGELOG.md", *(_ROOT / "docs").rglob("*.md"))
)

#: What blocks may be written in; another language would be a block that nobody looks at.
_LANGUAGES: Final = ("python", "output", "console", "json", "mermaid", "text")

_SAVED: Final = re.compile(r"[Ss]ave this as `(\w+\.py)`:\n\n\Z")
_NOT_RUN: Final = re.compile(r"<!-- not run: \S.* -->\n\Z")
_TO_NAME: Final = str.maketrans("/-.", "___")
_LINK: Final = re.compile(r"\]\(([^()\s]+)\)")
_BLOCK: Final = re.compile(r"^```\w.*?^```$", re.MULTILINE | re.DOTALL)


class _Page:
    """One page's programs: what they print, and the folder where its files are saved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._printed = io.StringIO()
        self._execute = PythonEvaluator()
        self.document: Document | None = None

    def python(self, example: Example) -> None:
        name = saved_as(example)
        if name is not None:
            (self._folder / name).write_text(example.parsed, encoding="utf-8")
        elif _NOT_RUN.search(_before(example)):
            compile(example.parsed, example.path, "exec", dont_inherit=True)
        else:
            example.namespace.setdefault("__name__", "page")
            with contextlib.redirect_stdout(self._printed):
                self._execute(example)

    def output(self, example: Example) -> str | None:
        printed = self._printed.getvalue()
        self._printed.seek(0)
        self._printed.truncate()
        return _difference(example.parsed, printed)

    def console(self, example: Example) -> str | None:
        commands = re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]
        for command in commands:
            line, _, expected = command.partition("\n")
            found = re.fullmatch(r"python (\w+\.py)", line)
            if found is None or not (self._folder / found[1]).exists():
                continue
            ran = subprocess.run(
                [sys.executable, "-W", "error", found[1]],
                cwd=self._folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if ran.returncode:
                return ran.stderr
            if difference := _difference(expected, ran.stdout):
                return difference
        return None


def _difference(expected: str, got: str) -> str | None:
    """What differs, if anything does; ``...`` stands for whatever changes from run to run."""
    checker = doctest.OutputChecker()
    if checker.check_output(expected, got, doctest.ELLIPSIS):
        return None
    return checker.output_difference(
        doctest.Example("", expected), got, doctest.ELLIPSIS | doctest.REPORT_NDIFF
    )


def _before(example: Example) -> str:
    return example.document.text[: example.start]


def saved_as(example: Example) -> str | None:
    """The file that the reader is told to save the block as."""
    found = _SAVED.search(_before(example))
    return found[1] if found else None


def _blocks(page: str, language: str) -> Iterator[Example]:
    parser = CodeBlockParser(language, _passed_over)
    return Sybil([parser]).parse(_ROOT / page).examples()


def _passed_over(example: Example) -> None:
    """The evaluator of blocks that are looked at and not run."""


@pytest.mark.parametrize("page", _PAGES)
def test_the_programs_of_a_page_run_and_print_what_it_says(page: str, tmp_path: Path) -> None:
    programs = _Page(tmp_path)
    evaluators: dict[str, Callable[[Example], str | None]] = {
        "python": programs.python,
        "output": programs.output,
        "console": programs.console,
    }
    parsers: list[Parser] = [
        CodeBlockParser(language, evaluate) for language, evaluate in evaluators.items()
    ]
    for example in Sybil(parsers).parse(_ROOT / page):
        example.evaluate()


def test_the_programs_of_the_pages_type_check(tmp_path: Path) -> None:
    modules: dict[str, str] = {}
    for page in _PAGES:
        text = ""
        for block in _blocks(page, "python"):
            name = saved_as(block)
            if name is not None:
                # A page may have its reader save a file again; no two pages share a name.
                assert modules.setdefault(name, page) == page
                (tmp_path / name).write_text(block.parsed, encoding="utf-8")
            else:
                # Each line where the page has it, so that an error's line is the page's.
                text += "\n" * (block.line - text.count("\n")) + block.parsed
        if text:
            name = f"page_{page.translate(_TO_NAME)}.py"
            modules[name] = page
            (tmp_path / name).write_text(text, encoding="utf-8")
    # As a process of its own: within this one it leaves a million objects, which every collection
    # of garbage would then look at.
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy"),
            "--strict",
            "--ignore-missing-imports",  # what only some readers have installed
            "--disable-error-code=no-redef",  # a page may show a second version of an agent
            "--config-file=",
            f"--cache-dir={tmp_path / 'cache'}",
            *(str(tmp_path / name) for name in modules),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, f"{checked.stdout}\n{checked.stderr}"


@pytest.mark.parametrize("page", _PAGES)
def test_every_block_of_a_page_has_a_language_that_is_checked_or_shown(page: str) -> None:
    text = (_ROOT / page).read_text(encoding="utf-8")
    opened = re.findall(r"^ *```+(.*)\n(?:.*\n)*? *```+$", text, flags=re.MULTILINE)
    assert [info for info in opened if info not in _LANGUAGES and info[:1] != "{"] == []


@pytest.mark.parametrize("page", _PAGES)
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    path = _ROOT / page
    links = _LINK.findall(_BLOCK.sub("", path.read_text(encoding="utf-8")))
    files = [link.split("#")[0] for link in links if not link.startswith(("http:", "https:", "#"))]
    assert [file for file in files if not (path.parent / file).exists()] == []
