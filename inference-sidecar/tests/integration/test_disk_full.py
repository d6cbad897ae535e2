"""With a full disk no job is taken, none is lost, and no process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_sidecar.store.workplace import ROOM_BYTES
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.small_disk import mounted_disk
from stage.until import until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for little more than one job."""
    with mounted_disk(tmp_path / "disk", ROOM_BYTES + (4 << 20)) as folder:
        yield folder


async def test_no_job_is_taken_until_there_is_room(
    sidecar: Sidecar, orchestrator: Orchestrator, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(os.urandom(8 << 20))
    sidecar.start(SPOOL_DIR=str(small_disk / "spool"))
    job = await orchestrator.submit()
    await until(lambda: "disk full, no job is taken" in sidecar.messages(), "line in the log")
    assert job.claims == 0

    filler.unlink()

    await orchestrator.event(job, "render.completed")
    assert sidecar.messages().count("disk full, no job is taken") == 1


async def test_a_job_that_fills_the_disk_is_handed_back_without_counting_the_attempt(
    sidecar: Sidecar, orchestrator: Orchestrator, small_disk: Path
) -> None:
    sidecar.start(SPOOL_DIR=str(small_disk / "spool"))
    job = await orchestrator.submit("null:seconds=1", frames=50)
    await orchestrator.event(job, "render.started")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(_free_bytes(small_disk)))

    released = await orchestrator.event(job, "render.released")

    assert released["epoch"] == 1
    assert orchestrator.events_of(job, "render.failed") == []
    assert any(
        (line.get("code"), line["level"]) == ("STORAGE_FULL", "error") for line in sidecar.log()
    )
    filler.unlink()
    completed = await orchestrator.event(job, "render.completed")
    assert completed["epoch"] == 2


def _free_bytes(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize
