"""When a worker leaves by itself, and which jobs it still takes before."""

from __future__ import annotations

import pytest

from inference_sidecar.worker.lifetime import Lifetime, longest_deadline_seconds

BEGAN = 1000.0


def a_lifetime(idle_seconds: float = 0, lifetime_seconds: float = 0) -> Lifetime:
    return Lifetime(BEGAN, idle_seconds, lifetime_seconds, reserve_seconds=60)


def reason(
    lifetime: Lifetime,
    now: float,
    *,
    pace: float | None = 1.0,
    idle_since: float | None = None,
    is_next_in_hand: bool = False,
) -> str | None:
    return lifetime.reason_to_leave(
        now, pace=pace, idle_since=idle_since, is_next_in_hand=is_next_in_hand
    )


def test_a_worker_without_limits_stays_for_ever() -> None:
    lifetime = a_lifetime()
    for now in (BEGAN, BEGAN + 1e9):
        assert lifetime.left_seconds(now) is None
        assert not lifetime.is_over(now)
        assert lifetime.fits(now, pace=1e6, in_hand_seconds=1e6)
        assert reason(lifetime, now, idle_since=BEGAN) is None


@pytest.mark.parametrize(
    ("pace", "seconds"), [(None, 600), (0.1, 600), (4 / 3, 600), (2.0, 900), (10.0, 4500)]
)
def test_the_longest_job_is_that_of_five_minutes_at_the_workers_pace(
    pace: float | None, seconds: float
) -> None:
    assert longest_deadline_seconds(pace) == pytest.approx(seconds)


def test_a_worker_leaves_after_its_idle_time_and_not_before() -> None:
    lifetime = a_lifetime(idle_seconds=120)
    assert reason(lifetime, 5119.9, idle_since=5000) is None
    assert reason(lifetime, 5120, idle_since=5000) == "no job for 120 s"


def test_a_worker_that_loads_or_has_a_job_in_hand_is_not_idle() -> None:
    assert reason(a_lifetime(idle_seconds=120), BEGAN + 1e6, idle_since=None) is None


def test_a_job_is_taken_while_the_longest_one_and_the_reserve_fit() -> None:
    lifetime = a_lifetime(lifetime_seconds=3600)
    last = BEGAN + 3600 - 900 - 60
    assert lifetime.fits(last, pace=2.0, in_hand_seconds=0)
    assert not lifetime.fits(last + 0.1, pace=2.0, in_hand_seconds=0)
    assert reason(lifetime, last, pace=2.0) is None
    assert reason(lifetime, last + 0.1, pace=2.0) == (
        "no other job fits into its lifetime of 3600 s"
    )


def test_a_job_taken_ahead_waits_for_all_that_the_one_in_hand_may_take() -> None:
    lifetime = a_lifetime(lifetime_seconds=3600)
    last = BEGAN + 3600 - 600 - 60
    assert lifetime.fits(last - 500, pace=1.0, in_hand_seconds=500)
    assert not lifetime.fits(last - 500, pace=1.0, in_hand_seconds=501)
    assert reason(lifetime, last - 500) is None, "the one in hand may end earlier"


def test_a_job_that_was_taken_ahead_is_not_handed_back_because_the_pace_has_fallen() -> None:
    lifetime = a_lifetime(lifetime_seconds=3600)
    late = BEGAN + 3500
    assert reason(lifetime, late, is_next_in_hand=True) is None
    assert reason(lifetime, late) is not None


def test_a_lifetime_in_which_no_job_fits_ends_before_the_engine_is_loaded() -> None:
    assert reason(a_lifetime(lifetime_seconds=659), BEGAN, pace=None) is not None
    assert reason(a_lifetime(lifetime_seconds=660), BEGAN, pace=None) is None


def test_a_lifetime_is_over_at_its_end() -> None:
    lifetime = a_lifetime(lifetime_seconds=700)
    assert lifetime.left_seconds(BEGAN + 699) == 1
    assert not lifetime.is_over(BEGAN + 699)
    assert lifetime.is_over(BEGAN + 700)
    assert lifetime.left_seconds(BEGAN + 701) == 0


def test_limits_that_are_told_hold_where_none_is_set_by_hand() -> None:
    told = a_lifetime().with_limits(30, 21600)
    assert (told.idle_seconds, told.lifetime_seconds) == (30, 21600)
    told = a_lifetime(5, 900).with_limits(30, 21600)
    assert (told.idle_seconds, told.lifetime_seconds) == (5, 900)
    assert told.began_at == BEGAN
