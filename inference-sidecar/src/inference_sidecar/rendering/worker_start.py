"""One start of a render process: its stages, as heartbeats and spans tell them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Literal

from inference_sidecar.foundation.contracts import (
    SPAN_CALIBRATE,
    SPAN_ENGINE,
    SPAN_SPAWN,
    SPAN_WEIGHTS,
    Loading,
    StartStage,
)

StageName = Literal["spawn", "weights", "engine", "calibrate"]

_NAMES: Final = (SPAN_SPAWN, SPAN_WEIGHTS, SPAN_ENGINE, SPAN_CALIBRATE)


@dataclass
class TimedStage:
    """A stage of a start. end_ns: None while it goes on. error: what cut it."""

    name: StageName
    start_ns: int
    end_ns: int | None = None
    error: str | None = None


class WorkerStart:
    """Begins with `spawn`: a process starts, and imports its engine, until that says a word.

    error: why it failed; None while it goes on and when it did not. loading: how much of the
    engine is read, as far as it tells.
    """

    def __init__(self) -> None:
        self.start_ns = time.time_ns()
        self.end_ns: int | None = None
        self.error: str | None = None
        self.loading: Loading | None = None
        self.stages = [TimedStage("spawn", self.start_ns)]

    def begin(self, name: str, start_ns: int) -> None:
        """A stage begins, and ends whatever went on. Unknown names are ignored."""
        self._end_stage(start_ns)
        if name in _NAMES:
            self.stages.append(TimedStage(name, start_ns))

    def end(self, name: str, end_ns: int, error: str | None) -> None:
        """A stage has ended."""
        if self.stages[-1].name == name:
            self._end_stage(end_ns, error)

    def finish(self, error: str | None = None) -> None:
        """The engine is loaded, or will not be."""
        self.end_ns, self.error = time.time_ns(), error
        self._end_stage(self.end_ns, error)

    @property
    def lasted_ms(self) -> int:
        """From the start of the process until it was over."""
        return round(((self.end_ns or self.start_ns) - self.start_ns) / 1e6)

    def current(self) -> StartStage | None:
        """The stage that it has reached, and the seconds in it so far; None once it is over."""
        if self.end_ns is not None:
            return None
        stage = self.stages[-1]
        return StartStage(stage=stage.name, seconds=_seconds(time.time_ns() - stage.start_ns))

    def told(self) -> list[StartStage] | None:
        """The seconds of each stage and of all of it; None unless it has succeeded."""
        if self.end_ns is None or self.error is not None:
            return None
        sums: dict[StageName, int] = {}
        for stage in self.stages:
            lasted_ns = (stage.end_ns or stage.start_ns) - stage.start_ns
            sums[stage.name] = sums.get(stage.name, 0) + lasted_ns
        stages = [StartStage(stage=name, seconds=_seconds(ns)) for name, ns in sums.items()]
        total = StartStage(stage="total", seconds=_seconds(self.end_ns - self.start_ns))
        return [*stages, total]

    def _end_stage(self, end_ns: int, error: str | None = None) -> None:
        stage = self.stages[-1]
        if stage.end_ns is None:
            stage.end_ns, stage.error = max(stage.start_ns, end_ns), error


def _seconds(nanoseconds: int) -> float:
    return round(max(0, nanoseconds) / 1e9, 3)
