"""The bounds, and what an id is."""

import dataclasses

import pytest

from agent_messaging import Limits
from agent_messaging._limits import DEFAULT_LIMITS, is_id

BOUNDS = [field.name for field in dataclasses.fields(Limits)]
RATES = ("messages_per_minute", "frames_per_minute")


def test_the_defaults() -> None:
    assert dataclasses.asdict(Limits()) == {
        "frame_bytes": 262_144,
        "json_depth": 32,
        "number_length": 128,
        "payload_bytes": 1_048_576,
        "outbox_frames": 256,
        "outbox_overrun": 4096,
        "messages_per_minute": 60,
        "frames_per_minute": 600,
        "runs_per_user": 4,
        "queued_per_thread": 16,
        "sessions_per_user": 8,
        "lag_events": 256,
        "resumed_runs": 100,
        "pending_replies": 64,
    }
    assert Limits() == DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in BOUNDS
        for value in (0, -1, 1.5, True, "1", None)
        if not (name in RATES and value is None)
    ],
)
def test_a_bound_is_a_positive_integer(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"Limits.{name} must be a positive integer"):
        Limits(**{name: value})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", RATES)
def test_a_rate_may_have_no_bound(name: str) -> None:
    assert getattr(Limits(**{name: None}), name) is None  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_an_overrun_within_the_outbox_would_refuse_what_is_awaited() -> None:
    """Awaiting waits beyond ``outbox_frames``: a lower overrun would refuse before that."""
    with pytest.raises(ValueError, match="outbox_overrun"):
        Limits(outbox_frames=10, outbox_overrun=10)
    assert Limits(outbox_frames=10, outbox_overrun=11).outbox_overrun == 11


def test_bounds_are_given_by_name_and_stay() -> None:
    limits = Limits(json_depth=1)
    assert limits.json_depth == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.json_depth = 2  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        Limits(1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("value", ["a", "x" * 128, "user 1", "a/b:c@d", "é", "用户", "-"])
def test_an_id(value: str) -> None:
    assert is_id(value)


@pytest.mark.parametrize(
    "value", ["", "x" * 129, "a\n", "\x00", "a\x7f", "\u2028", "\ud800", "\u200b", b"a", 1, None]
)
def test_no_id(value: object) -> None:
    assert not is_id(value)
