"""The health command says whether a sidecar is alive, and whether it is ready for jobs."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from inference_sidecar.store.health_file import HealthFile
from stage.broker import TestBroker
from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def health(*options: str, spool_dir: Path | None = None) -> tuple[int, str]:
    """Exit status and output of the command."""
    environment = {name: value for name, value in os.environ.items() if name != "SPOOL_DIR"}
    if spool_dir is not None:
        environment["SPOOL_DIR"] = str(spool_dir)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inference_sidecar.health", *options),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def obstacle(sidecar: Sidecar) -> str:
    """What keeps it from being ready, without the start of a process; empty when it is ready."""
    return HealthFile(sidecar.spool_dir).find_problem(is_live_enough=False) or ""


async def test_a_sidecar_becomes_ready_and_its_end_leaves_no_health(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    assert orchestrator.client.is_connected
    sidecar.start()
    await until(lambda: not obstacle(sidecar), "a ready sidecar")
    assert await health(spool_dir=sidecar.spool_dir) == (0, "")
    assert await health("--live", "--spool-dir", str(sidecar.spool_dir)) == (0, "")

    sidecar.signal(signal.SIGTERM)
    assert await sidecar.ended() == 0

    status, output = await health("--live", spool_dir=sidecar.spool_dir)
    assert status == 1
    assert "no heartbeat" in output
    assert output.count("\n") == 1


async def test_a_frozen_broker_makes_it_not_ready_and_keeps_it_alive(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    assert orchestrator.client.is_connected
    sidecar.start()
    await until(lambda: not obstacle(sidecar), "a ready sidecar")

    with broker.frozen():
        await until(lambda: "the broker does not answer" in obstacle(sidecar), "not ready", 10)
        assert (await health(spool_dir=sidecar.spool_dir))[0] == 1
        assert await health("--live", spool_dir=sidecar.spool_dir) == (0, "")

    await until(lambda: not obstacle(sidecar), "a ready sidecar again", 5)
    job = await orchestrator.submit()
    await orchestrator.event(job, "render.completed")


async def test_a_stopped_sidecar_is_not_alive(sidecar: Sidecar, orchestrator: Orchestrator) -> None:
    assert orchestrator.client.is_connected
    sidecar.start()
    await until(lambda: not obstacle(sidecar), "a ready sidecar")

    with sidecar.suspended():
        await until(lambda: "s old" in obstacle(sidecar), "an old heartbeat", 12)
        status, output = await health("--live", spool_dir=sidecar.spool_dir)
        assert (status, output.count("\n")) == (1, 1)

    await until(lambda: not obstacle(sidecar), "a ready sidecar again")


async def test_a_sidecar_that_waits_for_its_broker_is_alive(
    sidecar: Sidecar, broker: TestBroker
) -> None:
    broker.kill()
    sidecar.start()
    await until(lambda: "not yet connected" in obstacle(sidecar), "a heartbeat")
    assert await health("--live", spool_dir=sidecar.spool_dir) == (0, "")
    status, output = await health(spool_dir=sidecar.spool_dir)
    assert (status, output.count("\n")) == (1, 1)


@pytest.mark.usefixtures("orchestrator")
async def test_a_sidecar_whose_engine_loads_is_alive_and_not_ready(sidecar: Sidecar) -> None:
    sidecar.start(NULL_LOAD_SECONDS="60")
    await until(lambda: "the engine is not loaded" in obstacle(sidecar), "a loading engine")
    assert await health("--live", spool_dir=sidecar.spool_dir) == (0, "")


async def test_a_draining_sidecar_is_not_ready(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_put_seconds = 2.0
    sidecar.start()
    job = await orchestrator.submit()
    await until(sidecar.spooled, "spooled render")

    sidecar.signal(signal.SIGTERM)

    await until(lambda: "it is draining" in obstacle(sidecar), "a draining sidecar")
    await orchestrator.event(job, "render.completed")


@pytest.mark.usefixtures("orchestrator")
async def test_a_sidecar_whose_folder_is_deleted_ends_and_starts_again(sidecar: Sidecar) -> None:
    sidecar.start()
    await until(lambda: not obstacle(sidecar), "a ready sidecar")
    shutil.rmtree(sidecar.spool_dir)
    assert await sidecar.ended() == 1

    sidecar.start()
    await until(lambda: not obstacle(sidecar), "a ready sidecar")


async def test_an_attempt_that_cannot_report_its_end_ends_the_sidecar(
    sidecar: Sidecar, orchestrator: Orchestrator, tmp_path: Path
) -> None:
    program = (
        "import inference_sidecar.worker.attempt as module\n"
        "async def fail(self, error): raise RuntimeError('broken for this test')\n"
        "module.Attempt._fail = fail\n"
    )
    (tmp_path / "sitecustomize.py").write_text(program)
    sidecar.start(PYTHONPATH=str(tmp_path))
    await orchestrator.submit("null:fail")

    assert await sidecar.ended() == 1


@pytest.mark.usefixtures("orchestrator")
async def test_a_loop_that_dies_ends_the_sidecar_and_its_health(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    sidecar.start(PYTHONPATH=patched(tmp_path, "worker.asks", "Asks.next"))

    assert await sidecar.ended() == 1

    assert "sidecar stopping" in sidecar.messages()
    assert (await health("--live", spool_dir=sidecar.spool_dir))[0] == 1


async def test_a_failed_stop_gives_a_non_zero_exit_status(
    sidecar: Sidecar, orchestrator: Orchestrator, tmp_path: Path
) -> None:
    assert orchestrator.client.is_connected
    sidecar.start(PYTHONPATH=patched(tmp_path, "store.transfers", "Transfers.close"))
    await until(lambda: not obstacle(sidecar), "a ready sidecar")

    sidecar.signal(signal.SIGTERM)

    assert await sidecar.ended() == 1
    assert "sidecar stopped" not in sidecar.messages()


async def test_without_a_folder_it_says_what_is_missing() -> None:
    status, output = await health("--live")
    assert status == 1
    assert "SPOOL_DIR" in output
    assert output.count("\n") == 1


def patched(folder: Path, module: str, method: str) -> str:
    """A folder for PYTHONPATH with which this coroutine method fails in a sidecar."""
    program = (
        f"import inference_sidecar.{module} as module\n"
        f"async def fail(*_, **__): raise RuntimeError('broken for this test')\n"
        f"module.{method} = fail\n"
    )
    (folder / "sitecustomize.py").write_text(program)
    return str(folder)
