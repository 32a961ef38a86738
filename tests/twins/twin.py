"""A broken twin of the package: one place of it is otherwise, and a test of ours is to fail."""

import re
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

    def break_in(self, package: Path) -> None:
        """Make the edit in a copy of the package."""
        path = package / self.file
        if self.edit == MISSING:
            path.unlink()
            return
        source = "\n" + path.read_text(encoding="utf-8")
        for hunk in dedent(self.edit).strip("\n").split("\n@@\n"):
            lines = hunk.split("\n")
            old = "".join(f"\n{line[1:]}" for line in lines if not line.startswith("+"))
            new = "".join(f"\n{line[1:]}" for line in lines if not line.startswith("-"))
            source, found = re.subn(rf"{re.escape(old)}(?=\n)", lambda _, new=new: new, source)
            assert found == 1, f"what this twin edits is in {self.file} {found} times:{old}"
        path.write_text(source[1:], encoding="utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
