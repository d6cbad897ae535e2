"""The environment of the sidecar and of its engine, parsed once and strictly."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError

from inference_sidecar.engines.registry import EngineName, missing_parts, read_settings
from inference_sidecar.engines.settings import EngineSettings
from inference_sidecar.foundation.contracts import (
    NATS_USER,
    POOL_USER_PREFIX,
    Timings,
    scaled_timings,
)
from inference_sidecar.foundation.settings import AbsolutePath, Settings, mistakes_of


class EngineChoice(Settings):
    """Read by itself first: a mistake elsewhere must not hide what the engine lacks."""

    engine: EngineName = Field(
        default="preview",
        description="what renders: `preview` needs no GPU, `infinitetalk` is the product, `null` "
        "is for tests and benchmarks",
    )


class SidecarConfig(EngineChoice):
    """Each field is an environment variable, its name in upper case."""

    nats_url: str = Field(
        pattern=r"^(nats|tls|ws|wss)://[^\s@]+$",
        description="NATS server with JetStream, without credentials",
    )
    nats_user: str = Field(default=NATS_USER, description="this service's NATS user")
    nats_password: SecretStr = Field(description="its password")
    worker_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]{1,100}$",
        description="stable name of this worker; by default made once and kept in SPOOL_DIR",
    )
    worker_pool: str = Field(
        default="local",
        pattern=r"^[a-z][a-z0-9-]{0,31}$",
        description="pool that this worker's GPU time is booked and priced under",
    )
    wake_id: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{24}$",
        description="wake-up that this worker was started for, by its provider; the worker then "
        "asks before it loads anything whether it is still needed, as every worker of a NATS user "
        f"`{POOL_USER_PREFIX}…` does",
    )
    worker_idle_seconds: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="the worker ends, with exit code 0, after so long without a job; 0: it stays, "
        "or as long as it is told where it asks whether it is needed",
    )
    worker_lifetime_seconds: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="the worker takes no job that may end later than so long after its start, and "
        "ends with exit code 0 instead; a job may take 10 minutes or more; 0: as above",
    )
    release: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="what is installed here, such as a version; heartbeats tell it",
    )
    spool_dir: AbsolutePath = Field(
        description="folder of this worker alone; holds unfinished work and renders to be uploaded"
    )
    ffmpeg_path: str | None = Field(
        default=None, description="ffmpeg to run; by default that of the environment"
    )
    log_level: Literal["trace", "debug", "info", "warn", "error", "fatal", "silent"] = Field(
        default="info", description="least level that is logged"
    )
    timings_divisor: float = Field(
        default=1,
        ge=1,
        le=10_000,
        description="makes every wait and back-off so many times shorter; for tests",
    )

    @property
    def says_hello(self) -> bool:
        """Whether it asks to be let in before it loads anything.

        The broker lets a pool's user ask in the name of its pool alone, and the orchestrator hands
        nothing to a pool's worker that it has not let in.
        """
        return self.wake_id is not None or self.nats_user.startswith(POOL_USER_PREFIX)

    @cached_property
    def timings(self) -> Timings:
        """The waits of the contracts, divided."""
        return scaled_timings(self.timings_divisor)


def _missing_folders(settings: EngineSettings | None) -> list[str]:
    """Each path among an engine's settings is a folder that it reads, so it must be there."""
    return [
        f"{name.upper()}: {path} is not a folder"
        for name, path in (settings or ())
        if isinstance(path, Path) and not path.is_dir()
    ]


class ConfigurationNotValid(Exception):
    """Everything that is wrong with the environment, one line each, without any value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n  ".join(["The configuration is not valid:", *problems]))
        self.problems = problems


def load_configuration() -> tuple[SidecarConfig, EngineSettings | None]:
    """The sidecar's settings and its engine's. Raises `ConfigurationNotValid`."""
    config: SidecarConfig | None = None
    settings: EngineSettings | None = None
    mistakes: list[str] = []
    try:
        config = SidecarConfig()  # pyright: ignore[reportCallIssue] - from the environment
    except ValidationError as error:
        mistakes += mistakes_of(error)
    try:
        engine = EngineChoice().engine
        if missing := missing_parts(engine):
            mistakes.append(f"ENGINE: {missing}")
        settings = read_settings(engine)
        mistakes += _missing_folders(settings)
    except ValidationError as error:
        # An unknown engine has been reported above.
        mistakes += [mistake for mistake in mistakes_of(error) if mistake not in mistakes]
    if config is None or mistakes:
        raise ConfigurationNotValid(mistakes)
    return config, settings
