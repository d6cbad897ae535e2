"""What is told of a render: the seconds that it still takes, and those that it has used."""

from __future__ import annotations

import itertools

import pytest

from inference_sidecar.foundation.contracts import Used
from inference_sidecar.rendering import render_progress, time_spent
from inference_sidecar.rendering.render_progress import RenderProgress, remaining_seconds
from inference_sidecar.rendering.time_spent import TimeSpent


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    for module in (render_progress, time_spent):
        monkeypatch.setattr(module, "time", stopped)
    return stopped


def test_it_begins_with_the_estimate_and_ends_with_the_pace() -> None:
    assert remaining_seconds(0, 0, 100) == 100
    assert remaining_seconds(0.25, 25, 100) == pytest.approx(75)
    assert remaining_seconds(0.25, 50, 100) == pytest.approx(0.75 * (0.5 * 100 + 0.5 * 50 / 0.25))
    assert remaining_seconds(0.5, 80, 100) == pytest.approx(80), "the pace alone"
    assert remaining_seconds(0.8, 160, 100) == pytest.approx(40)
    assert remaining_seconds(1, 200, 100) == 0


def test_there_is_no_step_anywhere() -> None:
    # Half as fast as estimated.
    told = [remaining_seconds(done / 1000, done / 5, 100) for done in range(1001)]
    steps = [abs(later - earlier) for earlier, later in itertools.pairwise(told)]
    assert max(steps) < 0.4


def test_nothing_is_told_before_the_start_and_nothing_is_left_after_the_end(clock: Clock) -> None:
    progress = RenderProgress()
    assert progress.remaining_seconds() is None
    progress.order("null", "cpu")
    assert progress.remaining_seconds() is None
    progress.start(40, 0)
    assert progress.remaining_seconds() == 40
    clock.now += 10
    progress.advance(0.5)
    assert progress.remaining_seconds() == pytest.approx(10)
    progress.end()
    assert progress.remaining_seconds() == 0


def test_between_two_reports_of_progress_time_passes(clock: Clock) -> None:
    progress = RenderProgress()
    progress.order("null", "cpu")
    progress.start(40, 0)
    clock.now += 19
    assert progress.remaining_seconds() == pytest.approx(21)
    clock.now += 1
    progress.advance(0.5)
    assert progress.remaining_seconds() == pytest.approx(20)
    clock.now += 15
    assert progress.remaining_seconds() == pytest.approx(5)
    clock.now += 30
    assert progress.remaining_seconds() == 0, "late, but not in the past"


def test_a_resumed_render_counts_its_own_part_of_the_video(clock: Clock) -> None:
    progress = RenderProgress()
    progress.order("null", "cpu")
    progress.start(100, 0.6)
    assert progress.remaining_seconds() == pytest.approx(40)
    clock.now += 10
    progress.advance(0.8)
    assert progress.remaining_seconds() == pytest.approx(10)


def test_only_the_time_in_which_it_has_the_device_is_used(clock: Clock) -> None:
    progress = RenderProgress()
    assert progress.used() == Used(gpu_seconds=0)
    progress.order("null", "cpu")
    clock.now += 2
    progress.plan("720p")
    assert progress.gpu_seconds == 2
    clock.now += 1
    progress.leave()
    progress.leave()
    clock.now += 30
    progress.order("null", "cpu")
    progress.plan("480p")
    clock.now += 4
    progress.leave()
    assert progress.used() == Used(gpu_seconds=7, size="480p", engine="null", device="cpu")


def test_nothing_is_learned_from_a_render_with_more_chunks_than_its_length_tells() -> None:
    progress = RenderProgress()
    progress.order("infinitetalk", "cpu", frames_per_chunk=72)
    progress.plan("480p", is_cut=True)
    assert progress.used().frames_per_chunk is None
    progress.plan("480p")
    assert progress.used().frames_per_chunk == 72


def test_the_time_of_a_worker_is_one_activity_at_each_moment(clock: Clock) -> None:
    spent = TimeSpent()
    clock.now += 5
    spent.begin("idle")
    clock.now += 1
    spent.begin("rendering")
    clock.now += 3
    spent.begin("rendering")
    clock.now += 3
    spent.begin("idle")
    clock.now += 0.25

    sums = spent.so_far()

    assert (sums.loading_seconds, sums.idle_seconds, sums.rendering_seconds) == (5, 1.25, 6)
