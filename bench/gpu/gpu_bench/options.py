"""The options of the benchmark command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DEFAULT_BUDGET_SECONDS: Final = 540.0
_DESCRIPTION: Final = (
    "Measures the InfiniteTalk engine and prints one table, most important figures first."
)


@dataclass(frozen=True)
class Options:
    """The command's options."""

    is_tiny: bool
    device: str
    upstream: Path | None
    wheels: Path | None
    json: Path | None
    budget_seconds: float


def parse_options(arguments: Sequence[str]) -> Options:
    """Parses the command line; exits with the usage on a mistake."""
    parser = argparse.ArgumentParser("python bench/gpu/main.py", description=_DESCRIPTION)
    parser.add_argument(
        "--tiny", action="store_true", help="tiny shapes, to check that everything runs"
    )
    parser.add_argument("--device", default=None, help="cuda or cpu; by default CUDA if available")
    parser.add_argument(
        "--upstream", type=Path, help="upstream's checkout, to time its forward too"
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this machine lacks")
    parser.add_argument("--json", type=Path, help="file for every measurement")
    parser.add_argument(
        "--budget", type=float, default=_DEFAULT_BUDGET_SECONDS, help="seconds for all sections"
    )
    parsed = parser.parse_args(arguments)
    return Options(
        is_tiny=parsed.tiny,
        device=parsed.device or _default_device(),
        upstream=parsed.upstream,
        wheels=parsed.wheels,
        json=parsed.json,
        budget_seconds=parsed.budget,
    )


def _default_device() -> str:
    import torch  # noqa: PLC0415 - slow to import, and --help needs none of it

    return "cuda" if torch.cuda.is_available() else "cpu"
