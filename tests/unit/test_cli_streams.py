"""The command line's streams: closed, broken or slow, and cut into lines."""

import asyncio
import json
import os
import pty
import threading
import tracemalloc
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_messaging._cli import main
from agent_messaging._cli_exit import StopError
from agent_messaging._cli_run import HINT
from agent_messaging._cli_streams import BlockingCalls, Lines, Output, read_chunk, write_line
from support.commands import HELLO, Result, run_command, standard_input

# Streams that are closed, broken or slow.


def test_a_closed_input_is_an_input_without_lines(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    with (
        path.open("w", encoding="utf-8") as output,
        standard_input(None),
        redirect_stdout(output),
        redirect_stderr(StringIO()) as errors,
    ):
        code = main(["run"])
    assert Result(code, path.read_text(), errors.getvalue()).frames == []
    assert (code, errors.getvalue()) == (0, "")


def test_a_closed_output_is_an_error() -> None:
    with redirect_stdout(None), redirect_stderr(StringIO()) as errors:
        assert main(["run"]) == 1
    assert errors.getvalue() == "agent-messaging: error: standard output is closed\n"


class Full(StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [None, Full()])
def test_a_standard_error_that_takes_nothing_changes_nothing(stream: StringIO | None) -> None:
    with redirect_stderr(stream):
        assert main(["run", "--agent", "nowhere:agent"]) == 2


def test_an_input_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as for_writing:
        result = run_command(source=for_writing)
    reason = "standard input cannot be read: Bad file descriptor"
    assert (result.code, result.err) == (1, f"agent-messaging: error: {reason}\n")
    assert result.frames == []


def test_an_output_that_takes_nothing_ends_the_program_though_the_input_goes_on() -> None:
    reader, writer = os.pipe()
    with (
        Path(__file__).open(encoding="utf-8") as for_reading,
        os.fdopen(reader, "rb") as silent,
    ):
        result = run_command(agent="waits", source=silent, sink=for_reading)
        os.close(writer)
    reason = "standard output cannot be written: Bad file descriptor"
    assert result == Result(1, "", f"agent-messaging: error: {reason}\n")


def test_a_broken_pipe_ends_the_run_in_silence() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as broken:
        result = run_command(agent="waits", given=HELLO + HELLO, sink=broken)
    assert result == Result(1, "", "")


def test_a_terminal_is_told_what_to_type() -> None:
    master, slave = pty.openpty()
    os.write(master, HELLO + b"\x04")
    with os.fdopen(slave, "rb") as terminal:
        result = run_command(source=terminal)
    os.close(master)
    assert result.frames[-1]["type"] == "agent_completed"
    assert result.err == HINT
    typed = [json.loads(line)["type"] for line in HINT.splitlines() if line.startswith("  ")]
    assert typed == ["chat", "stop_agent"]


# Calls in a thread.


def test_a_call_that_is_given_up_settles_nothing_and_the_next_is_made() -> None:
    async def scenario() -> str:
        calls = BlockingCalls("test calls")
        gate = threading.Event()
        first = asyncio.create_task(calls.call(gate.wait))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        try:
            return await calls.call(lambda: "next")
        finally:
            calls.close()

    assert asyncio.run(scenario()) == "next"


def test_a_call_that_outlives_the_loop_ends_in_silence() -> None:
    gate = threading.Event()

    async def scenario() -> None:
        calls = BlockingCalls("test outlives")
        given_up = asyncio.create_task(calls.call(gate.wait))
        await asyncio.sleep(0)
        calls.close()
        given_up.cancel()

    asyncio.run(scenario())
    (thread,) = [each for each in threading.enumerate() if each.name == "test outlives"]
    assert thread.daemon
    gate.set()
    thread.join()


def test_a_call_says_why_it_failed() -> None:
    def fails() -> None:
        raise StopError(1, "no more")

    async def scenario() -> None:
        calls = BlockingCalls("test failure")
        try:
            await calls.call(fails)
        finally:
            calls.close()

    with pytest.raises(StopError) as caught:
        asyncio.run(scenario())
    assert (caught.value.code, caught.value.reason) == (1, "no more")


def test_an_input_that_others_made_non_blocking_is_waited_for() -> None:
    source, sink = os.pipe()
    os.set_blocking(source, False)
    waits: list[list[int]] = []

    def wait(readable: list[int], writable: list[int], exceptional: list[int]) -> None:
        waits.append(readable)
        os.write(sink, b"late")

    assert read_chunk(source, wait) == b"late"
    assert waits == [[source]]
    os.close(sink)
    assert read_chunk(source) == b""
    os.close(source)


def test_an_output_that_others_made_non_blocking_is_waited_for() -> None:
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    line = bytes(range(256)) * 4096
    taken = bytearray()

    def wait(readable: list[int], writable: list[int], exceptional: list[int]) -> None:
        assert writable == [sink]
        taken.extend(os.read(source, 1 << 20))

    write_line(sink, line, wait)
    os.close(sink)
    while chunk := os.read(source, 1 << 20):
        taken.extend(chunk)
    os.close(source)
    assert taken == line


# Cutting lines.


@given(st.lists(st.text("ab \n", max_size=20).map(str.encode)), st.integers(1, 12))
def test_lines_do_not_depend_on_how_the_chunks_are_cut(chunks: list[bytes], limit: int) -> None:
    lines = Lines(limit)
    cut = [line for chunk in [*chunks, b"\n"] for line in lines.feed(chunk)]
    kept = [line[: limit + 1] for line in b"".join(chunks).split(b"\n")]
    assert cut == [line for line in kept if line.strip()]


def test_of_a_line_that_is_too_long_no_more_than_that_is_kept() -> None:
    lines = Lines(1000)
    chunk = b"x" * 65536
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert not list(lines.feed(chunk))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(chunk)
    assert list(lines.feed(b"\nnext\n")) == [b"x" * 1001, b"next"]


def test_of_two_ways_to_end_the_first_counts() -> None:
    async def scenario() -> None:
        async def write(line: bytes) -> None:
            """Takes everything."""

        output = Output(str.encode, write)
        output.check()
        output.give_up(StopError(3))
        output.give_up(StopError(1))
        with pytest.raises(StopError) as caught:
            output.check()
        assert caught.value.code == 3

    asyncio.run(scenario())
