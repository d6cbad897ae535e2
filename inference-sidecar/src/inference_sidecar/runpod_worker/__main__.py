"""The process of an endpoint's container: RunPod's loop, which runs a sidecar for each doorbell.

    python -m inference_sidecar.runpod_worker

Exits with 2 when the SDK is not installed, and with 1 when a fitness check fails.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any

from inference_sidecar.runpod_worker.doorbell import drain
from inference_sidecar.runpod_worker.fitness import (
    check_broker,
    check_driver,
    check_weights,
)

_EXIT_NOT_INSTALLED = 2


def main() -> None:
    """Runs until RunPod stops the container."""
    if find_spec("runpod") is None:
        sys.stderr.write("RunPod's SDK is missing: install the extra `runpod`.\n")
        sys.exit(_EXIT_NOT_INSTALLED)
    # Takes a second or more, and is only an extra.
    import runpod.serverless  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

    loop: Any = runpod.serverless  # pyright: ignore[reportUnknownMemberType]
    for check in (check_weights, check_driver, check_broker):
        loop.register_fitness_check(check)
    loop.start({"handler": _handle})


async def _handle(job: dict[str, Any]) -> dict[str, Any]:
    """What the SDK calls for each job; it is cancelled when RunPod stops the job."""
    return await drain(job.get("input"), dict(os.environ))


if __name__ == "__main__":
    main()
