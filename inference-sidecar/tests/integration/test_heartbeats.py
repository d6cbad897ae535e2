"""What heartbeats tell beside the jobs, and what is told of a render process that prints."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stage.orchestrator import Json, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def beat_with(orchestrator: Orchestrator, key: str) -> Json:
    return await until(
        lambda: next((beat for beat in orchestrator.beats if key in beat), None), f"beat with {key}"
    )


async def test_a_start_is_told_stage_by_stage_and_then_as_a_whole(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(NULL_LOAD_SECONDS="1")
    await until(
        lambda: any(b.get("starting", {}).get("stage") == "weights" for b in orchestrator.beats),
        "a beat while the weights are read",
    )
    loaded = await beat_with(orchestrator, "startup")

    assert all("startup" not in beat for beat in orchestrator.beats if "starting" in beat)
    assert "starting" not in loaded
    seconds = {stage["stage"]: stage["seconds"] for stage in loaded["startup"]}
    assert list(seconds) == ["spawn", "weights", "engine", "calibrate", "total"]
    assert seconds["weights"] >= 1
    assert seconds["total"] >= seconds["spawn"] + seconds["weights"]
    assert 0 <= loaded["diskFree"] <= 1


async def test_the_last_word_of_an_orderly_end_is_that_it_is_gone(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=60")
    await orchestrator.event(job, "render.started")
    sidecar.signal(signal.SIGTERM)
    assert await sidecar.ended() == 0

    await until(lambda: orchestrator.beats[-1]["state"] == "gone", "the last beat")
    assert [beat["state"] for beat in orchestrator.beats].count("gone") == 1
    assert orchestrator.events_of(job, "render.released")


async def test_a_worker_that_is_killed_does_not_say_that_it_is_gone(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    await beat_with(orchestrator, "startup")
    await sidecar.kill()
    await orchestrator.client.flush()
    assert "gone" not in {beat["state"] for beat in orchestrator.beats}


def printing(folder: Path, *statements: str) -> str:
    """A folder for PYTHONPATH with which a render process runs these before it loads."""
    program = ["import os, sys, signal, threading"]
    program += ['if any("render_child" in word for word in sys.orig_argv):']
    program += [f"    {statement}" for statement in statements]
    (folder / "sitecustomize.py").write_text("\n".join(program) + "\n")
    return str(folder)


def said(sidecar: Sidecar) -> list[str]:
    return [line["text"] for line in sidecar.log() if line["msg"] == "render process said"]


async def test_a_process_that_floods_its_output_renders_all_the_same(
    sidecar: Sidecar, orchestrator: Orchestrator, tmp_path: Path
) -> None:
    flood = "threading.Thread(target=lambda: [print('flood', n) for n in range(200_000)]).start()"
    sidecar.start(PYTHONPATH=printing(tmp_path, "print('Bearer very-secret')", flood))
    job = await orchestrator.submit()

    await orchestrator.event(job, "render.completed")

    assert "Bearer [redacted]" in said(sidecar)
    assert "flood 0" in said(sidecar)

    def left_out() -> int:
        counted = [line for line in sidecar.log() if "more than is told" in line["msg"]]
        return sum(line["lines"] for line in counted)

    # Counted at the end of each second.
    await until(lambda: left_out() > 1000, "the number of lines that were left out")
    assert "flood" not in (sidecar.directory / "stderr.txt").read_text()


async def test_the_last_words_of_a_process_explain_its_death(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=60")
    await orchestrator.event(job, "render.started")
    child = sidecar.render_process()
    assert child is not None
    os.kill(child, signal.SIGSEGV)

    await orchestrator.event(job, "render.failed")

    ended = next(line for line in sidecar.log() if line["msg"] == "render process ended")
    assert "in _run_module_as_main" in ended["text"]
    assert "Fatal Python error: Segmentation fault" in said(sidecar)


@pytest.mark.parametrize("kill", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
async def test_a_process_that_dies_while_loading_is_trouble_with_its_last_line(
    sidecar: Sidecar, orchestrator: Orchestrator, tmp_path: Path, kill: str
) -> None:
    sidecar.start(PYTHONPATH=printing(tmp_path, "print('no kernel image for this device')", kill))
    beat = await beat_with(orchestrator, "trouble")
    assert beat["trouble"].endswith("no kernel image for this device")
    assert "no kernel image for this device" in said(sidecar)
