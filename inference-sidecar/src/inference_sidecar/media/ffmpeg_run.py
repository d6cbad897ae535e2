"""One run of ffmpeg that writes one video: how it ended, what it counted, what it said last."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from inference_sidecar.foundation.errors import RenderFailed
from inference_sidecar.foundation.process_death import die_with_parent

COMMON_OPTIONS: Final = (
    *("-nostdin", "-hide_banner", "-loglevel", "error", "-y"),
    # One report at the end is enough; `pipe:1` is a file of ours.
    *("-progress", "pipe:1", "-stats_period", "3600"),
)
_PIPE_BYTES: Final = 1 << 20
"""The most an ordinary user may ask for: a frame in 3 turns of the scheduler instead of 43."""
_LOG_TAIL_CHARACTERS: Final = 2_000


class FfmpegRun:
    """Made by starting ffmpeg; the file appears under its name only when it is whole.

    Whole for other processes: what must outlive the machine is synced where it is spooled.

    Start it in a thread that lives as long as the run: on Linux ffmpeg is killed when the thread
    that started it ends.
    """

    def __init__(self, command: Sequence[str], partial: Path, output: Path) -> None:
        """command: writes to `partial`, which is renamed to `output` when all is well."""
        self._partial = partial
        self._output = output
        self._last_words = ""
        # Files instead of pipes: nobody has to drain them, and ffmpeg can never block on them.
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._progress: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=self._progress,
                stderr=self._log,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - only async-signal-safe calls inside
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
        """Where frames go, if the command reads any."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - narrows the type; it was opened as a pipe
        return stdin

    def finish(self, expected_frames: int) -> None:
        """Waits for the file to be whole and gives it its name.

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
        """An error that carries what ffmpeg said last."""
        return RenderFailed(message, context={"exitStatus": self.kill(), "ffmpeg": self._said()})

    def kill(self) -> int:
        """Ends ffmpeg if it runs; its exit status. With it gone, whoever writes to it is done."""
        if self._process.poll() is None:
            self._process.kill()
        return self._process.wait()

    def close(self) -> None:
        """Kills ffmpeg if it runs and removes an unfinished file. Twice is fine."""
        self.kill()
        # What fails here is the rest of a buffer that nobody wants any more.
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        # Whoever fed it may ask only now what went wrong.
        self._last_words = self._said()
        self._log.close()
        self._progress.close()
        self._partial.unlink(missing_ok=True)

    def _said(self) -> str:
        """The end of what ffmpeg logged."""
        if self._log.closed:
            return self._last_words
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-_LOG_TAIL_CHARACTERS:]

    def _counted_frames(self) -> int:
        """Frames in the file, from ffmpeg's own final count."""
        self._progress.seek(0)
        counts = [line for line in self._progress.read().split(b"\n") if line.startswith(b"frame=")]
        return int(counts[-1].partition(b"=")[2]) if counts else 0
