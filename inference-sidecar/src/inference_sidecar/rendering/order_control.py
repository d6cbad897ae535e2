"""Stops one order and reports its progress, while an engine renders it."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import Final

from inference_sidecar.foundation.errors import Cancelled
from inference_sidecar.rendering.render_protocol import KeptLine, Lines, ProgressLine, StartedLine
from inference_sidecar.rendering.stages import ToldStages

_PROGRESS_EVERY_SECONDS: Final = 0.1


class OrderControl:
    """One order's `Control`; progress is reported at most every 0.1 s."""

    def __init__(self, lines: Lines, order: int, *, are_stages_wanted: bool = True) -> None:
        self._lines = lines
        self._order = order
        self._is_stopped = threading.Event()
        self._is_started = False
        self._reported_at = 0.0
        self._stages = ToldStages(lines, order, are_wanted=are_stages_wanted)
        self._fraction = 0.0
        self.estimated_seconds = 0.0
        self.started_at_ms: int | None = None

    def resume_from(self, fraction: float) -> None:
        """An earlier process has already done this fraction."""
        self._fraction = fraction

    def stop(self) -> None:
        """Ends the render at its next check; called from another thread."""
        self._is_stopped.set()

    def check(self) -> None:
        """See `Control.check`. The first call means that the first forward pass begins."""
        if self._is_stopped.is_set():
            raise Cancelled
        if self._is_started:
            return
        self._is_started = True
        now = self.now_ms()
        self.started_at_ms = self.started_at_ms or now
        self._lines.send(
            StartedLine(
                order=self._order,
                at_ms=now,
                estimated_seconds=self.estimated_seconds,
                fraction=self._fraction,
            )
        )

    def progress(self, fraction: float) -> None:
        """See `Control.progress`. A second try at a smaller size does not let the fraction fall."""
        self._fraction = max(self._fraction, fraction)
        now = time.monotonic()
        if now - self._reported_at >= _PROGRESS_EVERY_SECONDS:
            self._reported_at = now
            self._lines.send(ProgressLine(order=self._order, fraction=self._fraction))

    def stage(self, name: str, **counts: int) -> AbstractContextManager[None]:
        """See `Stages.stage`; called from another thread for what comes after the last frame."""
        return self._stages.stage(name, **counts)

    def kept(self, chunks: int) -> None:
        """This many chunks are safe on disk; called from another thread."""
        self._lines.send(KeptLine(order=self._order, chunks=chunks))

    def now_ms(self) -> int:
        """Milliseconds since 1970. A clock that is set during the render changes nothing."""
        return self._stages.now_ns() // 1_000_000
