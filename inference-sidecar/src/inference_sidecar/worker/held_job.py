"""The jobs that a worker holds, from the claim to the last report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from inference_sidecar.foundation.contracts import HeldJob as HeldJobInHeartbeat
from inference_sidecar.foundation.contracts import RenderOrder
from inference_sidecar.foundation.trace import trace_id_of
from inference_sidecar.rendering.render_progress import RenderProgress
from inference_sidecar.store.spool import SpooledRender
from inference_sidecar.telemetry.spans import SpanParent, Spans

Stage = Literal["fetching", "ready", "rendering", "spooled", "uploading", "uploaded"]


@dataclass(frozen=True)
class AttemptName:
    """Which attempt of which job; part of every report about it.

    traceparent: names the span of the attempt, below which everything hangs.
    """

    job_id: str
    owner: str
    epoch: int
    traceparent: str

    @property
    def log_keys(self) -> dict[str, str | int]:
        """What every log line about it carries."""
        trace_id = trace_id_of(self.traceparent)
        return {"jobId": self.job_id, "attempt": self.epoch, "traceId": trace_id}

    def below(self, spans: Spans) -> SpanParent:
        """What the spans of this attempt hang below."""
        return spans.attempt(self.traceparent, self.job_id, self.epoch)


@dataclass
class HeldJob:
    """A claimed job until it is spooled.

    ending: why the attempt ends early: `stopped` by the orchestrator, or `drained` because this
    worker ends. is_rendered: the video is complete, so only a stop may still end the attempt.
    is_begun: its task runs; one that is cancelled before would report nothing. is_over: its
    outcome is being reported, which nothing may interrupt.
    """

    name: AttemptName
    order: RenderOrder
    progress: RenderProgress = field(default_factory=RenderProgress)
    stage: Stage = "fetching"
    percent: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    folder: Path | None = None
    ending: Literal["stopped", "drained"] | None = None
    is_rendered: bool = False
    is_begun: bool = False
    is_over: bool = False
    task: asyncio.Task[None] | None = None

    def end(self, why: Literal["stopped", "drained"]) -> None:
        """Ends the attempt at its next await, unless it is over or needs only to be spooled."""
        if self.is_over or self.ending is not None:
            return
        self.ending = why
        if self.task is not None and self.is_begun and not self.is_rendered:
            self.task.cancel()

    def start_clock(self) -> None:
        """Called when the first forward pass begins."""
        self.stage, self.started_at = "rendering", time.monotonic()

    def stop_clock(self) -> None:
        """Called when the render has ended, in whatever way."""
        self.ended_at = time.monotonic()

    @property
    def is_waiting(self) -> bool:
        """Whether its first forward pass is still to come."""
        return self.stage in {"fetching", "ready"}

    @property
    def rendered_for_seconds(self) -> float:
        """Since the first forward pass, until the render's end."""
        if self.started_at is None:
            return 0.0
        return (self.ended_at or time.monotonic()) - self.started_at

    @property
    def may_render_seconds(self) -> float:
        """How long it may still render, by its deadline."""
        if self.ended_at is not None:
            return 0.0
        return max(0.0, self.order.deadline_seconds - self.rendered_for_seconds)

    def in_heartbeat(self) -> HeldJobInHeartbeat:
        """What a heartbeat says about it."""
        return HeldJobInHeartbeat(
            job_id=self.name.job_id,
            owner=self.name.owner,
            epoch=self.name.epoch,
            stage=self.stage,
            percent=self.percent,
            rendered_for_seconds=self.rendered_for_seconds,
            deadline_seconds=self.order.deadline_seconds,
            gpu_seconds=round(self.progress.gpu_seconds, 3),
            remaining_seconds=self.progress.remaining_seconds(),
        )


def waiting_behind_a_render(jobs: Iterable[HeldJob]) -> list[HeldJob]:
    """Those that wait for the end of another one's render, and may go elsewhere meanwhile.

    A job that waits alone is the next to render, or is being prepared for it.
    """
    held = list(jobs)
    is_rendering = any(not job.is_waiting and job.ended_at is None for job in held)
    return [job for job in held if is_rendering and job.is_waiting and job.ending is None]


@dataclass
class SpooledJob:
    """A rendered job on its way into the store.

    is_reported: the broker has stored its `render.completed`, at reported_at (monotonic clock).
    tries: how often it was sent to the store.
    """

    render: SpooledRender
    stage: Stage = "spooled"
    is_reported: bool = False
    reported_at: float = 0.0
    tries: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> AttemptName:
        """Which attempt it is."""
        render = self.render
        return AttemptName(render.job_id, render.owner, render.epoch, render.traceparent)

    def in_heartbeat(self) -> HeldJobInHeartbeat:
        """What a heartbeat says about it."""
        used = self.render.used
        return HeldJobInHeartbeat(
            job_id=self.name.job_id,
            owner=self.name.owner,
            epoch=self.name.epoch,
            stage=self.stage,
            percent=100.0,
            rendered_for_seconds=self.render.rendered.render_seconds,
            deadline_seconds=self.render.deadline_seconds,
            gpu_seconds=None if used is None else used.gpu_seconds,
            remaining_seconds=0.0,
        )
