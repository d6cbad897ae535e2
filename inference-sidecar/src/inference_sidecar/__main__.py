"""The sidecar process. It imports little: a signal may come before the rest is imported."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Runs the sidecar. Until that handles signals itself, they end the process with status 0."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # Takes half a second, in which nothing needs to be handed back.
    from inference_sidecar.sidecar import main as run_sidecar  # noqa: PLC0415

    run_sidecar()


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
