"""A long video, encoded in pieces that survive the process."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from itertools import accumulate, pairwise, starmap
from pathlib import Path

from inference_sidecar.engines.engine import Chunk, Plan
from inference_sidecar.foundation.closed_at_exit import ClosedAtExit
from inference_sidecar.media.encoder import Encoder, join, key_frames
from inference_sidecar.media.ffmpeg_run import EncodedVideo


def pieces_of(chunks: tuple[int, ...]) -> tuple[range, ...]:
    """The chunks of each piece; they follow from the plan alone.

    A piece is a group of pictures: it must begin with a key frame, and more of those are visible.
    """
    starts = list(accumulate(chunks, initial=0))
    firsts = [starts.index(frame) for frame in key_frames(chunks)]
    return tuple(starmap(range, pairwise([*firsts, len(chunks)])))


@dataclass(eq=False)
class PiecewiseEncoder(ClosedAtExit):
    """Encodes the chunks of a plan in order, and joins the finished pieces without re-encoding.

    The same frames give the same video, interrupted or not, because each piece is encoded by
    itself. A video of one piece is encoded as a whole. Leaving the context without `finish` kills
    what runs; finished pieces stay. Call everything but `finish` in the thread of the render.

    first_chunk: the first of a piece; earlier pieces are already in `folder`. on_kept: called from
    another thread with the next chunk and the state that it needs, once everything before it is
    safe on disk.
    """

    output: Path
    audio: Path
    plan: Plan
    _: KW_ONLY
    ffmpeg: Path
    folder: Path
    first_chunk: int
    on_kept: Callable[[int, bytes], None]

    def __post_init__(self) -> None:
        self._pieces = pieces_of(self.plan.chunks)
        self._encoder: Encoder | None = None
        self._last: Encoder | None = None
        self._sealing: threading.Thread | None = None
        self._trouble: Exception | None = None
        if self.first_chunk == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            self._open(self._pieces[0])

    def write(self, chunk: Chunk) -> None:
        """Appends a chunk. Raises what `Encoder.write` raises, and what an earlier piece raised."""
        piece = next(piece for piece in self._pieces if chunk.index in piece)
        if self._last is not None:
            # As within a piece, no third chunk of frames is held in memory.
            self._last.wait_until_fed()
        encoder = self._encoder or self._open(piece)
        encoder.write(chunk.frames)
        if chunk.index == piece[-1] and len(self._pieces) > 1:
            self._wait_sealed()
            self._encoder, self._last = None, encoder
            self._sealing = threading.Thread(
                target=self._seal, args=(encoder, chunk.index + 1, chunk.state)
            )
            self._sealing.start()

    def finish(self) -> EncodedVideo:
        """Returns the complete video. Raises `RenderFailed`."""
        self._wait_sealed()
        if self._encoder is not None:
            return self._encoder.finish()
        files = [self._file(piece) for piece in self._pieces]
        return join(files, self.audio, self.plan, self.output, ffmpeg=self.ffmpeg)

    def close(self) -> None:
        """Kills what runs. Twice is fine."""
        if self._encoder is not None:
            self._encoder.close()
        if self._sealing is not None:
            self._sealing.join()

    def _open(self, piece: range) -> Encoder:
        if len(self._pieces) == 1:
            encoder = Encoder(self.output, self.audio, self.plan, ffmpeg=self.ffmpeg)
        else:
            plan = replace(self.plan, chunks=self.plan.chunks[piece.start : piece.stop])
            encoder = Encoder(self._file(piece), None, plan, ffmpeg=self.ffmpeg)
        self._encoder = encoder
        return encoder

    def _file(self, piece: range) -> Path:
        return self.folder / f"{piece.start:05}.mp4"

    def _seal(self, encoder: Encoder, next_chunk: int, state: bytes) -> None:
        """Runs beside the render, which must not wait for the last frames of a piece."""
        try:
            with encoder:
                encoder.finish()
            self.on_kept(next_chunk, state)
        except Exception as error:  # noqa: BLE001 - raised again in the thread of the render
            self._trouble = error

    def _wait_sealed(self) -> None:
        if self._sealing is not None:
            self._sealing.join()
        if self._trouble is not None:
            raise self._trouble
