"""The encoder with a real ffmpeg; another library reads the result."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.video.reformatter
import numpy as np
import pytest
from numpy.typing import NDArray

from inference_sidecar.engines.engine import FPS, Plan, Size
from inference_sidecar.foundation.errors import RenderFailed
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.media.encoder import Encoder
from stage.until import until
from stage.voice import write_tone

FFMPEG = find_ffmpeg(os.environ.get("FFMPEG_PATH"))
PLAN = Plan(Size(64, 36), Size(128, 72), (20, 15, 7), 0.0, "720p")


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    """A tone as long as the planned video; its sample rate is not the encoder's."""
    return write_tone(tmp_path / "voice.wav", PLAN.frames)


def pictures(first: int, count: int) -> NDArray[np.uint8]:
    """Plain frames whose brightness encodes their number."""
    levels = (40 + 4 * np.arange(first, first + count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, 36, 64, 3)).copy()


def encode(output: Path, audio: Path, plan: Plan = PLAN) -> None:
    with Encoder(output, audio, plan, ffmpeg=FFMPEG) as encoder:
        first = 0
        for count in plan.chunks:
            encoder.write(pictures(first, count))
            first += count
        video = encoder.finish()
    assert (video.width, video.height, video.frames) == (128, 72, plan.frames)
    assert video.bytes == output.stat().st_size


def write_all(encoder: Encoder) -> None:
    """Writes and finishes. ffmpeg may take a moment to end, so either may fail."""
    for count in PLAN.chunks:
        encoder.write(pictures(0, count))
    encoder.finish()


def wait_until_gone(pid: int) -> None:
    asyncio.run(until(lambda: not is_running(pid), f"end of process {pid}"))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def decoded(tmp_path: Path, voice: Path) -> Iterator[av.container.InputContainer]:
    encode(tmp_path / "video.mp4", voice)
    with av.open(str(tmp_path / "video.mp4")) as container:
        yield container


def test_every_frame_arrives_once_in_order_at_25_per_second(
    decoded: av.container.InputContainer,
) -> None:
    frames = list(decoded.decode(video=0))
    levels = [float(frame.to_ndarray(format="gray").mean()) for frame in frames]
    assert len(frames) == PLAN.frames
    assert levels == sorted(levels)
    assert decoded.streams.video[0].average_rate == Fraction(25)
    assert [frame.time for frame in frames] == pytest.approx(np.arange(PLAN.frames) / FPS)


def test_the_video_has_a_format_that_every_player_plays(
    decoded: av.container.InputContainer,
) -> None:
    video, audio = decoded.streams.video[0], decoded.streams.audio[0]
    assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert (video.codec_context.width, video.codec_context.height) == (128, 72)
    assert (audio.codec_context.name, audio.codec_context.sample_rate) == ("aac", 48_000)
    frame = next(decoded.decode(video=0))
    assert int(frame.colorspace) == int(av.video.reformatter.Colorspace.ITU709)


