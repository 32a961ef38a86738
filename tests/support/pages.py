"""Reading the documentation's pages: sections, tables, and frames in JSON."""

import json
import re
from pathlib import Path
from typing import Final

from support.frames import Json

_DOCS: Final = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    """A page's text, by its path below the documentation's folder."""
    return (_DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """A page's text under a heading, up to the next of its level or above."""
    level = heading.split(" ", maxsplit=1)[0]
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"the page has no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def headings(text: str) -> list[str]:
    """What the headings of the third level name."""
    return re.findall(r"^### (\w+)$", text, flags=re.MULTILINE)


def table(text: str, of: str | None = None) -> dict[str, list[str]]:
    """The rows of a section's tables by the name in their first column, and the other columns.

    With ``of`` it is only the tables whose first column has this heading.
    """
    rows: dict[str, list[str]] = {}
    for found in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        head, _, *body = [line.strip("| ").split(" | ") for line in found.splitlines()]
        for first, *others in body:
            name = re.fullmatch(r'`"?([\w.\[\]()]+)"?`', first)
            if name is not None and of in {None, head[0]}:
                assert name[1] not in rows, f"{name[1]} twice"
                rows[name[1]] = others
    return rows


def names(text: str, of: str | None = None) -> list[str]:
    """What the first column of a section's tables names."""
    return list(table(text, of))


def words(text: str) -> list[str]:
    """What stands in code type."""
    return re.findall(r"`(\w+)`", text)


def examples(text: str) -> list[Json]:
    """The frames that stand in a section."""
    return [json.loads(frame) for frame in re.findall(r"```json\n(.*)\n```", text)]
