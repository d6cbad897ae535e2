"""Finished videos, examined with nothing but a player and ffmpeg."""

# PyAV is typed in parts only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from inference_sidecar.engines.engine import DELIVERY_SIZES, FPS, Size
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg

if TYPE_CHECKING:
    from conftest import Film, Footage

RATE_HZ = 16_000
FFMPEG = find_ffmpeg(os.environ.get("FFMPEG_PATH"))


def found_by(detector: str, video: Path) -> list[str]:
    """What one of ffmpeg's detectors reports of a video."""
    command = [FFMPEG, "-hide_banner", "-nostats", "-i", video, "-vf", detector]
    done = subprocess.run(
        [*command, "-an", "-f", "null", "-"], capture_output=True, text=True, check=True
    )
    return [line for line in done.stderr.splitlines() if "_start:" in line]


FROZEN = "freezedetect=n=-60dB:d=0.5"
BLACK = "blackdetect=d=0.1:pix_th=0.10"


@pytest.mark.parametrize("detector", [FROZEN, BLACK])
def test_the_video_is_never_frozen_or_black(speaking: Footage, detector: str) -> None:
    assert found_by(detector, speaking.video) == []


def test_the_detectors_detect_their_faults(tmp_path: Path) -> None:
    frozen = tmp_path / "frozen.mp4"
    source = "color=black:size=64x64:rate=25:duration=2"
    subprocess.run([FFMPEG, "-loglevel", "error", "-f", "lavfi", "-i", source, frozen], check=True)
    assert found_by(FROZEN, frozen)
    assert found_by(BLACK, frozen)


def test_the_sound_is_the_given_voice_in_sync(speaking: Footage, voice: NDArray[np.int16]) -> None:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    with av.open(str(speaking.video)) as container:
        heard = np.concatenate(
            [
                part.to_ndarray()[0]
                for frame in container.decode(audio=0)
                for part in resampler.resample(frame)
            ]
        ).astype(np.float64)
    length = min(len(heard), len(voice)) - 200
    said = voice[:length].astype(np.float64)
    scores = [np.corrcoef(said, heard[lag : lag + length])[0, 1] for lag in range(0, 200, 4)]
    assert max(scores) > 0.95
    assert int(np.argmax(scores)) * 4 / RATE_HZ < 0.01


@pytest.mark.parametrize("size", DELIVERY_SIZES)
def test_every_size_is_delivered_in_a_widely_playable_format(
    film: Film, voice: NDArray[np.int16], size: Size
) -> None:
    video = film.make(voice[: RATE_HZ // 2], size=size)
    content = video.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(video)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, picture.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (picture.codec_context.width, picture.codec_context.height) == size
        assert picture.average_rate == FPS
        assert sound.codec_context.name == "aac"
        assert sum(1 for _ in container.decode(video=0)) == pytest.approx(0.5 * FPS, abs=1)


@pytest.mark.parametrize("seconds", [0.1, 0.02, 1.27])
def test_a_video_is_as_long_as_its_audio_however_short(
    film: Film, voice: NDArray[np.int16], seconds: float
) -> None:
    video = film.make(voice[: round(seconds * RATE_HZ)], size=Size(160, 160))
    with av.open(str(video)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert abs(frames / FPS - seconds) <= 1 / FPS


def test_a_video_is_rendered_without_network_access(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path

def no_network(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(no_network)
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.media.encoder import Encoder
from inference_sidecar.engines.engine import RenderRequest, Size
from inference_sidecar.engines.preview.engine import PreviewEngine
from inference_sidecar.engines.stages import Untimed

class Unwatched(Untimed):
    def check(self): pass
    def progress(self, fraction): pass

image, audio, video = (Path(name) for name in sys.argv[1:])
request = RenderRequest("job", image, audio, "", 1, Size(160, 90), 3)
engine = PreviewEngine()
engine.load()
plan = engine.plan(request)
with Encoder(video, audio, plan, ffmpeg=find_ffmpeg()) as encoder:
    for chunk in engine.render(request, plan, Unwatched(), None):
        encoder.write(chunk.frames)
    encoder.finish()
"""
    examples = Path(__file__).parents[4] / "examples"
    media = examples / "portrait.jpg", examples / "voice.wav"
    subprocess.run([sys.executable, "-c", program, *media, tmp_path / "video.mp4"], check=True)
    assert (tmp_path / "video.mp4").stat().st_size > 0
