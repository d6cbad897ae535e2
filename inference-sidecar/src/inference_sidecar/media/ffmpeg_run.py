"""One run of ffmpeg that writes one video: its exit status, frame count and last log lines."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from inference_sidecar.foundation.errors import RenderFailed
from inference_sidecar.foundation.process_death import dying_with_us

COMMON_OPTIONS: Final = (
    *("-nostdin", "-hide_banner", "-loglevel", "error", "-y"),
    # One report at the end is enough; `pipe:1` is redirected to a file.
    *("-progress", "pipe:1", "-stats_period", "3600"),
)
_PIPE_BYTES: Final = 1 << 20
"""The most that an unprivileged user may set: a frame takes 3 context switches instead of 43."""
_LOG_TAIL_CHARACTERS: Final = 2_000


@dataclass(frozen=True)
class EncodedVideo:
    """The file that was written, by ffmpeg's own count."""

    path: Path
    width: int
    height: int
    frames: int
    bytes: int


class FfmpegRun:
    """Starts ffmpeg when it is made; the file gets its name only when it is complete.

    The file is not synced to disk; the spool does that. Make it in a thread that lives as long as
    the run: on Linux ffmpeg is killed when the thread that started it ends.
    """

    def __init__(self, command: Sequence[str], partial: Path, output: Path) -> None:
        """command: writes `partial`, which is renamed to `output` when it is complete."""
        self._partial = partial
        self._output = output
        self._final_log = ""
        # Files instead of pipes: they need no reader, and ffmpeg can never block on them.
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._progress: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        try:
            self._process = subprocess.Popen(
                dying_with_us(command),
                stdin=subprocess.PIPE,
                stdout=self._progress,
                stderr=self._log,
                process_group=0,
                pipesize=_PIPE_BYTES,
            )
        except OSError:
            self._log.close()
            self._progress.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of ffmpeg."""
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        """Takes the frames, if the command reads any."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - narrows the type; it was opened as a pipe
        return stdin

    def finish(self, expected_frames: int) -> None:
        """Waits until the file is complete and gives it its name.

        Raises `RenderFailed` if ffmpeg reports a failure or wrote another number of frames.
        """
        try:
            self.stdin.close()
        except BrokenPipeError as cause:
            raise self.failure("ffmpeg ended before the last frame.") from cause
        if self._process.wait() != 0:
            raise self.failure("ffmpeg failed.")
        frames = self._counted_frames()
        if frames != expected_frames:
            raise self.failure(f"ffmpeg wrote {frames} of {expected_frames} frames.")
        self._partial.replace(self._output)

    def failure(self, message: str) -> RenderFailed:
        """An error that carries the end of ffmpeg's log."""
        return RenderFailed(message, context={"exitStatus": self.kill(), "ffmpeg": self._log_end()})

    def kill(self) -> int:
        """Ends ffmpeg if it runs, which unblocks whoever writes to it; returns its exit status."""
        if self._process.poll() is None:
            self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        """Kills ffmpeg if it runs and removes an unfinished file. Twice is fine."""
        self.kill()
        # This flushes a buffer that nobody needs any more.
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        # Whoever fed it may still ask what went wrong.
        self._final_log = self._log_end()
        self._log.close()
        self._progress.close()
        self._partial.unlink(missing_ok=True)

    def _log_end(self) -> str:
        """The end of ffmpeg's log."""
        if self._log.closed:
            return self._final_log
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-_LOG_TAIL_CHARACTERS:]

    def _counted_frames(self) -> int:
        """The frames in the file, by ffmpeg's own final count."""
        self._progress.seek(0)
        counts = [line for line in self._progress.read().split(b"\n") if line.startswith(b"frame=")]
        return int(counts[-1].partition(b"=")[2]) if counts else 0
