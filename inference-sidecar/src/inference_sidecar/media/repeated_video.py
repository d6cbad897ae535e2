"""Delivers an earlier video again, so that a benchmark does not measure the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference_sidecar.engines.engine import Chunk, Plan
from inference_sidecar.foundation.closed_at_exit import ClosedAtExit
from inference_sidecar.media.ffmpeg_run import EncodedVideo


@dataclass(frozen=True)
class PreparedVideo:
    """The last video whose plan allowed to repeat it."""

    plan: Plan
    content: bytes

    def fits(self, plan: Plan) -> bool:
        """Whether it may stand for the video of this plan, which is as long and as large."""
        return (
            plan.may_repeat
            and self.plan.delivery == plan.delivery
            and self.plan.chunks == plan.chunks
        )


class RepeatedVideo(ClosedAtExit):
    """Takes the chunks of a plan like an encoder, and writes the prepared video instead."""

    def __init__(self, prepared: PreparedVideo, output: Path) -> None:
        self._prepared = prepared
        self._output = output

    def write(self, chunk: Chunk) -> None:
        """Drops the chunk."""

    def finish(self) -> EncodedVideo:
        """Writes the file."""
        plan, content = self._prepared.plan, self._prepared.content
        self._output.write_bytes(content)
        return EncodedVideo(self._output, *plan.delivery, plan.frames, len(content))

    def close(self) -> None:
        """Nothing runs."""
