"""The tables in the documentation say what the tests assert and what the programs do."""

from integration.hosts import EXAMPLES, ROOT
from integration.vanishing import VANISHINGS


def table(first_column: str) -> list[list[str]]:
    """The rows of the page's table whose first column has this head."""
    page = (ROOT / "docs" / "explanation" / "hosts.md").read_text()
    lines = page.partition(f"\n| {first_column} |")[2].splitlines()[2:]
    rows = lines[: lines.index("")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_table_says_of_each_server_what_is_asserted() -> None:
    assert table("host") == [vanishing.row for vanishing in VANISHINGS]


def test_every_host_program_is_in_the_table() -> None:
    programs = {path.stem for path in (EXAMPLES / "hosts").glob("*_host.py")}
    assert programs == {vanishing.program for vanishing in VANISHINGS}


def test_each_program_has_the_line_that_plugs_it_in() -> None:
    rows = table("host program")
    assert len(rows) == 4
    for program, line in rows:
        source = (EXAMPLES / "hosts" / program.strip("`")).read_text()
        assert source.count(line.strip("`")) == 1
