"""One doorbell: a sidecar that works until nobody needs it, and what it has done."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from inference_sidecar.store.counts_file import CountsFile

SIDECAR: Final = (sys.executable, "-m", "inference_sidecar")
_WAKE_ID: Final = re.compile(r"[0-9a-f]{24}")
_OF_THE_LOOP: Final = ("RUNPOD_WEBHOOK_", "RUNPOD_AI_API_KEY")
"""What only RunPod's loop needs of the environment; a key is among it."""


async def drain(
    doorbell: object,
    environment: Mapping[str, str],
    command: tuple[str, ...] = SIDECAR,
) -> dict[str, Any]:
    """Runs a sidecar to its end, and returns what RunPod keeps as the output of the job.

    The doorbell names a wake-up and nothing else: who is needed, and for what, the sidecar asks the
    orchestrator. When cancelled, the sidecar is told to end and waited for: it hands back its job.
    """
    wake_id = _wake_id(doorbell)
    if wake_id is None:
        # Such as the sign of life of an endpoint at rest, if a worker happens to take it.
        return {"ignored": True}
    spool = Path(environment.get("SPOOL_DIR", "/spool"))
    counts = CountsFile(spool)
    counts.take()
    own = {name: value for name, value in environment.items() if not name.startswith(_OF_THE_LOOP)}
    sidecar = await asyncio.create_subprocess_exec(
        *command, env={**own, "WAKE_ID": wake_id, "SPOOL_DIR": str(spool)}
    )
    try:
        status = await sidecar.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            sidecar.terminate()
        await sidecar.wait()
        raise
    done = counts.take()
    output: dict[str, Any] = {
        "wakeId": wake_id,
        "exitStatus": status,
        "counts": None if done is None else done.model_dump(mode="json", by_alias=True),
    }
    if status != 0:
        output["error"] = f"the sidecar ended with status {status}"
    return output


def _wake_id(doorbell: object) -> str | None:
    if not isinstance(doorbell, dict):
        return None
    said = cast("dict[str, object]", doorbell)
    wake_id = said.get("wakeId")
    if said.get("kind") != "drain" or not isinstance(wake_id, str):
        return None
    return wake_id if _WAKE_ID.fullmatch(wake_id) else None
