"""Frames in, a finished MP4 out: H.264 and the customer's own audio as AAC, by one ffmpeg process.

Nothing is collected: while one run of frames goes down the pipe the next may be drawn, and no third
one is taken, so memory does not grow with the length. The file appears under its name only when it
is whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import numpy as np
from numpy.typing import NDArray

from inference_sidecar.engine import FPS, Plan
from inference_sidecar.errors import RenderFailed
from inference_sidecar.process_death import die_with_parent

AUDIO_RATE_HZ: Final = 48_000
_AUDIO_BITRATE: Final = "160k"
_PIPE_BYTES: Final = 1 << 20
"""The most an ordinary user may ask for: a frame in 3 turns of the scheduler instead of 43."""
_LEAST_GOP_FRAMES: Final = 240
"""Key frames are what one sees of an encoder: at each of them skin jumps by a grain."""
_LOG_TAIL_CHARACTERS: Final = 2_000


@dataclass(frozen=True)
class EncodedVideo:
    """What was written, as ffmpeg counted it."""

    path: Path
    width: int
    height: int
    frames: int
    bytes: int

    @property
    def seconds(self) -> float:
        """Length of the picture."""
        return self.frames / FPS


def find_ffmpeg(configured: str | None = None) -> Path:
    """The ffmpeg to run: the configured one, else that of `imageio-ffmpeg`, else the system's.

    Raises `FileNotFoundError` when there is none.
    """
    if configured:
        found = shutil.which(configured)
        if found is None:
            raise FileNotFoundError(f"FFMPEG_PATH names no program: {configured}")
        return Path(found)
    try:
        # Optional at run time: with FFMPEG_PATH set the package need not be installed.
        from imageio_ffmpeg import get_ffmpeg_exe  # noqa: PLC0415

        return Path(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
        if found is None:
            raise FileNotFoundError("No ffmpeg: set FFMPEG_PATH.") from None
        return Path(found)


class Encoder:
    """One video being written. A context manager: leaving it without `finish` removes every trace.

    Start it in the thread that lives as long as the render: on Linux ffmpeg is killed when the
    thread that started it ends.
    """

    def __init__(self, output: Path, audio: Path, plan: Plan, *, ffmpeg: Path) -> None:
        """Starts ffmpeg.

        output: where the MP4 will be; its folder exists. audio: any file ffmpeg can decode.
        plan: sizes and chunks; a closed group of pictures is a chunk, or a few short ones.
        """
        self._output = output
        self._partial = output.with_name(f"{output.name}.part")
        self._plan = plan
        self._taken = 0
        self._feeder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._feeding: Future[None] | None = None
        # Files instead of pipes: nobody has to drain them, and ffmpeg can never block on them.
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._progress: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            _command(ffmpeg, audio, plan, self._partial),
            stdin=subprocess.PIPE,
            stdout=self._progress,
            stderr=self._log,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - only async-signal-safe calls inside
            process_group=0,
            pipesize=_PIPE_BYTES,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of ffmpeg."""
        return self._process.pid

    def write(self, frames: NDArray[np.uint8]) -> None:
        """Takes frames `[T, H, W, 3]`, RGB at generation size, which must not change any more.

        Returns once the frames of the call before are in the pipe. Raises `RenderFailed` when
        ffmpeg has ended, and `ValueError` for frames of another shape or more of them than planned:
        both are mistakes of the engine.
        """
        width, height = self._plan.generation
        if frames.dtype.name != "uint8" or frames.shape[1:] != (height, width, 3):
            raise ValueError(
                f"{frames.dtype} {frames.shape} does not fit {height}x{width}x3 uint8."
            )
        if self._taken + len(frames) > self._plan.frames:
            raise ValueError(f"More than the planned {self._plan.frames} frames.")
        self._wait_until_fed()
        self._feeding = self._feeder.submit(self._feed, frames)
        self._taken += len(frames)

    def _feed(self, frames: NDArray[np.uint8]) -> None:
        """Blocks while ffmpeg is behind. Runs beside the engine: both cores have work."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - narrows the type; it was opened as a pipe
        for frame in frames:
            # A view, not a copy: it goes to the pipe as it lies in memory.
            stdin.write(np.ascontiguousarray(frame).data.cast("B"))

    def _wait_until_fed(self) -> None:
        """Raises `RenderFailed` if the last frames did not reach ffmpeg."""
        if self._feeding is None:
            return
        try:
            self._feeding.result()
        except (BrokenPipeError, ValueError) as cause:
            raise self._failure("ffmpeg ended before the last frame.") from cause

    def finish(self) -> EncodedVideo:
        """Waits for the file to be whole, checks its frame count and gives it its name.

        Raises `RenderFailed` if frames are missing or ffmpeg reports a failure.
        """
        if self._taken != self._plan.frames:
            raise self._failure(f"{self._taken} of {self._plan.frames} frames were rendered.")
        self._wait_until_fed()
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - narrows the type; it was opened as a pipe
        try:
            stdin.close()
        except BrokenPipeError as cause:
            raise self._failure("ffmpeg ended before the last frame.") from cause
        if self._process.wait() != 0:
            raise self._failure("ffmpeg failed.")
        frames = self._counted_frames()
        if frames != self._plan.frames:
            raise self._failure(f"ffmpeg wrote {frames} of {self._plan.frames} frames.")
        with self._partial.open("rb") as file:
            os.fsync(file.fileno())
        self._partial.replace(self._output)
        width, height = self._plan.delivery
        return EncodedVideo(self._output, width, height, frames, self._output.stat().st_size)

    def close(self) -> None:
        """Kills ffmpeg if it runs and removes an unfinished file. Twice is fine."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        # With ffmpeg gone its pipe is broken: whoever writes to it is done.
        self._feeder.shutdown()
        if self._process.stdin is not None:
            # What fails here is the rest of a buffer that nobody wants any more.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._log.close()
        self._progress.close()
        self._partial.unlink(missing_ok=True)

    def _counted_frames(self) -> int:
        """Frames in the file, from ffmpeg's own final count."""
        self._progress.seek(0)
        counts = [line for line in self._progress.read().split(b"\n") if line.startswith(b"frame=")]
        return int(counts[-1].partition(b"=")[2]) if counts else 0

    def _failure(self, message: str) -> RenderFailed:
        """An error that carries what ffmpeg said last."""
        if self._process.poll() is None:
            self._process.kill()
        status = self._process.wait()
        self._log.seek(0)
        log = self._log.read().decode(errors="replace")[-_LOG_TAIL_CHARACTERS:]
        return RenderFailed(message, context={"exitStatus": status, "ffmpeg": log})


