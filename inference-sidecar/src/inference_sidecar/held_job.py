"""One job in this worker's hands, from the claim to its last word."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal

from inference_sidecar.contracts import HeldJob as HeldJobInBeat
from inference_sidecar.contracts import RenderOrder
from inference_sidecar.spool import SpooledRender

Stage = Literal["fetching", "ready", "rendering", "spooled", "uploading", "uploaded"]


@dataclass
class HeldJob:
    """Before it is spooled: the order, and how far it is."""

    job_id: str
    owner: str
    epoch: int
    order: RenderOrder
    traceparent: str
    stage: Stage = "fetching"
    percent: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def in_beat(self) -> HeldJobInBeat:
        """What a beat says of it. The clock stands still when the render has ended."""
        end = self.ended_at or time.monotonic()
        seconds = 0.0 if self.started_at is None else end - self.started_at
        return _in_beat(
            self.job_id,
            self.owner,
            self.epoch,
            self.stage,
            self.percent,
            seconds,
            self.order.deadline_seconds,
        )


@dataclass
class SpooledJob:
    """Rendered, on its way into the store."""

    render: SpooledRender
    stage: Stage = "spooled"
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def in_beat(self) -> HeldJobInBeat:
        """What a beat says of it."""
        render = self.render
        seconds = render.rendered.render_seconds
        return _in_beat(
            render.job_id, render.owner, render.epoch, self.stage, 100.0, seconds, seconds + 1
        )


def _in_beat(
    job_id: str,
    owner: str,
    epoch: int,
    stage: Stage,
    percent: float,
    seconds: float,
    deadline_seconds: float,
) -> HeldJobInBeat:
    return HeldJobInBeat(
        job_id=job_id,
        owner=owner,
        epoch=epoch,
        stage=stage,
        percent=percent,
        rendered_for_seconds=seconds,
        deadline_seconds=deadline_seconds,
    )
