"""The render process, run in a thread: the lines that it sends about each order."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest

from inference_sidecar.engines.engine import (
    Chunk,
    Control,
    Plan,
    Readiness,
    RenderRequest,
    ResumeState,
)
from inference_sidecar.engines.null.engine import NullEngine
from inference_sidecar.engines.null.settings import NullSettings
from inference_sidecar.foundation.contracts import EngineFacts, Sampling
from inference_sidecar.foundation.errors import GpuOutOfMemory, RenderFailed
from inference_sidecar.rendering import render_child
from inference_sidecar.rendering.render_protocol import (
    DoneLine,
    FailedLine,
    ReadyLine,
    RenderedLine,
    StageBegunLine,
    StageLine,
    StartedLine,
    StoppedLine,
    TakenLine,
    facts_of,
)
from stage.render_parent import Parent, following, following_failure, order_lines


def pictures_in(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(video=0))


class Ballast:
    """Stands for device memory; a weak reference shows when it is freed."""


class HungryEngine(NullEngine):
    """Runs out of memory at its first size, with ballast in the stack frame that raises."""

    def __init__(self) -> None:
        super().__init__(NullSettings())
        self.ballast: weakref.ref[Ballast] | None = None
        self.was_freed = False

    def render(
        self, request: RenderRequest, plan: Plan, control: Control, resume: ResumeState | None
    ) -> Iterator[Chunk]:
        if self.ballast is None:
            held = Ballast()
            self.ballast = weakref.ref(held)
            raise GpuOutOfMemory
        self.was_freed = self.ballast() is None
        yield from super().render(request, plan, control, resume)


SAMPLING = Sampling(quality="high", recipe="lightx2v-4", steps=8, forwards=16)


class WarmingEngine(NullEngine):
    """Has three pieces to warm up, the second of which waits and the third of which fails."""

    def __init__(self) -> None:
        super().__init__(NullSettings())
        self.pieces: list[str] = []
        self.is_waiting, self.may_go_on = threading.Event(), threading.Event()

    def warm_up(self) -> Iterator[None]:
        self.pieces.append("first")
        yield
        self.is_waiting.set()
        self.may_go_on.wait(30)
        self.pieces.append("second")
        yield
        raise RuntimeError("the third piece does not fit")

    def plan(self, request: RenderRequest, size_class: str | None = None) -> Plan:
        return replace(super().plan(request, size_class), sampling=SAMPLING, cuts=(75,))

    def render(
        self, request: RenderRequest, plan: Plan, control: Control, resume: ResumeState | None
    ) -> Iterator[Chunk]:
        self.pieces.append("render")
        for chunk in super().render(request, plan, control, resume):
            checks = {"sharpnessMost": 1.5 + chunk.index}
            yield replace(chunk, checks=checks, details={"attention": "exact"})


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    other = Parent(tmp_path)
    assert isinstance(other.receive(), ReadyLine)
    yield other
    other.leave()


def test_a_render_is_reported_from_the_first_forward_pass_to_the_complete_file(
    parent: Parent, tmp_path: Path
) -> None:
    parent.order(1)
    assert isinstance(parent.receive_without_progress(), StartedLine)
    assert isinstance(parent.receive_without_progress(), RenderedLine)
    done = parent.receive_without_progress()
    assert isinstance(done, DoneLine)
    result, video = done.result, done.result.video
    assert (video.frames, result.degraded, result.engine) == (50, False, "null")
    assert video.path == tmp_path / "1.mp4"
    assert (tmp_path / "1.mp4").stat().st_size == video.bytes


def test_a_prepared_video_is_delivered_again_where_it_is_asked_for_and_as_long(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.order(1, "null:prepared")
    first = following(parent, DoneLine)

    def encode_nothing(*_: object, **__: object) -> None:
        raise RenderFailed("nothing is encoded any more")

    monkeypatch.setattr(render_child, "PiecewiseEncoder", encode_nothing)
    parent.order(2, "null:prepared")
    second = following(parent, DoneLine)
    assert isinstance(first, DoneLine)
    assert isinstance(second, DoneLine)
    assert second.result.video == replace(first.result.video, path=tmp_path / "2.mp4")
    assert (tmp_path / "2.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()
    parent.order(3, "null:prepared", frames=25)
    assert isinstance(following(parent, FailedLine), FailedLine)
    parent.order(4)
    assert isinstance(following(parent, FailedLine), FailedLine)


def test_a_start_tells_how_far_it_is_loaded_each_percent_once(tmp_path: Path) -> None:
    other = Parent(tmp_path)
    assert isinstance(other.receive(), ReadyLine)
    other.leave()
    assert other.loaded == [10 * step for step in range(1, 11)]


def test_the_engine_warms_up_while_no_order_waits_and_its_failure_ends_nothing(
    tmp_path: Path,
) -> None:
    engine = WarmingEngine()
    parent = Parent(tmp_path, engine)
    assert isinstance(parent.receive(), ReadyLine)
    assert engine.is_waiting.wait(30)
    parent.order(1)
    while not parent.taken:
        line = parent._next_line()
        assert isinstance(line, TakenLine)
        parent.taken.append(line.order)
    engine.may_go_on.set()
    assert isinstance(following(parent, DoneLine), DoneLine)
    parent.order(2)
    done = following(parent, DoneLine)
    assert isinstance(done, DoneLine)
    assert engine.pieces == ["first", "second", "render", "render"]
    parent.leave()


def test_a_result_tells_what_the_engine_measured_and_what_changed_since_it_was_loaded(
    tmp_path: Path,
) -> None:
    engine = WarmingEngine()
    engine.may_go_on.set()
    parent = Parent(tmp_path, engine)
    assert isinstance(parent.receive(), ReadyLine)
    parent.order(1, frames=150)
    done = following(parent, DoneLine)
    assert isinstance(done, DoneLine)
    assert done.result.checks == {"sharpnessMost": 2.5}
    assert done.result.sampling == SAMPLING
    assert parent.are_cut == [True]
    assert done.result.engine_facts.details["attention"] == "exact"
    parent.leave()


def test_the_next_order_starts_before_the_file_is_complete(parent: Parent) -> None:
    parent.order(1)
    parent.order(2)
    kinds = [(line.kind, line.order) for line in order_lines(parent, 6)]
    assert kinds.index(("rendered", 1)) < kinds.index(("started", 2))
    assert {("done", 1), ("done", 2)} <= set(kinds)


def test_an_order_is_acknowledged_before_its_first_line_and_while_another_renders(
    parent: Parent,
) -> None:
    parent.order(1, "null:seconds=30")
    assert isinstance(parent.receive_without_progress(), StartedLine)
    assert parent.taken == [1]
    parent.order(2)
    parent.stop(1)
    assert isinstance(parent.receive_without_progress(), StoppedLine)
    assert parent.taken == [1, 2]
    assert isinstance(following(parent, DoneLine), DoneLine)


def test_a_stop_ends_the_render_but_not_the_process(parent: Parent, tmp_path: Path) -> None:
    parent.order(1, "null:seconds=30")
    assert isinstance(parent.receive_without_progress(), StartedLine)
    parent.stop(1)
    assert isinstance(parent.receive_without_progress(), StoppedLine)
    assert not list(tmp_path.glob("1.mp4*"))
    parent.order(2)
    assert isinstance(parent.receive_without_progress(), StartedLine)
    assert isinstance(parent.receive_without_progress(), RenderedLine)
    assert isinstance(parent.receive_without_progress(), DoneLine)


def test_a_stop_for_an_order_that_is_over_changes_nothing(parent: Parent) -> None:
    parent.stop(7)
    parent.order(8)
    assert isinstance(parent.receive_without_progress(), StartedLine)
    assert isinstance(parent.receive_without_progress(), RenderedLine)
    assert isinstance(parent.receive_without_progress(), DoneLine)


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("null:fail", "RENDER_FAILED"),
        ("null:noface", "NO_FACE"),
        ("null:oom-always", "GPU_OUT_OF_MEMORY"),
        ("null:what", "RENDER_FAILED"),
    ],
)
def test_a_failure_is_reported_with_its_code(parent: Parent, prompt: str, code: str) -> None:
    parent.order(1, prompt)
    line = parent.receive_without_progress()
    while isinstance(line, StartedLine):
        line = parent.receive_without_progress()
    assert isinstance(line, FailedLine)
    assert line.code == code


def test_out_of_memory_is_retried_once_at_the_next_smaller_size(parent: Parent) -> None:
    parent.order(1, "null:oom")
    lines = order_lines(parent, 3)
    done = lines[-1]
    assert isinstance(done, DoneLine)
    assert done.result.degraded
    assert done.result.generation.width < done.result.video.width
    assert parent.sizes == ["720p", "480p"]


def test_the_memory_of_the_first_try_is_free_at_the_second(tmp_path: Path) -> None:
    engine = HungryEngine()
    parent = Parent(tmp_path, engine)
    parent.order(1)
    while not isinstance(line := parent.receive(), DoneLine):
        assert not isinstance(line, FailedLine)
    parent.leave()
    assert engine.was_freed


def test_an_interrupted_render_resumes_after_the_kept_pieces(
    parent: Parent, tmp_path: Path
) -> None:
    parent.order(1, frames=900, folder="whole")
    assert isinstance(following(parent, DoneLine), DoneLine)
    parent.order(2, "null:seconds=2", frames=900, folder="cut")
    kept = parent.stop_after_keeping(2, tmp_path / "cut")

    parent.order(3, "null:seconds=2", frames=900, folder="cut", started_at_ms=12_345)

    started = following(parent, StartedLine)
    assert isinstance(started, StartedLine)
    assert started.fraction == pytest.approx(kept / 12)
    assert started.at_ms > 12_345
    done = following(parent, DoneLine)
    assert isinstance(done, DoneLine)
    assert done.result.started_at_ms == 12_345
    assert pictures_in(tmp_path / "cut/3.mp4") == pictures_in(tmp_path / "whole/1.mp4")


def test_the_kept_pieces_of_another_render_are_not_used(parent: Parent, tmp_path: Path) -> None:
    parent.order(1, "null:seconds=2", frames=900, folder="cut")
    parent.stop_after_keeping(1, tmp_path / "cut")

    parent.order(2, "null:seconds=2", frames=900, folder="cut", seed=2)

    started = following(parent, StartedLine)
    assert isinstance(started, StartedLine)
    assert started.fraction == 0
    assert isinstance(following(parent, DoneLine), DoneLine)


def test_a_degraded_render_resumes_at_its_smaller_size(parent: Parent, tmp_path: Path) -> None:
    parent.order(1, "null:oom null:seconds=2", frames=900, folder="cut")
    # The first try, at the larger size, keeps four chunks; the second starts over.
    assert parent.receive_kept() == 4
    kept = parent.stop_after_keeping(1, tmp_path / "cut")

    parent.order(2, "null:oom null:seconds=2", frames=900, folder="cut")

    started = following(parent, StartedLine)
    assert isinstance(started, StartedLine)
    assert started.fraction == pytest.approx(kept / 12)
    done = following(parent, DoneLine)
    assert isinstance(done, DoneLine)
    assert done.result.degraded
    assert done.result.generation.width < done.result.video.width


def test_a_file_that_cannot_be_finished_is_a_failed_render(parent: Parent, tmp_path: Path) -> None:
    (tmp_path / "audio").write_bytes(b"no sound")
    parent.order(1)
    line = parent.receive_without_progress()
    while isinstance(line, StartedLine | RenderedLine):
        line = parent.receive_without_progress()
    assert isinstance(line, FailedLine)
    assert line.code == "RENDER_FAILED"


def test_each_stage_is_told_when_it_begins_and_when_it_ends(parent: Parent) -> None:
    assert {line.order for line in parent.stages} == {None}
    assert [line.name for line in parent.stages if isinstance(line, StageLine)] == [
        *("weights", "engine", "calibrate")
    ]
    parent.stages.clear()
    parent.order(1, frames=100)
    following(parent, DoneLine)

    begun = [line for line in parent.stages if isinstance(line, StageBegunLine)]
    ended = [line for line in parent.stages if isinstance(line, StageLine)]
    assert [(line.name, line.attributes) for line in ended] == [
        ("prepare", {}),
        ("chunk", {"chunk": 0, "frames": 75}),
        ("chunk", {"chunk": 1, "frames": 25}),
        ("finish file", {}),
    ]
    assert [(line.order, line.name, line.start_ns) for line in begun] == [
        (line.order, line.name, line.start_ns) for line in ended
    ]
    assert all(line.start_ns <= line.end_ns and line.error is None for line in ended)


def test_no_stage_is_told_of_an_order_whose_spans_nobody_writes(parent: Parent) -> None:
    parent.stages.clear()
    parent.order(1, are_stages_wanted=False)
    following(parent, DoneLine)
    assert parent.stages == []


def test_a_stage_that_fails_tells_with_what(parent: Parent) -> None:
    parent.order(1, "null:oom-always")
    following_failure(parent)
    assert [line.error for line in parent.stages if isinstance(line, StageLine)][-1:] == [
        "GPU_OUT_OF_MEMORY"
    ]


def test_facts_are_cut_to_the_limits_of_a_message() -> None:
    details = {f"{'n' * 120}{number}": "x" * 300 for number in range(10)}
    many = {str(number): "x" for number in range(100)}
    facts = facts_of(Readiness("d" * 300, "p" * 300, "a" * 300, 7, 1.0, {**details, **many}))
    assert EngineFacts.model_validate_json(facts.to_json()) == facts
    assert (len(facts.device), len(facts.details)) == (100, 11)
