"""Encodes frames to an MP4 with one ffmpeg process: H.264, and the customer's own audio as AAC.

Memory does not grow with the length of the video: while one chunk of frames goes down the pipe the
engine may make the next, and a third one waits. The file gets its name only when it is complete.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference_sidecar.engines.engine import FPS, Plan
from inference_sidecar.foundation.closed_at_exit import ClosedAtExit
from inference_sidecar.media.ffmpeg_run import COMMON_OPTIONS, EncodedVideo, FfmpegRun

AUDIO_RATE_HZ: Final = 48_000
_AUDIO_BITRATE: Final = "160k"
_LEAST_GOP_FRAMES: Final = 240
"""The least distance of key frames, which are visible: the grain of skin changes at each."""


class Encoder(ClosedAtExit):
    """One video being written. As a context manager, it removes every trace if left unfinished."""

    def __init__(self, output: Path, audio: Path | None, plan: Plan, *, ffmpeg: Path) -> None:
        """Starts ffmpeg in the background; the first `write` raises `OSError` if that failed.

        output: where the MP4 will be, in a folder that exists. audio: any file that ffmpeg can
        decode; without it the video is silent. plan: sizes and chunks; each closed group of
        pictures holds one chunk, or a few short ones.
        """
        self._output = output
        self._plan = plan
        self._taken = 0
        self._feeder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._feeding: Future[None] | None = None
        partial = _partial(output)
        command = _encode_command(ffmpeg, audio, plan, partial)
        # A fork takes tens of milliseconds, in which the device would be idle. The feeder's thread
        # lives until ffmpeg is gone, as `FfmpegRun` requires.
        self._starting = self._feeder.submit(FfmpegRun, command, partial, output)

    @property
    def _run(self) -> FfmpegRun:
        return self._starting.result()

    @property
    def pid(self) -> int:
        """Process id of ffmpeg."""
        return self._run.pid

    def write(self, frames: NDArray[np.uint8]) -> None:
        """Takes frames `[T, H, W, 3]`, RGB at generation size; the caller must not change them.

        Returns once the frames of the previous call are in the pipe. Raises `RenderFailed` when
        ffmpeg has ended, and `ValueError` for a mistake of the engine: frames of another shape, or
        more than planned.
        """
        width, height = self._plan.generation
        if frames.dtype.name != "uint8" or frames.shape[1:] != (height, width, 3):
            raise ValueError(
                f"{frames.dtype} {frames.shape} does not fit {height}x{width}x3 uint8."
            )
        if self._taken + len(frames) > self._plan.frames:
            raise ValueError(f"More than the planned {self._plan.frames} frames.")
        self.wait_until_fed()
        self._feeding = self._feeder.submit(self._feed, frames)
        self._taken += len(frames)

    def _feed(self, frames: NDArray[np.uint8]) -> None:
        """Blocks while ffmpeg is behind; runs in a thread beside the engine."""
        for frame in frames:
            # A view, not a copy.
            self._run.stdin.write(np.ascontiguousarray(frame).data.cast("B"))

    def wait_until_fed(self) -> None:
        """Returns when all frames are in the pipe. Raises `RenderFailed` if ffmpeg has ended."""
        if self._feeding is None:
            return
        try:
            self._feeding.result()
        except (BrokenPipeError, ValueError) as cause:
            raise self._run.failure("ffmpeg ended before the last frame.") from cause

    def finish(self) -> EncodedVideo:
        """Waits until the file is complete, checks its frame count and gives it its name.

        Raises `RenderFailed` if frames are missing or ffmpeg reports a failure.
        """
        if self._taken != self._plan.frames:
            raise self._run.failure(f"{self._taken} of {self._plan.frames} frames were rendered.")
        self.wait_until_fed()
        self._run.finish(self._plan.frames)
        return _encoded(self._output, self._plan)

    def close(self) -> None:
        """Kills ffmpeg if it runs and removes an unfinished file. Twice is fine."""
        with contextlib.suppress(OSError):
            self._run.kill()
        self._feeder.shutdown()
        with contextlib.suppress(OSError):
            self._run.close()


def join(
    pieces: Sequence[Path], audio: Path, plan: Plan, output: Path, *, ffmpeg: Path
) -> EncodedVideo:
    """Joins silent pieces and adds the audio; the pictures are copied without re-encoding.

    Raises `RenderFailed` if ffmpeg fails or the pieces are not as long as the plan.
    """
    names = output.with_name(f"{output.name}.pieces")
    names.write_text("".join(f"file '{piece.resolve()}'\n" for piece in pieces))
    partial = _partial(output)
    run = FfmpegRun(_join_command(ffmpeg, names, audio, partial), partial, output)
    try:
        run.finish(plan.frames)
    finally:
        run.close()
        names.unlink()
    return _encoded(output, plan)


def _partial(output: Path) -> Path:
    return output.with_name(f"{output.name}.part")


def _encoded(output: Path, plan: Plan) -> EncodedVideo:
    width, height = plan.delivery
    return EncodedVideo(output, width, height, plan.frames, output.stat().st_size)


def _filters(plan: Plan) -> str:
    """Scales to cover the delivery size and crops the rest: a face is never stretched.

    Generation sizes are multiples of 16, so their aspect can be off by a few percent (832x480).
    """
    width, height = plan.delivery
    scale = f"scale={width}:{height}:force_original_aspect_ratio=increase:flags=lanczos"
    return f"{scale}:out_color_matrix=bt709:out_range=tv,crop={width}:{height},setsar=1"


# Every output option is explicit: defaults change between versions.

_AUDIO_OPTIONS: Final = (
    # For a short, small video the default AAC coder takes as long as everything else together.
    *("-c:a", "aac", "-aac_coder", "fast", "-ar", str(AUDIO_RATE_HZ), "-b:a", _AUDIO_BITRATE),
)
_FILE_OPTIONS: Final = ("-map_metadata", "-1", "-movflags", "+faststart", "-f", "mp4")


def _encode_command(ffmpeg: Path, audio: Path | None, plan: Plan, output: Path) -> list[str]:
    keys = key_frames(plan.chunks)
    gops = [after - before for before, after in pairwise([*keys, plan.frames])]
    sound_in = () if audio is None else ("-i", str(audio))
    # A picture this small is encoded before more threads have started.
    threads = ("-threads", "1") if plan.delivery.width * plan.delivery.height < 1 << 16 else ()
    sound_out = () if audio is None else ("-map", "1:a:0", *_AUDIO_OPTIONS)
    return [
        *(str(ffmpeg), *COMMON_OPTIONS),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-framerate", str(FPS)),
        *("-video_size", f"{plan.generation.width}x{plan.generation.height}", "-i", "pipe:0"),
        *(*sound_in, "-map", "0:v:0"),
        # HD players assume BT.709: untagged or BT.601 video would shift skin tones.
        *("-vf", _filters(plan)),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        # A constant quantizer: with a rate, each key frame gets another one, and a still background
        # visibly jumps by a level or two at each join of chunks.
        *("-c:v", "libx264", "-preset", "veryfast", "-qp", "18", "-pix_fmt", "yuv420p"),
        # Faces against still backgrounds gain nothing from a longer lookahead or a finer search.
        *("-x264-params", "rc-lookahead=10:subme=1:ipratio=1.3"),
        # Key frames only where chunks begin, and no frame refers across them: pieces can be cut and
        # joined there without re-encoding.
        *("-force_key_frames", ",".join(f"{key / FPS:.2f}" for key in keys), "-forced-idr", "1"),
        *("-sc_threshold", "0", "-flags", "+cgop", "-g", str(max(gops)), "-fps_mode", "cfr"),
        *(*threads, *sound_out, *_FILE_OPTIONS, str(output)),
    ]


def _join_command(ffmpeg: Path, names: Path, audio: Path, output: Path) -> list[str]:
    return [
        *(str(ffmpeg), *COMMON_OPTIONS),
        *("-f", "concat", "-safe", "0", "-i", str(names), "-i", str(audio)),
        *("-map", "0:v:0", "-c:v", "copy", "-map", "1:a:0", *_AUDIO_OPTIONS),
        *(*_FILE_OPTIONS, str(output)),
    ]


def key_frames(chunks: Sequence[int]) -> list[int]:
    """The frames at which groups of pictures begin: starts of chunks, not too close together."""
    keys = [0]
    for start in accumulate(chunks[:-1]):
        if start - keys[-1] >= _LEAST_GOP_FRAMES:
            keys.append(start)
    return keys