def _filters(plan: Plan) -> str:
    """Scales to cover the delivery size and cuts what sticks out: a face is never stretched.

    Generation sizes are multiples of 16, so their aspect can be off by a few percent (832x480).
    """
    width, height = plan.delivery
    scale = f"scale={width}:{height}:force_original_aspect_ratio=increase:flags=lanczos"
    return f"{scale}:out_color_matrix=bt709:out_range=tv,crop={width}:{height},setsar=1"


def _command(ffmpeg: Path, audio: Path, plan: Plan, output: Path) -> list[str]:
    """The ffmpeg call. Every output option is explicit: defaults change between versions."""
    keys = _key_frames(plan.chunks)
    gops = [after - before for before, after in pairwise([*keys, plan.frames])]
    return [
        *(str(ffmpeg), "-nostdin", "-hide_banner", "-loglevel", "error", "-y"),
        # One report at the end is enough; `pipe:1` is a file of ours.
        *("-progress", "pipe:1", "-stats_period", "3600"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-framerate", str(FPS)),
        *("-video_size", f"{plan.generation.width}x{plan.generation.height}", "-i", "pipe:0"),
        *("-i", str(audio), "-map", "0:v:0", "-map", "1:a:0", "-map_metadata", "-1"),
        # HD players assume BT.709; untagged or BT.601 video would shift skin tones.
        *("-vf", _filters(plan)),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        # One quantizer for all, not a rate: that gives each key frame another one, and then a still
        # background jumps by a level or two at each join of chunks, once a second and visibly.
        *("-c:v", "libx264", "-preset", "veryfast", "-qp", "18", "-pix_fmt", "yuv420p"),
        # Faces against still backgrounds gain nothing from a longer look ahead or finer search.
        *("-x264-params", "rc-lookahead=10:subme=1:ipratio=1.3"),
        # Key frames there and nowhere else, and no frame refers across them: what lies between two
        # can be cut and joined without encoding it again.
        *("-force_key_frames", ",".join(f"{key / FPS:.2f}" for key in keys), "-forced-idr", "1"),
        *("-sc_threshold", "0", "-flags", "+cgop", "-g", str(max(gops)), "-fps_mode", "cfr"),
        # The other AAC coder takes as long as all of the rest of a short, small video.
        *("-c:a", "aac", "-aac_coder", "fast", "-ar", str(AUDIO_RATE_HZ), "-b:a", _AUDIO_BITRATE),
        *("-movflags", "+faststart", "-f", "mp4", str(output)),
    ]


def _key_frames(chunks: Sequence[int]) -> list[int]:
    """The frames at which groups of pictures begin: starts of chunks, not too close together."""
    keys = [0]
    for start in accumulate(chunks[:-1]):
        if start - keys[-1] >= _LEAST_GOP_FRAMES:
            keys.append(start)
    return keys