def test_key_frames_are_at_the_start_of_chunks_but_not_close_together(
    tmp_path: Path, voice: Path
) -> None:
    plan = replace(PLAN, chunks=(250, 100, 100, 50, 10))
    with Encoder(tmp_path / "video.mp4", voice, plan, ffmpeg=FFMPEG) as encoder:
        encoder.write(np.resize(pictures(0, 50), (plan.frames, 36, 64, 3)))
        encoder.finish()
    with av.open(str(tmp_path / "video.mp4")) as container:
        keys = [i for i, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert keys == [0, 250, 500]


def test_a_still_background_does_not_jump_at_a_key_frame(tmp_path: Path, voice: Path) -> None:
    """Only a corner moves; the grain is what an encoder would change first."""
    plan = Plan(Size(128, 72), Size(128, 72), (60, 60), 0.0, "720p")
    random = np.random.default_rng(1)
    frames = np.empty((120, 72, 128, 3), np.uint8)
    frames[:] = random.normal(120, 12, (72, 128, 3)).clip(0, 255)
    frames[:, 48:, 96:] = random.integers(0, 256, (120, 24, 32, 3))
    with Encoder(tmp_path / "video.mp4", voice, plan, ffmpeg=FFMPEG) as encoder:
        encoder.write(frames)
        encoder.finish()
    with av.open(str(tmp_path / "video.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    jump = np.abs(shown[60].astype(np.int16) - shown[59])[:40, :80]
    assert jump.mean() < 0.2


def test_audio_and_video_are_equally_long(decoded: av.container.InputContainer) -> None:
    samples = sum(frame.samples for frame in decoded.decode(audio=0))
    assert samples / 48_000 == pytest.approx(PLAN.frames / FPS, abs=1 / FPS)


def test_playing_can_start_before_the_download_ends(tmp_path: Path, voice: Path) -> None:
    encode(tmp_path / "video.mp4", voice)
    content = (tmp_path / "video.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_nothing_but_the_video_is_left_behind(tmp_path: Path, voice: Path) -> None:
    encode(tmp_path / "video.mp4", voice)
    assert {path.name for path in tmp_path.iterdir()} == {"voice.wav", "video.mp4"}


def test_missing_frames_are_a_failure_and_leave_no_file(tmp_path: Path, voice: Path) -> None:
    output = tmp_path / "video.mp4"
    with Encoder(output, voice, PLAN, ffmpeg=FFMPEG) as encoder:
        encoder.write(pictures(0, 20))
        with pytest.raises(RenderFailed, match="20 of 42"):
            encoder.finish()
    assert list(tmp_path.iterdir()) == [voice]


def test_leaving_early_kills_ffmpeg_and_leaves_no_file(tmp_path: Path, voice: Path) -> None:
    with Encoder(tmp_path / "video.mp4", voice, PLAN, ffmpeg=FFMPEG) as encoder:
        encoder.write(pictures(0, 20))
    wait_until_gone(encoder.pid)
    assert list(tmp_path.iterdir()) == [voice]
    encoder.close()


def test_a_failure_carries_the_log_of_ffmpeg(tmp_path: Path) -> None:
    output = tmp_path / "video.mp4"
    with Encoder(output, tmp_path / "absent.wav", PLAN, ffmpeg=FFMPEG) as encoder:
        with pytest.raises(RenderFailed) as failure:
            write_all(encoder)
        assert "absent.wav" in str(failure.value.context["ffmpeg"])
    assert list(tmp_path.iterdir()) == []


def test_the_first_write_fails_if_ffmpeg_cannot_be_started(tmp_path: Path, voice: Path) -> None:
    with (
        Encoder(tmp_path / "video.mp4", voice, PLAN, ffmpeg=tmp_path / "absent") as encoder,
        pytest.raises(FileNotFoundError),
    ):
        write_all(encoder)
    assert list(tmp_path.iterdir()) == [voice]


def test_a_killed_ffmpeg_is_a_failure(tmp_path: Path, voice: Path) -> None:
    with Encoder(tmp_path / "video.mp4", voice, PLAN, ffmpeg=FFMPEG) as encoder:
        os.kill(encoder.pid, signal.SIGKILL)
        wait_until_gone(encoder.pid)
        with pytest.raises(RenderFailed) as failure:
            write_all(encoder)
        assert failure.value.context["exitStatus"] == -signal.SIGKILL


def test_unplanned_frames_are_rejected(tmp_path: Path, voice: Path) -> None:
    with Encoder(tmp_path / "video.mp4", voice, PLAN, ffmpeg=FFMPEG) as encoder:
        with pytest.raises(ValueError, match="planned 42"):
            encoder.write(pictures(0, 43))
        with pytest.raises(ValueError, match="does not fit"):
            encoder.write(np.zeros((1, 72, 128, 3), np.uint8))


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_ffmpeg_dies_with_the_process_that_started_it(tmp_path: Path, voice: Path) -> None:
    program = f"""
import os, time
from pathlib import Path
from inference_sidecar.media.encoder import Encoder
from inference_sidecar.engines.engine import Plan, Size
plan = Plan(Size(64, 36), Size(128, 72), (20,), 0.0, "720p")
encoder = Encoder(Path({str(tmp_path / "video.mp4")!r}), Path({str(voice)!r}), plan,
                  ffmpeg=Path({str(FFMPEG)!r}))
# Forked while ffmpeg starts, the holder would also keep the pipe open by which `Popen` learns that
# it has started.
pid = encoder.pid
holder = os.fork()
if holder:
    print(pid, holder, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid, holder = (int(word) for word in parent.stdout.readline().split())
        # Until then it may not have asked the kernel yet.
        runs_ffmpeg = Path(f"/proc/{pid}/exe").samefile
        asyncio.run(until(lambda: runs_ffmpeg(FFMPEG), "start of ffmpeg"))
        parent.kill()
    # The holder keeps ffmpeg's input open, so that only the kernel can end ffmpeg.
    try:
        wait_until_gone(pid)
    finally:
        os.kill(holder, signal.SIGKILL)


def test_ffmpeg_is_found_where_it_is_configured_or_installed() -> None:
    assert find_ffmpeg(str(FFMPEG)) == FFMPEG
    assert find_ffmpeg().is_file()
    with pytest.raises(FileNotFoundError, match="FFMPEG_PATH"):
        find_ffmpeg("/nowhere/ffmpeg")


@pytest.mark.parametrize("generation", [Size(72, 36), Size(60, 36)])
def test_a_picture_of_another_aspect_ratio_is_cropped_and_never_stretched(
    tmp_path: Path, voice: Path, generation: Size
) -> None:
    plan = Plan(generation, Size(128, 72), (PLAN.frames,), 0.0, "720p")
    width, height = generation
    frames = np.zeros((PLAN.frames, height, width, 3), np.uint8)
    frames[:, 8:-8, (width - height) // 2 + 8 : (width + height) // 2 - 8] = 255
    with Encoder(tmp_path / "video.mp4", voice, plan, ffmpeg=FFMPEG) as encoder:
        encoder.write(frames)
        encoder.finish()
    with av.open(str(tmp_path / "video.mp4")) as container:
        bright = next(container.decode(video=0)).to_ndarray(format="gray") > 128
    columns, rows = bright.any(axis=0).sum(), bright.any(axis=1).sum()
    assert bright.shape == (72, 128)
    assert abs(int(columns) - int(rows)) <= 1
