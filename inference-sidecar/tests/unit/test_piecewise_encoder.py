"""A video made of pieces is the planned one, interrupted or not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from inference_sidecar.engines.engine import FPS, Chunk, Plan, Size
from inference_sidecar.foundation.errors import RenderFailed
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.media.encoder import Encoder
from inference_sidecar.media.piecewise_encoder import PiecewiseEncoder, pieces_of
from stage.voice import write_tone

# PyAV is typed in parts only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

FFMPEG = find_ffmpeg(os.environ.get("FFMPEG_PATH"))
PLAN = Plan(Size(64, 36), Size(128, 72), (250, 130, 130, 250, 40), 0.0, "720p")


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return write_tone(tmp_path / "voice.wav", PLAN.frames)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planned video, made of pieces without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    return Recorder(folder / "v", write_tone(folder / "voice.wav", PLAN.frames)).whole()


class Recorder:
    """Makes a video of moving bars, up to the chunk that a test asks for."""

    def __init__(self, folder: Path, voice: Path, plan: Plan = PLAN) -> None:
        self.folder, self.voice, self.plan = folder, voice, plan
        self.kept: list[tuple[int, bytes]] = []
        self.output = folder / "video.mp4"
        folder.mkdir(exist_ok=True)

    def record(self, chunks: range) -> PiecewiseEncoder:
        encoder = PiecewiseEncoder(
            self.output,
            self.voice,
            self.plan,
            ffmpeg=FFMPEG,
            folder=self.folder / "pieces",
            first_chunk=chunks.start,
            on_kept=lambda chunk, state: self.kept.append((chunk, state)),
        )
        for index in chunks:
            frames = bars(sum(self.plan.chunks[:index]), self.plan.chunks[index])
            encoder.write(Chunk(index, frames, f"after {index}".encode()))
        return encoder

    def whole(self) -> Path:
        with self.record(range(len(self.plan.chunks))) as encoder:
            video = encoder.finish()
        assert (video.path, video.frames) == (self.output, self.plan.frames)
        assert video.bytes == self.output.stat().st_size
        return video.path


def bars(first: int, count: int) -> NDArray[np.uint8]:
    columns = np.arange(64)[None, :] - np.arange(first, first + count)[:, None]
    row = np.where(columns % 64 < 16, 200, 50).astype(np.uint8)
    return np.broadcast_to(row[:, None, :, None], (count, 36, 64, 3)).copy()


def decoded(path: Path) -> tuple[list[float], list[bool], NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    pictures = np.stack([frame.to_ndarray(format="gray") for frame in frames]).astype(np.uint8)
    return [float(frame.time or 0) for frame in frames], [f.key_frame for f in frames], pictures


def samples(path: Path) -> NDArray[np.float32]:
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(parts, axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("chunks", "pieces"),
    [
        ((1,), [(0, 1)]),
        ((200, 10), [(0, 2)]),
        ((240, 240, 5), [(0, 1), (1, 2), (2, 3)]),
        ((75,) * 9, [(0, 4), (4, 8), (8, 9)]),
    ],
)
def test_pieces_are_not_too_short(chunks: tuple[int, ...], pieces: list[tuple[int, int]]) -> None:
    assert [(piece.start, piece.stop) for piece in pieces_of(chunks)] == pieces


def test_the_pieces_are_joined_without_a_visible_seam(whole: Path) -> None:
    times, keys, pictures = decoded(whole)
    assert times == pytest.approx([number / FPS for number in range(PLAN.frames)], abs=1e-3)
    starts = np.flatnonzero(keys).tolist()
    assert starts == [0, 250, 510, 760]
    wanted = bars(0, PLAN.frames)[:, 18, :, 0].astype(int)
    assert np.abs(pictures[:, 36, ::2].astype(int) - wanted).mean() < 25


def test_the_audio_equals_that_of_a_video_in_one_piece(
    tmp_path: Path, voice: Path, whole: Path
) -> None:
    with Encoder(tmp_path / "one.mp4", voice, PLAN, ffmpeg=FFMPEG) as encoder:
        encoder.write(bars(0, PLAN.frames))
        encoder.finish()
    assert np.array_equal(samples(whole), samples(tmp_path / "one.mp4"))


def test_an_interrupted_video_equals_an_uninterrupted_one(
    tmp_path: Path, voice: Path, whole: Path
) -> None:
    recorder = Recorder(tmp_path / "b", voice)
    # Ends in the middle of the second piece, like a process that is killed.
    recorder.record(range(2)).close()
    assert recorder.kept == [(1, b"after 0")]

    with recorder.record(range(1, 5)) as encoder:
        encoder.finish()

    assert np.array_equal(decoded(recorder.output)[2], decoded(whole)[2])
    assert recorder.kept[1:] == [(3, b"after 2"), (4, b"after 3"), (5, b"after 4")]


def test_a_new_render_deletes_the_pieces_of_another(tmp_path: Path, voice: Path) -> None:
    recorder = Recorder(tmp_path / "v", voice)
    recorder.record(range(1)).close()
    (recorder.folder / "pieces" / "kept").write_bytes(b"of another one")
    recorder.record(range(0)).close()
    assert list((recorder.folder / "pieces").iterdir()) == []


def test_a_short_video_is_written_as_one_file(tmp_path: Path, voice: Path) -> None:
    plan = Plan(PLAN.generation, PLAN.delivery, (30, 20), 0.0, "720p")
    recorder = Recorder(tmp_path / "v", voice, plan)
    recorder.whole()
    assert recorder.kept == []
    assert list((recorder.folder / "pieces").iterdir()) == []


def test_a_piece_that_cannot_be_written_fails_the_render(tmp_path: Path, voice: Path) -> None:
    recorder = Recorder(tmp_path / "v", voice)
    with recorder.record(range(2)) as encoder:
        # The folder of the second piece vanishes before it is complete.
        shutil.rmtree(recorder.folder / "pieces")
        with pytest.raises((RenderFailed, OSError)):
            _write_rest(encoder)
    assert not recorder.output.exists()


def test_a_piece_whose_ffmpeg_dies_fails_the_render_with_the_reason(
    tmp_path: Path, voice: Path
) -> None:
    recorder = Recorder(tmp_path / "v", voice)
    with recorder.record(range(1)) as encoder:
        broken = tmp_path / "ffmpeg"
        broken.write_text("#!/bin/sh\necho out of order >&2\nexec <&-\nexit 3\n")
        broken.chmod(0o700)
        encoder.ffmpeg = broken  # From now on.
        with pytest.raises(RenderFailed) as error:
            _write_rest(encoder, from_chunk=1)
    assert error.value.context["exitStatus"] in {3, -9}


def _write_rest(encoder: PiecewiseEncoder, from_chunk: int = 2) -> None:
    """Any later call may raise the failure of an earlier piece."""
    for index in range(from_chunk, 5):
        frames = bars(sum(PLAN.chunks[:index]), PLAN.chunks[index])
        encoder.write(Chunk(index, frames, b""))
    encoder.finish()


def test_unreadable_audio_fails_the_render(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "v", tmp_path / "absent.wav")
    with recorder.record(range(5)) as encoder, pytest.raises(RenderFailed) as error:
        encoder.finish()
    assert "absent.wav" in str(error.value.context["ffmpeg"])
    assert not recorder.output.exists()
