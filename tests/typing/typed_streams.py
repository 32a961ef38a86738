"""What type checkers know of checking streams of frames; never run."""

from typing import assert_type

from agent_messaging.testing import BrokenRule, StreamChecker, StreamRule, check_stream


def a_stream_is_of_text_of_bytes_or_of_mappings(
    texts: list[str], chunks: tuple[bytes, ...], parsed: list[dict[str, object]]
) -> None:
    assert_type(check_stream(texts), tuple[BrokenRule, ...])
    check_stream(chunks, is_complete=False)
    check_stream(parsed)
    check_stream(texts, False)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    check_stream([1])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


def what_is_broken_is_told_in_attributes(broken: BrokenRule) -> None:
    assert_type(broken.position, int)
    assert_type(broken.rule, StreamRule)
    assert_type(broken.meaning, str)
    assert_type(broken.run_id, str | None)
    broken.position = 2  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


def a_checker_is_fed_frame_by_frame(checker: StreamChecker, frame: bytes) -> None:
    assert_type(checker.feed(frame), tuple[BrokenRule, ...])
    checker.feed({"type": "pong"}, 7)
    assert_type(checker.finish(), tuple[BrokenRule, ...])
    assert_type(checker.frames + checker.runs, int)


class Mine(StreamChecker): ...  # type: ignore[misc] # pyright: ignore[reportGeneralTypeIssues]
