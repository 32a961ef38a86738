"""The command ``check``: the rules that captured frames break."""

import json
import sys
from argparse import Namespace
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from agent_messaging._cli_exit import EXIT_BROKEN, EXIT_FILE, StopError, say
from agent_messaging._cli_output import Progress, Writer, standard_output, text_lines
from agent_messaging._cli_streams import read_bytes
from agent_messaging.testing import BrokenRule, StreamChecker

__all__ = ["check"]

#: What begins a line of server-sent events that holds no frame.
_NO_FRAME: Final = (b":", b"event:", b"id:", b"retry:")


def check(arguments: Namespace) -> None:
    """Write a line for each rule that the frames of a file break, and say how many there were.

    Raises:
        StopError: rules are broken, the file cannot be read, or standard output takes no more.
    """
    sink, encoding = standard_output()
    is_json = arguments.format == "json"
    checker = StreamChecker()
    count = 0
    with _opened(arguments.file) as source, closing(Progress()) as progress:
        output = Writer(sink, _json_line if is_json else text_lines(encoding), progress)
        frames = progress.counted(_frames(source, is_partial=arguments.partial), "frames")
        for broken in _broken(checker, frames, is_complete=not arguments.partial):
            count += 1
            if arguments.max is None or count <= arguments.max:
                output.add((_json if is_json else _text)(arguments.file, broken))
                output.flush()  # for who reads along
    say(f"agent-messaging: {_summary(checker, count, arguments.max)}\n")
    if count or not checker.frames:  # a capture of nothing shows nothing
        raise StopError(EXIT_BROKEN)


def _broken(
    checker: StreamChecker, frames: Iterable[tuple[int, bytes]], *, is_complete: bool
) -> Iterator[BrokenRule]:
    for number, frame in frames:
        yield from checker.feed(frame, number)
    if is_complete:
        yield from checker.finish()


def _summary(checker: StreamChecker, count: int, shown: int | None) -> str:
    read = f"{_counted(checker.frames, 'frame')} of {_counted(checker.runs, 'run')}"
    if not checker.frames:
        return "there is no frame"
    if not count:
        return f"{read}: no rule is broken"
    rest = "" if shown is None or shown >= count else f", {shown:,} of them shown"
    return f"{read}: {_counted(count, 'broken rule')}{rest}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + "s" * (number != 1)


def _text(path: str, broken: BrokenRule) -> str:
    whose = "" if broken.run_id is None else f" (run {broken.run_id})"
    return f"{path}:{broken.position}: {broken.rule}: {broken.meaning}{whose}"


def _json(path: str, broken: BrokenRule) -> str:
    return json.dumps(
        {
            "file": path,
            "line": broken.position,
            "rule": broken.rule,
            "meaning": broken.meaning,
            "run_id": broken.run_id,
        }
    )


def _json_line(line: str) -> bytes:
    return f"{line}\n".encode("ascii")


# What is read.


@contextmanager
def _opened(path: str) -> Generator[int | None]:
    """The file, or standard input; None where that is closed.

    Raises:
        StopError: it cannot be opened, or not be read.
    """
    try:
        if path == "-":
            yield None if sys.stdin is None else sys.stdin.fileno()
        else:
            with Path(path).open("rb", buffering=0) as file:
                yield file.fileno()
    except OSError as error:
        raise StopError(EXIT_FILE, f"{path}: {error.strerror}") from error


def _frames(source: int | None, *, is_partial: bool) -> Iterator[tuple[int, bytes]]:
    """The frames of a file, each with the number of its line.

    Args:
        source: the file.
        is_partial: whether its last line may be cut, which is no frame then.
    """
    lines = () if source is None else _lines(source)
    for number, line in enumerate(lines, 1):
        text = (line.removeprefix(BOM_UTF8) if number == 1 else line).strip()
        if text and not text.startswith(_NO_FRAME):
            frame = text.removeprefix(b"data:")
            if not (is_partial and not line.endswith(b"\n") and _is_cut(frame)):
                yield number, frame


def _is_cut(frame: bytes) -> bool:
    try:
        json.loads(frame)
    except (ValueError, RecursionError):
        return True
    return False


def _lines(source: int) -> Iterator[bytes]:
    """The lines, as soon as there are some; the last one may lack its end."""
    parts: list[bytes] = []
    while chunk := read_bytes(source):
        part, *others = chunk.split(b"\n")
        parts.append(part)
        for other in others:
            yield b"".join(parts) + b"\n"
            parts = [other]
    yield b"".join(parts)
