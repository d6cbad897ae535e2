"""The options of the benchmark command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

_DEFAULT_BUDGET_SECONDS: Final = 540.0
_DESCRIPTION: Final = (
    "Measures the InfiniteTalk engine and prints one table, most important figures first."
)


class Options(argparse.Namespace):
    """The command's options."""

    is_tiny: bool
    only_points: bool
    device: Literal["auto", "cuda", "cpu"]
    upstream: Path | None
    wheels: Path | None
    json: Path | None
    budget_seconds: float


def parse_options(arguments: Sequence[str]) -> Options:
    """Parses the command line; exits with the usage on a mistake."""
    parser = argparse.ArgumentParser("python bench/gpu/main.py", description=_DESCRIPTION)
    parser.add_argument(
        "--tiny",
        dest="is_tiny",
        action="store_true",
        help="tiny shapes, to check that everything runs",
    )
    parser.add_argument(
        "--points",
        dest="only_points",
        action="store_true",
        help="only ten questions about speakers, tiers, anchors and kernels, with their aims",
    )
    parser.add_argument(
        "--device", choices=["auto", "cuda", "cpu"], default="auto", help="CUDA if available"
    )
    parser.add_argument(
        "--upstream", type=Path, help="upstream's checkout, to time its forward too"
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this machine lacks")
    parser.add_argument("--json", type=Path, help="file for every measurement")
    parser.add_argument(
        "--budget",
        dest="budget_seconds",
        type=float,
        default=_DEFAULT_BUDGET_SECONDS,
        help="seconds for all sections",
    )
    return parser.parse_args(arguments, namespace=Options())
