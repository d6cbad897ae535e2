"""From a picture to a moving face on a canvas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference_sidecar.engines.engine import DELIVERY_SIZES, FPS, RenderRequest, Size
from inference_sidecar.engines.preview.blinks import plan_blinks
from inference_sidecar.engines.preview.compositor import Compositor, FacePose
from inference_sidecar.engines.preview.engine import PreviewEngine
from inference_sidecar.engines.preview.framing import frame_portrait
from inference_sidecar.engines.preview.head_motion import HeadPose, plan_head
from inference_sidecar.engines.preview.lip_motion import MouthPose
from inference_sidecar.engines.raster import Image, resize, warp_affine
from inference_sidecar.foundation.errors import ImageUnreadable, NoFace

if TYPE_CHECKING:
    from conftest import Film

REST = FacePose(MouthPose(0, 0), HeadPose(0, 0, 0), 0)
VOICE = Path(__file__).parents[4] / "examples" / "voice.wav"
EYES = (33, 263)


def request_for(image: Path) -> RenderRequest:
    return RenderRequest("job", image, VOICE, "", 1, Size(320, 180), 25)


def loaded() -> PreviewEngine:
    engine = PreviewEngine()
    engine.load()
    return engine


def test_a_picture_without_a_face_is_refused_with_no_face(tmp_path: Path) -> None:
    path = tmp_path / "noise.ppm"
    noise = np.random.default_rng(1).integers(0, 255, (300, 300, 3), np.uint8)
    path.write_bytes(b"P6 300 300 255\n" + noise.tobytes())
    with pytest.raises(NoFace):
        loaded().plan(request_for(path))


@pytest.mark.parametrize("content", [None, b"", b"not a picture"])
def test_a_file_that_is_not_a_picture_is_refused_as_unreadable(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "portrait.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageUnreadable):
        loaded().plan(request_for(path))


def test_an_engine_that_is_not_loaded_refuses_to_work() -> None:
    with pytest.raises(RuntimeError, match="load"):
        PreviewEngine().plan(request_for(VOICE))


def test_a_face_is_found_wherever_and_however_small_it_is(film: Film, portrait: Image) -> None:
    whole = np.full((1400, 1600, 3), 120, np.uint8)
    small = resize(portrait, 256, 300)
    whole[900:1200, 1100:1356] = small
    points = film.landmarks(whole)
    inside = film.landmarks(portrait) / 2 + (1100, 900)
    assert np.abs(points - inside).max() < 6


@pytest.mark.parametrize("degrees", [-12, 12])
def test_landmarks_follow_a_tilted_head(film: Film, portrait: Image, degrees: int) -> None:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]], np.float32)
    centre = np.array([256, 240], np.float32)
    matrix = np.column_stack([turn, centre - turn @ centre]).astype(np.float32)
    tilted = warp_affine(portrait, matrix, 512, 600)
    expected = film.landmarks(portrait) @ turn.T + matrix[:, 2]
    assert np.abs(film.landmarks(tilted) - expected).mean() < 4


@pytest.mark.parametrize("size", DELIVERY_SIZES)
def test_the_whole_head_is_inside_every_size(film: Film, portrait: Image, size: Size) -> None:
    points = film.landmarks(portrait)
    framing = frame_portrait(portrait, points, size)
    assert framing.canvas.shape == (size.height, size.width, 3)
    placed = framing.place(points)
    assert placed.min() > 0
    assert (placed.max(axis=0) < size).all()
    assert 0.2 < placed[list(EYES), 1].mean() / size.height < 0.5
    assert np.abs(film.landmarks(framing.canvas) - placed).mean() < 3


def test_a_wide_picture_is_cropped_around_its_face(film: Film, portrait: Image) -> None:
    wide = np.full((600, 1400, 3), 120, np.uint8)
    wide[:, 800:1312] = portrait
    points = film.landmarks(wide)
    framing = frame_portrait(wide, points, Size(960, 960))
    assert framing.place(points)[list(EYES), 0].mean() == pytest.approx(480, abs=3)


def test_an_upright_portrait_in_a_wide_frame_gets_a_blurred_backdrop(
    film: Film, portrait: Image
) -> None:
    canvas = frame_portrait(portrait, film.landmarks(portrait), Size(1280, 720)).canvas
    sides = canvas[:, :200].astype(np.int16)
    assert np.abs(np.diff(sides, axis=1)).max() < 12
    assert canvas[:, :200].mean() > 5


def drawn(compositor: Compositor, pose: FacePose, size: Size) -> Image:
    frame = np.empty((size.height, size.width, 3), np.uint8)
    compositor.draw(frame, pose)
    return frame


def test_at_rest_the_portrait_is_unchanged(film: Film, portrait: Image) -> None:
    size = Size(480, 480)
    points = film.landmarks(portrait)
    framing = frame_portrait(portrait, points, size)
    frame = drawn(Compositor(framing, points), REST, size)
    assert np.abs(frame.astype(np.int16) - framing.canvas).mean() < 2


def test_an_opening_mouth_moves_the_chin_but_not_the_eyes(film: Film, portrait: Image) -> None:
    size = Size(480, 480)
    points = film.landmarks(portrait)
    compositor = Compositor(frame_portrait(portrait, points, size), points)
    shut = film.landmarks(drawn(compositor, REST, size))
    wide = FacePose(MouthPose(1, 0), HeadPose(0, 0, 0), 0)
    moved = film.landmarks(drawn(compositor, wide, size)) - shut
    assert moved[152, 1] > 5
    assert moved[14, 1] > moved[152, 1]
    assert np.abs(moved[list(EYES)]).max() < 3


def test_a_smile_with_teeth_can_shut_and_open_its_lips(film: Film, portrait: Image) -> None:
    """Made from the example: parted lips, painted teeth, then used as a portrait of its own."""
    size = Size(512, 600)
    points = film.landmarks(portrait)
    compositor = Compositor(frame_portrait(portrait, points, size), points)
    smiling = drawn(compositor, FacePose(MouthPose(0.8, 0.5), HeadPose(0, 0, 0), 0), size)
    parted = film.landmarks(smiling)
    again = Compositor(frame_portrait(smiling, parted, size), parted)
    gaps: list[float] = []
    for opening in (0.0, 0.5, 1.0):
        pose = FacePose(MouthPose(opening, 0.3), HeadPose(0, 0, 0), 0)
        face = film.landmarks(drawn(again, pose, size))
        gaps.append(float(face[14, 1] - face[13, 1]))
    rest = parted[14, 1] - parted[13, 1]
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.45 * rest
    assert gaps[2] > rest


def test_a_blink_shuts_the_eyes(film: Film, portrait: Image) -> None:
    size = Size(480, 480)
    points = film.landmarks(portrait)
    framing = frame_portrait(portrait, points, size)
    placed = framing.place(points)
    compositor = Compositor(framing, points)
    shut = drawn(compositor, FacePose(MouthPose(0, 0), HeadPose(0, 0, 0), 1), size)
    open_ = drawn(compositor, REST, size)
    for inner, outer in ((133, 33), (362, 263)):
        x, y = placed[[inner, outer]].mean(axis=0).astype(int)
        pupil = (slice(y - 3, y + 3), slice(x - 6, x + 6))
        assert shut[pupil].mean() > open_[pupil].mean() + 15


def test_blinks_come_every_few_seconds_and_depend_on_the_seed() -> None:
    closed = plan_blinks(60 * FPS, 3)
    starts = np.flatnonzero((closed[1:] > 0) & (closed[:-1] == 0))
    assert 10 <= len(starts) <= 26
    assert np.array_equal(closed, plan_blinks(60 * FPS, 3))
    assert not np.array_equal(closed, plan_blinks(60 * FPS, 4))
    assert closed[0] == 0
    assert np.array_equal(closed[:100], plan_blinks(100, 3))


def test_the_head_starts_at_rest_moves_smoothly_and_never_far() -> None:
    voice = np.abs(np.sin(np.arange(1500) / 40)).astype(np.float32)
    poses = np.array([(p.across, p.down, p.tilt) for p in plan_head(voice, 5)])
    assert poses[0] == pytest.approx(0, abs=1e-6)
    assert np.abs(poses).max() < 0.05
    assert np.abs(np.diff(poses, axis=0)).max() < 0.002
    assert np.abs(poses[50:]).mean(axis=0).min() > 0.0005


def test_a_longer_video_takes_no_more_memory(tmp_path: Path) -> None:
    program = """
import resource, sys, wave
from pathlib import Path
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.media.encoder import Encoder
from inference_sidecar.engines.engine import RenderRequest, Size
from inference_sidecar.engines.preview.engine import PreviewEngine
from inference_sidecar.engines.stages import Untimed

class Unwatched(Untimed):
    def check(self): pass
    def progress(self, fraction): pass

image, voice, folder, seconds = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
audio = folder / f"{seconds}.wav"
with wave.open(voice) as reader, wave.open(str(audio), "wb") as writer:
    writer.setparams(reader.getparams())
    second = reader.readframes(reader.getframerate())
    for _ in range(seconds):
        writer.writeframes(second)
request = RenderRequest("job", image, audio, "", 1, Size(320, 180), seconds * 25)
engine = PreviewEngine()
engine.load()
plan = engine.plan(request)
with Encoder(folder / f"{seconds}.mp4", audio, plan, ffmpeg=find_ffmpeg()) as encoder:
    for chunk in engine.render(request, plan, Unwatched(), None):
        encoder.write(chunk.frames)
    encoder.finish()
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ffmpeg = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(own, ffmpeg)
"""
    portrait = VOICE.with_name("portrait.jpg")
    peaks_kib: list[list[int]] = []
    for seconds in (3, 24):
        command = [sys.executable, "-c", program, portrait, VOICE, tmp_path, str(seconds)]
        done = subprocess.run(command, capture_output=True, check=True)
        peaks_kib.append([int(peak) for peak in done.stdout.split()])
    for short, long in zip(*peaks_kib, strict=True):
        assert long < short + 16 * 1024


def test_a_black_and_white_portrait_stays_black_and_white(film: Film, portrait: Image) -> None:
    size = Size(480, 480)
    grey = np.repeat(portrait.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    points = film.landmarks(grey)
    compositor = Compositor(frame_portrait(grey, points, size), points)
    wide = FacePose(MouthPose(1, 0), HeadPose(0, 0, 0), 0.5)
    assert np.ptp(drawn(compositor, wide, size), axis=2).max() <= 2
