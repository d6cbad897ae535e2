"""What a prompt makes the `null` engine do."""

import contextlib
import multiprocessing
import signal
import time
from pathlib import Path

import pytest

from inference_sidecar.engines.engine import DELIVERY_SIZES, Plan, RenderRequest, ResumeState, Size
from inference_sidecar.engines.null.engine import NullEngine
from inference_sidecar.engines.null.settings import NullSettings
from inference_sidecar.engines.stages import Untimed
from inference_sidecar.foundation.errors import Cancelled, GpuOutOfMemory, NoFace, RenderFailed


class Watched(Untimed):
    """Records the progress, and cancels the render after this many checks."""

    def __init__(self, looks: int = 1_000_000) -> None:
        self.looks_left = looks
        self.fractions: list[float] = []

    def check(self) -> None:
        self.looks_left -= 1
        if self.looks_left < 0:
            raise Cancelled

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


def asked(prompt: str, *, frames: int = 200) -> tuple[NullEngine, RenderRequest, Plan]:
    request = RenderRequest(
        "job", Path("absent.png"), Path("absent.wav"), prompt, 1, DELIVERY_SIZES[0], frames
    )
    engine = NullEngine(NullSettings())
    engine.load()
    return engine, request, engine.plan(request)


def test_it_counts_its_busy_time_even_of_a_render_that_is_stopped(tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    engine = NullEngine(NullSettings(null_busy_log=str(busy)))
    _, request, _ = asked("null:seconds=0.2")
    for control in (Watched(), Watched(looks=4)):
        with contextlib.suppress(Cancelled):
            for _ in engine.render(request, engine.plan(request), control, None):
                pass
    seconds = [float(line) for line in busy.read_text().split()]
    assert len(seconds) > 10
    assert sum(seconds) >= 0.2 + 3 * 0.02


def render(prompt: str, control: Watched | None = None) -> int:
    engine, request, plan = asked(prompt)
    return sum(
        len(chunk.frames) for chunk in engine.render(request, plan, control or Watched(), None)
    )


def test_words_without_the_prefix_are_ignored() -> None:
    assert render("a woman speaks to the camera, null and void") == 200


def test_an_unknown_directive_is_rejected() -> None:
    with pytest.raises(ValueError, match="null:explode"):
        asked("null:explode")


def test_the_plan_states_the_small_size_of_the_video() -> None:
    _, _, plan = asked("")
    assert plan.delivery == plan.generation == Size(128, 72)


def test_a_render_takes_as_long_as_the_prompt_says() -> None:
    started = time.monotonic()
    render("null:seconds=0.3")
    assert 0.3 <= time.monotonic() - started < 2


def test_a_slow_render_is_cancelled_within_one_forward_pass() -> None:
    started = time.monotonic()
    with pytest.raises(Cancelled):
        render("null:seconds=60", Watched(looks=3))
    assert time.monotonic() - started < 5


def test_no_face_is_raised_while_planning() -> None:
    with pytest.raises(NoFace):
        asked("null:noface")


def test_a_warning_is_part_of_the_plan_only_when_asked_for() -> None:
    assert asked("null:warn")[2].warnings
    assert not asked("")[2].warnings


def test_a_failure_comes_in_the_middle_of_the_render() -> None:
    control = Watched()
    with pytest.raises(RenderFailed):
        render("please null:fail now", control)
    assert control.fractions == [pytest.approx(1 / 3)]


def test_out_of_memory_does_not_occur_at_the_next_smaller_size() -> None:
    engine, request, plan = asked("null:oom")
    with pytest.raises(GpuOutOfMemory):
        list(engine.render(request, plan, Watched(), None))
    smaller = engine.plan(request, "480p")
    assert smaller.generation < plan.generation
    assert smaller.delivery == plan.delivery
    assert len(list(engine.render(request, smaller, Watched(), None))) == 3


def test_oom_always_occurs_at_every_size() -> None:
    engine, request, _ = asked("null:oom-always")
    with pytest.raises(GpuOutOfMemory):
        list(engine.render(request, engine.plan(request, "352p"), Watched(), None))


def test_a_failure_recurs_after_a_resume(tmp_path: Path) -> None:
    image, audio = tmp_path / "a.png", tmp_path / "a.wav"
    image.touch()
    audio.touch()
    request = RenderRequest("job", image, audio, "null:fail", 1, DELIVERY_SIZES[0], 200)
    engine = NullEngine(NullSettings())
    plan = engine.plan(request)
    resume = ResumeState(2, b"", engine.fingerprint(request, plan))
    with pytest.raises(RenderFailed):
        list(engine.render(request, plan, Watched(), resume))


def test_a_crash_kills_the_process_itself() -> None:
    child = multiprocessing.get_context("spawn").Process(target=render, args=("null:crash",))
    child.start()
    child.join(20)
    assert child.exitcode == -signal.SIGKILL


def test_a_hanging_render_ignores_its_control() -> None:
    child = multiprocessing.get_context("spawn").Process(target=render, args=("null:hang",))
    child.start()
    child.join(3)
    assert child.is_alive()
    child.terminate()
    child.join(20)
    assert child.exitcode == -signal.SIGTERM
