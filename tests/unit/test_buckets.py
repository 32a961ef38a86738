"""The token bucket: one minute's worth, refilled all the time."""

import pytest

from agent_messaging._buckets import TokenBucket


def takes(bucket: TokenBucket, count: int, now: float) -> list[float]:
    return [bucket.take(now) for _ in range(count)]


def test_a_minutes_worth_may_come_at_once_and_no_more() -> None:
    bucket = TokenBucket(3, now=100.0)
    assert takes(bucket, 5, now=100.0) == [0.0, 0.0, 0.0, 20.0, 20.0]


def test_it_is_refilled_all_the_time() -> None:
    bucket = TokenBucket(60, now=0.0)
    takes(bucket, 60, now=0.0)
    assert bucket.take(0.75) == pytest.approx(0.25)
    assert bucket.take(1.0) == 0.0
    assert bucket.take(1.0) == pytest.approx(1.0)
    assert bucket.take(2.5) == 0.0
    assert bucket.take(2.5) == pytest.approx(0.5)


def test_the_wait_that_it_tells_is_enough() -> None:
    bucket = TokenBucket(7, now=0.0)
    takes(bucket, 7, now=0.0)
    wait = bucket.take(1.0)
    assert bucket.take(1.0 + wait + 1e-9) == 0.0


def test_it_holds_no_more_than_a_minutes_worth() -> None:
    bucket = TokenBucket(2, now=0.0)
    assert takes(bucket, 3, now=100_000.0) == [0.0, 0.0, 30.0]


def test_refused_ones_cost_nothing() -> None:
    bucket = TokenBucket(1, now=0.0)
    takes(bucket, 100, now=0.0)
    assert bucket.take(60.0) == 0.0


def test_without_a_bound_everything_may_come() -> None:
    bucket = TokenBucket(None, now=0.0)
    assert set(takes(bucket, 10_000, now=0.0)) == {0.0}


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    bucket = TokenBucket(2, now=50.0)
    bucket.take(50.0)
    assert bucket.take(10.0) == 0.0
    assert bucket.take(10.0) > 0.0
