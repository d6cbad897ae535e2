"""What one worker has in its hands, from the claim to the last word about it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from inference_sidecar.foundation.contracts import HeldJob as HeldJobInBeat
from inference_sidecar.foundation.contracts import RenderOrder
from inference_sidecar.store.spool import SpooledRender

Stage = Literal["fetching", "ready", "rendering", "spooled", "uploading", "uploaded"]


@dataclass(frozen=True)
class AttemptName:
    """Which attempt of which job; stands on everything that is said of it."""

    job_id: str
    owner: str
    epoch: int
    traceparent: str


@dataclass
class HeldJob:
    """A claimed job until it is spooled.

    ending: why the attempt ends early; `stopped` by the orchestrator, or `drained` by our own end.
    is_rendered: the video is whole, so only a stop may end the attempt.
    """

    name: AttemptName
    order: RenderOrder
    stage: Stage = "fetching"
    percent: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    folder: Path | None = None
    ending: Literal["stopped", "drained"] | None = None
    is_rendered: bool = False
    is_over: bool = False
    task: asyncio.Task[None] | None = None

    def end(self, why: Literal["stopped", "drained"]) -> None:
        """Ends the attempt at its next await, unless it is over or only has to be spooled."""
        if self.is_over or self.ending is not None:
            return
        self.ending = why
        if self.task is not None and not self.is_rendered:
            self.task.cancel()

    def start_clock(self) -> None:
        """The first forward begins."""
        self.stage, self.started_at = "rendering", time.monotonic()

    def stop_clock(self) -> None:
        """The render has ended, in whatever way."""
        self.ended_at = time.monotonic()

    def in_beat(self) -> HeldJobInBeat:
        """What a beat says of it."""
        seconds = 0.0
        if self.started_at is not None:
            seconds = (self.ended_at or time.monotonic()) - self.started_at
        return _in_beat(self.name, self.stage, self.percent, seconds, self.order.deadline_seconds)


@dataclass
class SpooledJob:
    """Rendered, on its way into the store.

    is_reported: the broker has its `render.completed`, since reported_at of the monotonic clock.
    """

    render: SpooledRender
    stage: Stage = "spooled"
    is_reported: bool = False
    reported_at: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> AttemptName:
        """Which attempt it is."""
        render = self.render
        return AttemptName(render.job_id, render.owner, render.epoch, render.traceparent)

    def in_beat(self) -> HeldJobInBeat:
        """What a beat says of it."""
        seconds = self.render.rendered.render_seconds
        return _in_beat(self.name, self.stage, 100.0, seconds, self.render.deadline_seconds)


def _in_beat(
    name: AttemptName, stage: Stage, percent: float, seconds: float, deadline_seconds: float
) -> HeldJobInBeat:
    return HeldJobInBeat(
        job_id=name.job_id,
        owner=name.owner,
        epoch=name.epoch,
        stage=stage,
        percent=percent,
        rendered_for_seconds=seconds,
        deadline_seconds=deadline_seconds,
    )
