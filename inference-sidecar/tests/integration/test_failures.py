"""Every failure of a render is reported with its code, and the worker goes on."""

from __future__ import annotations

import os
import signal
from datetime import datetime
from pathlib import Path

import pytest

from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.store.health_file import HealthFile
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_a_render_that_crashes_the_process_costs_only_its_own_job_an_attempt(
    sidecar: Sidecar, orchestrator: Orchestrator, tmp_path: Path
) -> None:
    gate, ffmpeg = tmp_path / "gate", tmp_path / "ffmpeg"
    ffmpeg.write_text(
        f'#!/bin/sh\n"{find_ffmpeg()}" "$@"\nwhile [ ! -e "{gate}" ]; do sleep 0.02; done\n'
    )
    ffmpeg.chmod(0o700)
    sidecar.start(FFMPEG_PATH=str(ffmpeg))
    finishing = await orchestrator.submit()
    await orchestrator.event(finishing, "render.started")
    poison = await orchestrator.submit("null:crash")

    failed = await orchestrator.event(poison, "render.failed")
    released = await orchestrator.event(finishing, "render.released")
    gate.touch()

    assert failed["code"] == "RENDER_PROCESS_DIED"
    assert released["epoch"] == 1
    assert orchestrator.events_of(finishing, "render.failed") == []
    await orchestrator.event(finishing, "render.completed")


async def test_no_job_is_taken_while_the_engine_does_not_load(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(FFMPEG_PATH="/no/such/ffmpeg")
    await orchestrator.submit()

    await until(lambda: sidecar.messages().count("engine not loaded") >= 2, "two failed loads")

    assert orchestrator.requests == []
    assert orchestrator.beats[-1]["state"] == "loading"
    assert "/no/such/ffmpeg" in orchestrator.beats[-1]["trouble"]
    obstacle = HealthFile(sidecar.spool_dir).find_problem(is_live_enough=False)
    assert obstacle is not None
    assert "/no/such/ffmpeg" in obstacle
    lines = [line for line in sidecar.log() if line["msg"] == "engine not loaded"]
    assert "/no/such/ffmpeg" in lines[0]["reason"]
    assert "Traceback" in lines[0]["err"]["stack"]


@pytest.mark.usefixtures("orchestrator")
async def test_an_engine_that_hangs_while_loading_is_restarted(sidecar: Sidecar) -> None:
    sidecar.start(NULL_LOAD_SECONDS="3600", TIMINGS_DIVISOR="1000")

    await until(lambda: sidecar.messages().count("engine not loaded") >= 2, "two failed loads")

    line = next(line for line in sidecar.log() if line["msg"] == "engine not loaded")
    assert "did not load within" in line["reason"]


async def test_waiting_jobs_are_rendered_once_the_engine_loads(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    ffmpeg = sidecar.directory / "ffmpeg"
    sidecar.start(FFMPEG_PATH=str(ffmpeg))
    job = await orchestrator.submit()
    await until(lambda: "engine not loaded" in sidecar.messages(), "a failed load")
    assert job.claims == 0

    ffmpeg.symlink_to(find_ffmpeg())

    await orchestrator.event(job, "render.completed")
    assert "trouble" not in orchestrator.beats[-1]


async def test_a_process_that_dies_idle_is_restarted_after_a_pause(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(TIMINGS_DIVISOR="1")
    await until(lambda: orchestrator.beats and orchestrator.beats[-1]["state"] == "ready", "ready")
    process = sidecar.render_process()
    assert process is not None

    os.kill(process, signal.SIGKILL)

    await until(lambda: sidecar.messages().count("engine ready") == 2, "another process")
    times = {line["msg"]: datetime.fromisoformat(line["time"]) for line in sidecar.log()}
    assert (times["engine ready"] - times["render process ended"]).total_seconds() >= 1
