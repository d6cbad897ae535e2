"""The contract of the engine protocol: one suite for every engine that needs no weights.

An engine that needs weights runs these tests in a suite of its own, with tiny weights.
"""

import os
import wave
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from inference_sidecar.engines.engine import (
    FPS,
    Chunk,
    Engine,
    RenderRequest,
    ResumeState,
    Size,
    next_smaller,
)
from inference_sidecar.engines.registry import make_engine, read_settings
from inference_sidecar.engines.stages import Untimed
from inference_sidecar.foundation.errors import Cancelled, DeadlineExceeded, ResumeRefused
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.media.encoder import Encoder

EXAMPLES = Path(__file__).parents[3] / "examples"
FRAMES = 80
DELIVERY = Size(320, 180)


class Watched(Untimed):
    """Records the progress, and raises an error after this many checks."""

    def __init__(self, looks: int = 1_000_000, error: type[Exception] = Cancelled) -> None:
        self.looks_left, self.error = looks, error
        self.looks = 0
        self.fractions: list[float] = []

    def check(self) -> None:
        self.looks += 1
        if self.looks > self.looks_left:
            raise self.error

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


@pytest.fixture(scope="module", params=["null", "preview"])
def engine(request: pytest.FixtureRequest) -> Engine:
    loaded = make_engine(request.param, read_settings(request.param))
    readiness = loaded.load()
    assert readiness.device
    assert readiness.seconds_per_video_second >= 0
    return loaded


def test_the_chunks_are_as_long_as_the_engine_says(engine: Engine, job: RenderRequest) -> None:
    readiness = engine.load()
    plan = engine.plan(replace(job, frames=10 * FRAMES))
    assert plan.size_class == readiness.size_class
    assert set(plan.chunks[1:-1]) == {readiness.frames_per_chunk}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> RenderRequest:
    """The example portrait with the first seconds of the example voice, 3.2 s long."""
    short = tmp_path_factory.mktemp("voice") / "voice.wav"
    with wave.open(str(EXAMPLES / "voice.wav")) as reader, wave.open(str(short), "wb") as writer:
        writer.setparams(reader.getparams())
        writer.writeframes(reader.readframes(round(reader.getframerate() * FRAMES / FPS)))
    return RenderRequest("job", EXAMPLES / "portrait.jpg", short, "", 7, DELIVERY, FRAMES)


@pytest.fixture(scope="module")
def chunks(engine: Engine, job: RenderRequest) -> list[Chunk]:
    return list(engine.render(job, engine.plan(job), Watched(), None))


def test_the_plan_covers_the_video_exactly(engine: Engine, job: RenderRequest) -> None:
    plan = engine.plan(job)
    assert plan.frames == sum(plan.chunks) == FRAMES
    assert all(count > 0 for count in plan.chunks)
    assert plan.estimated_seconds >= 0
    assert all(side % 2 == 0 for side in (*plan.generation, *plan.delivery))


def test_chunks_come_in_order_and_as_planned(
    engine: Engine, job: RenderRequest, chunks: list[Chunk]
) -> None:
    plan = engine.plan(job)
    assert [chunk.index for chunk in chunks] == list(range(len(plan.chunks)))
    for chunk, count in zip(chunks, plan.chunks, strict=True):
        width, height = plan.generation
        assert chunk.frames.shape == (count, height, width, 3)
        assert chunk.frames.dtype == np.uint8


def test_the_picture_is_neither_black_nor_frozen(chunks: list[Chunk]) -> None:
    frames = np.concatenate([chunk.frames for chunk in chunks]).astype(np.int16)
    assert frames.mean(axis=(1, 2, 3)).min() > 10
    moves = np.flatnonzero(np.abs(np.diff(frames, axis=0)).max(axis=(1, 2, 3)) > 2)
    assert np.diff(moves, prepend=0, append=FRAMES).max() < FPS


def test_progress_never_falls_and_ends_at_one(engine: Engine, job: RenderRequest) -> None:
    control = Watched()
    plan = engine.plan(job)
    list(engine.render(job, plan, control, None))
    assert control.fractions == sorted(control.fractions)
    assert control.fractions[-1] == pytest.approx(1)
    assert control.looks >= len(plan.chunks)


def test_the_same_seed_gives_the_same_pixels(
    engine: Engine, job: RenderRequest, chunks: list[Chunk]
) -> None:
    again = next(iter(engine.render(job, engine.plan(job), Watched(), None)))
    assert np.array_equal(again.frames, chunks[0].frames)


def test_a_resumed_render_equals_an_uninterrupted_one(
    engine: Engine, job: RenderRequest, chunks: list[Chunk]
) -> None:
    plan = engine.plan(job)
    resume = ResumeState(1, chunks[0].state, engine.fingerprint(job, plan))
    control = Watched()
    rest = list(engine.render(job, plan, control, ResumeState.from_bytes(resume.to_bytes())))
    assert [chunk.index for chunk in rest] == [chunk.index for chunk in chunks[1:]]
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(rest, chunks[1:], strict=True))
    # Counted by frames or by chunks, what is safe elsewhere is done.
    assert control.fractions[0] >= min(plan.chunks[0] / plan.frames, 1 / len(plan.chunks))


def test_the_state_of_another_render_is_refused(engine: Engine, job: RenderRequest) -> None:
    plan = engine.plan(job)
    foreign = ResumeState(1, b"", engine.fingerprint(replace(job, seed=8), plan))
    with pytest.raises(ResumeRefused):
        next(iter(engine.render(job, plan, Watched(), foreign)))


@pytest.mark.parametrize("error", [Cancelled, DeadlineExceeded])
def test_an_error_of_the_control_ends_the_render(
    engine: Engine, job: RenderRequest, error: type[Exception]
) -> None:
    control = Watched(looks=1, error=error)
    with pytest.raises(error):
        list(engine.render(job, engine.plan(job), control, None))
    assert control.looks == 2


def test_the_engine_can_render_again_after_a_cancellation(
    engine: Engine, job: RenderRequest, chunks: list[Chunk]
) -> None:
    with pytest.raises(Cancelled):
        list(engine.render(job, engine.plan(job), Watched(looks=1), None))
    again = next(iter(engine.render(job, engine.plan(job), Watched(), None)))
    assert np.array_equal(again.frames, chunks[0].frames)


def test_a_smaller_size_class_generates_fewer_pixels_and_delivers_the_same(
    engine: Engine, job: RenderRequest
) -> None:
    plan = engine.plan(job)
    smaller_class = next_smaller(plan.size_class)
    assert smaller_class
    smaller = engine.plan(job, smaller_class)
    assert smaller.generation[0] < plan.generation[0]
    assert smaller.delivery == plan.delivery
    assert smaller.size_class == smaller_class


def test_the_encoded_video_is_as_long_as_its_audio(
    engine: Engine, job: RenderRequest, chunks: list[Chunk], tmp_path: Path
) -> None:
    plan = engine.plan(job)
    ffmpeg = find_ffmpeg(os.environ.get("FFMPEG_PATH"))
    with Encoder(tmp_path / "video.mp4", job.audio, plan, ffmpeg=ffmpeg) as encoder:
        for chunk in chunks:
            encoder.write(chunk.frames)
        video = encoder.finish()
    assert (video.width, video.height) == plan.delivery
    with av.open(str(video.path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    with av.open(str(video.path)) as container:
        sound = sum(frame.samples for frame in container.decode(audio=0)) / 48_000
    assert sound == pytest.approx(FRAMES / FPS, abs=1 / FPS)
