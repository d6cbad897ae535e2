"""The jobs that a worker holds, from the claim to the last report."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from inference_sidecar.foundation.contracts import HeldJob as HeldJobInHeartbeat
from inference_sidecar.foundation.contracts import RenderOrder
from inference_sidecar.foundation.trace import trace_id_of
from inference_sidecar.store.spool import SpooledRender

Stage = Literal["fetching", "ready", "rendering", "spooled", "uploading", "uploaded"]


@dataclass(frozen=True)
class AttemptName:
    """Which attempt of which job; part of every report about it."""

    job_id: str
    owner: str
    epoch: int
    traceparent: str

    @property
    def log_keys(self) -> dict[str, str | int]:
        """What every log line about it carries."""
        trace_id = trace_id_of(self.traceparent)
        return {"jobId": self.job_id, "attempt": self.epoch, "traceId": trace_id}


@dataclass
class HeldJob:
    """A claimed job until it is spooled.

    ending: why the attempt ends early: `stopped` by the orchestrator, or `drained` because this
    worker ends. is_rendered: the video is complete, so only a stop may still end the attempt.
    is_over: its outcome is being reported, which nothing may interrupt.
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
        """Ends the attempt at its next await, unless it is over or needs only to be spooled."""
        if self.is_over or self.ending is not None:
            return
        self.ending = why
        if self.task is not None and not self.is_rendered:
            self.task.cancel()

    def start_clock(self) -> None:
        """Called when the first forward pass begins."""
        self.stage, self.started_at = "rendering", time.monotonic()

    def stop_clock(self) -> None:
        """Called when the render has ended, in whatever way."""
        self.ended_at = time.monotonic()

    def in_heartbeat(self) -> HeldJobInHeartbeat:
        """What a heartbeat says about it."""
        seconds = 0.0
        if self.started_at is not None:
            seconds = (self.ended_at or time.monotonic()) - self.started_at
        return _in_heartbeat(
            self.name, self.stage, self.percent, seconds, self.order.deadline_seconds
        )


@dataclass
class SpooledJob:
    """A rendered job on its way into the store.

    is_reported: the broker has stored its `render.completed`, at reported_at (monotonic clock).
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

    def in_heartbeat(self) -> HeldJobInHeartbeat:
        """What a heartbeat says about it."""
        seconds = self.render.rendered.render_seconds
        return _in_heartbeat(self.name, self.stage, 100.0, seconds, self.render.deadline_seconds)


def _in_heartbeat(
    name: AttemptName, stage: Stage, percent: float, seconds: float, deadline_seconds: float
) -> HeldJobInHeartbeat:
    return HeldJobInHeartbeat(
        job_id=name.job_id,
        owner=name.owner,
        epoch=name.epoch,
        stage=stage,
        percent=percent,
        rendered_for_seconds=seconds,
        deadline_seconds=deadline_seconds,
    )
