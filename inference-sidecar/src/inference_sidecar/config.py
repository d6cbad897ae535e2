"""The sidecar's environment, parsed once and strictly."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from inference_sidecar.contracts import NATS_USER, Timings, scaled_timings


class SidecarConfig(BaseSettings):
    """Each field is an environment variable, its name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    nats_url: str = Field(
        pattern=r"^(nats|tls|ws|wss)://[^\s@]+$",
        description="NATS server with JetStream on, without credentials",
    )
    nats_user: str = Field(default=NATS_USER, description="NATS user of this service")
    nats_password: SecretStr = Field(description="password of that user")
    engine: Literal["preview", "null"] = Field(
        default="preview", description="what renders; `null` is for tests and benchmarks"
    )
    worker_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]{1,100}$",
        description="stable name of this worker; by default made once and kept in SPOOL_DIR",
    )
    spool_dir: Path = Field(
        description="folder of this worker alone; holds unfinished work and renders to be uploaded"
    )
    ffmpeg_path: str | None = Field(
        default=None, description="ffmpeg to run; by default that of the environment"
    )
    model_storage_path: Path | None = Field(
        default=None, description="folder of model weights, for engines that have any"
    )
    log_level: Literal["debug", "info", "warn", "error", "silent"] = Field(
        default="info", description="least level that is logged"
    )
    timings_divisor: float = Field(
        default=1, ge=1, le=10_000, description="makes every wait so many times shorter; for tests"
    )

    @field_validator("spool_dir", "model_storage_path")
    @classmethod
    def _is_absolute(cls, path: Path | None) -> Path | None:
        return path.absolute() if path else None

    @cached_property
    def timings(self) -> Timings:
        """The waits of the contracts, divided."""
        return scaled_timings(self.timings_divisor)


def describe_mistakes(error: ValidationError) -> str:
    """Everything that is wrong with the environment, one line each, without any value."""
    mistakes = [
        f"  {'.'.join(map(str, each['loc'])).upper()}: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False)
    ]
    return "\n".join(["The configuration is not valid:", *mistakes])
