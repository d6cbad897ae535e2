"""The sidecar's environment, parsed once and strictly."""

from __future__ import annotations

import socket
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from inference_sidecar.contracts import Timings, scaled_timings


class SidecarConfig(BaseSettings):
    """Names are those of the environment. Raises `ValidationError` listing every mistake."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    nats_url: str = Field(description="NATS server with JetStream, without credentials")
    nats_user: str = Field(default="sidecar", description="this worker's NATS user")
    nats_password: SecretStr = Field(description="its password")
    engine: Literal["preview", "null"] = Field(default="preview", description="what renders")
    worker_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9_-]{1,100}$",
        description="stable name of this worker; it survives restarts",
    )
    spool_dir: Path = Field(description="where renders wait for their upload; survives restarts")
    ffmpeg_path: str | None = Field(default=None, description="ffmpeg; default: imageio-ffmpeg's")
    log_level: Literal["debug", "info", "warn", "error", "silent"] = Field(
        default="info", description="least level that is logged"
    )
    timings_divisor: float = Field(
        default=1, ge=1, le=1000, description="makes every wait so many times shorter; for tests"
    )

    @cached_property
    def timings(self) -> Timings:
        """The waits of the contracts, divided."""
        return scaled_timings(self.timings_divisor)
