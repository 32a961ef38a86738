"""The tables in the documentation say what the tests assert and what the programs do."""

import re

from integration.hosts import EXAMPLES, ROOT
from integration.servers import SERVERS

DOCS = ROOT / "docs"


def table(first_column: str) -> list[list[str]]:
    """The rows of the page's table whose first column has this head."""
    page = (DOCS / "explanation" / "hosts.md").read_text()
    lines = page.partition(f"\n| {first_column} |")[2].splitlines()[2:]
    rows = lines[: lines.index("")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_table_says_of_each_server_what_is_asserted() -> None:
    assert table("host") == [server.row for server in SERVERS]


def test_every_host_program_is_in_the_table() -> None:
    programs = {path.stem for path in (EXAMPLES / "hosts").glob("*_host.py")}
    assert programs == {server.program for server in SERVERS}


def test_each_program_has_the_line_that_plugs_it_in() -> None:
    rows = table("host program")
    assert len(rows) == 6
    for program, line in rows:
        source = (EXAMPLES / "hosts" / program.strip("`")).read_text()
        assert source.count(line.strip("`")) == 1


def test_every_program_is_shown_by_a_how_to_page() -> None:
    shown: set[str] = set()
    for page in (DOCS / "how-to").glob("*.md"):
        shown.update(
            re.findall(r"\{literalinclude\} \.\./examples/hosts/(\w+)\.py", page.read_text())
        )
    programs = {path.stem for path in (EXAMPLES / "hosts").glob("*.py")}
    assert shown == programs
