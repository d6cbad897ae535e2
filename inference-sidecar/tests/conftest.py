"""Leaves out what needs torch where it is not installed, and says so; in CI that is a failure."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

# GPU kernels are interpreted, for there is no GPU here; read when torch first imports Triton.
os.environ["TRITON_INTERPRET"] = "1"

SETUP = "npm run setup -- --with engine"
HAS_TORCH = find_spec("torch") is not None

collect_ignore = [] if HAS_TORCH else ["engine", "weights/prepare"]


def pytest_configure() -> None:
    if not HAS_TORCH and os.environ.get("CI"):
        raise pytest.UsageError(f"torch is not installed, so the engine is not tested: {SETUP}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not HAS_TORCH:
        terminalreporter.write_line(f"The engine's tests were left out. To run them too: {SETUP}")
