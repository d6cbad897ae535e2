"""What the `null` engine simulates, beyond what a prompt asks for."""

from __future__ import annotations

from pydantic import Field

from inference_sidecar.engines.settings import EngineSettings


class NullSettings(EngineSettings):
    """For tests and benchmarks."""

    null_seconds_per_video_second: float = Field(
        default=0, ge=0, description="pace that the `null` engine claims to have measured"
    )
    null_load_seconds: float = Field(
        default=0, ge=0, description="how long the `null` engine takes to load"
    )
    null_busy_log: str | None = Field(
        default=None,
        description="where the `null` engine adds a line for each time it was busy, in seconds",
    )
