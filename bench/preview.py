"""Measures how fast the preview engine makes a video; the README's figures come from here.

Run `npm run bench:preview`. Prints one row per size: the median of a few renders from the input
files to the finished MP4, ffmpeg included. Options: `--seconds N` (length of the video), `--runs
N`, `--portrait FILE` (another face than the example's).

A busy machine shows in the load and in "times real time"; CPU seconds hardly depend on it.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path

from inference_sidecar.engines.engine import DELIVERY_SIZES, RenderRequest, Size, frames_for
from inference_sidecar.engines.preview.engine import PreviewEngine
from inference_sidecar.engines.stages import Untimed
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.media.encoder import Encoder

EXAMPLES = Path(__file__).parent.parent / "examples"


@dataclass(frozen=True)
class Run:
    """One render: wall-clock seconds, and CPU seconds of this process and of ffmpeg."""

    took: float
    drawing_cpu: float
    encoding_cpu: float
    estimated: float
    peak_mib: float


class Unwatched(Untimed):
    """`engine.Control` of a render that nobody cancels or watches."""

    def check(self) -> None:
        """Never raises."""

    def progress(self, fraction: float) -> None:
        """Ignores the progress."""


def voice_of(seconds: float, folder: Path) -> Path:
    """The example voice, repeated up to the given length."""
    path = folder / "voice.wav"
    with wave.open(str(EXAMPLES / "voice.wav")) as reader, wave.open(str(path), "wb") as writer:
        writer.setparams(reader.getparams())
        samples = reader.readframes(reader.getnframes())
        wanted = round(seconds * reader.getframerate()) * reader.getsampwidth()
        while wanted > 0:
            writer.writeframes(samples[:wanted])
            wanted -= len(samples)
    return path


def cpu_seconds(who: int) -> float:
    """User and system time used by now."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def render(engine: PreviewEngine, portrait: Path, voice: Path, seconds: float, size: Size) -> Run:
    """Renders one video and discards it."""
    request = RenderRequest("bench", portrait, voice, "", 1, size, frames_for(seconds))
    own, children = cpu_seconds(resource.RUSAGE_SELF), cpu_seconds(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    plan = engine.plan(request)
    ffmpeg = find_ffmpeg(os.environ.get("FFMPEG_PATH"))
    with Encoder(voice.with_name("video.mp4"), voice, plan, ffmpeg=ffmpeg) as encoder:
        for chunk in engine.render(request, plan, Unwatched(), None):
            encoder.write(chunk.frames)
        encoder.finish()
    return Run(
        took=time.monotonic() - began,
        drawing_cpu=cpu_seconds(resource.RUSAGE_SELF) - own,
        encoding_cpu=cpu_seconds(resource.RUSAGE_CHILDREN) - children,
        estimated=plan.estimated_seconds,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="How fast the preview engine makes a video.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--portrait", type=Path, default=EXAMPLES / "portrait.jpg")
    options = parser.parse_args()
    engine = PreviewEngine()
    calibrated = engine.load().seconds_per_video_second
    say = sys.stdout.write
    say(f"{options.portrait.name}, {options.seconds:g} s of video, median of {options.runs} runs; ")
    say(f"calibrated at load: {calibrated:.2f} s per second of video\n")
    say("size        times real time (least)   CPU s per s: drawing  ffmpeg   sum   ")
    say("estimate / truth   peak MiB   load\n")
    with tempfile.TemporaryDirectory() as folder:
        voice = voice_of(options.seconds, Path(folder))
        rows: dict[Size, list[Run]] = {size: [] for size in DELIVERY_SIZES}
        # Sizes take turns, so that a busy minute does not affect only one of them.
        for _ in range(options.runs):
            for size, runs in rows.items():
                runs.append(render(engine, options.portrait, voice, options.seconds, size))
    for size, runs in rows.items():
        speeds = [options.seconds / run.took for run in runs]
        drawing = statistics.median(run.drawing_cpu for run in runs) / options.seconds
        encoding = statistics.median(run.encoding_cpu for run in runs) / options.seconds
        truth = statistics.median(run.estimated / run.took for run in runs)
        say(f"{size.width:>4}x{size.height:<4}")
        say(f"{statistics.median(speeds):>11.2f} ({min(speeds):.2f})")
        say(f"{drawing:>24.2f}{encoding:>8.2f}{drawing + encoding:>6.2f}{truth:>16.2f}")
        say(f"{max(run.peak_mib for run in runs):>16.0f}{os.getloadavg()[0]:>7.1f}\n")


if __name__ == "__main__":
    main()
