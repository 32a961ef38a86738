"""A broken twin of the package: one place of it is otherwise, and a test of ours is to fail."""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Final

__all__ = ["MISSING", "Twin"]

#: The edit of a twin that has not got the file at all.
MISSING: Final = ""


@dataclass(frozen=True, slots=True)
class Twin:
    """One fault, as an edit of the source, and the tests that are there to find it.

    An edit, and no class in the place of ours: what keeps the promises is final, private and
    inside, where tests have no way in; and those who review a change know what an edit is.

    Attributes:
        fault: what the twin does wrong.
        file: the file of the package that is edited.
        edit: as in a unified diff, what is to be there, to be gone (-) and to come in its place
            (+); a line of ``@@`` is between edits of several places.
        test_file: a file of tests/unit.
        tests: those of its tests each of which is to fail.
    """

    fault: str
    file: str
    edit: str
    test_file: str
    tests: tuple[str, ...]

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The tests as pytest names them."""
        return tuple(f"tests/unit/{self.test_file}::{test}" for test in self.tests)

    @contextmanager
    def taking_the_place_of(self, package: Path) -> Generator[None]:
        """Have a copy of the package be the twin, for as long as the block lasts."""
        path = package / self.file
        intact, times = path.read_bytes(), path.stat()
        if self.edit == MISSING:
            path.unlink()
        else:
            path.write_text(self._edited(intact.decode()), encoding="utf-8")
        try:
            yield
        finally:
            path.write_bytes(intact)
            # What was compiled is good again.
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _edited(self, source: str) -> str:
        text = f"\n{source}"
        for hunk in dedent(self.edit).strip("\n").split("\n@@\n"):
            lines = hunk.split("\n")
            old = "".join(f"\n{line[1:]}" for line in lines if not line.startswith("+"))
            new = "".join(f"\n{line[1:]}" for line in lines if not line.startswith("-"))
            places = list(re.finditer(rf"{re.escape(old)}(?=\n)", text))
            found = f"what this twin edits is in {self.file} {len(places)} times:{old}"
            assert len(places) == 1, found
            text = text[: places[0].start()] + new + text[places[0].end() :]
        return text[1:]
