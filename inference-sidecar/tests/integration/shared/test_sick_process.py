"""A render process that is sick in any way is replaced within seconds, and the worker goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stage.orchestrator import Job, Json, Orchestrator
from stage.sidecar import Sidecar
from stage.until import until
from stage.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

SICK_CHILD = """
import os, resource, socket, sys, threading
if any("render_child" in word for word in sys.orig_argv):
    from concurrent.futures import thread
    from inference_sidecar.media import piecewise_encoder
    from inference_sidecar.rendering import render_protocol

    sickness = ""

    def wait(_):
        threading.Event().wait()

    def run_out_of_memory(_):
        raise MemoryError

    def send_garbage(lines):
        lines._socket.sendall(b'{"kind": "rendered", "order": 0}\\n')

    def close(lines):
        lines._socket.shutdown(socket.SHUT_RDWR)

    def cut_files(_):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))

    def cut_threads(_):
        def start(self):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = start

    ON_ORDER = {
        "silent": wait, "listener": run_out_of_memory, "garbage": send_garbage, "closed": close,
        "exit": lambda _: os._exit(0), "files": cut_files, "threads": cut_threads,
    }

    def receive(lines, original=render_protocol.Lines.receive):
        global sickness
        line = original(lines)
        words = getattr(getattr(line, "request", None), "prompt", "").split()
        sickness = next((word[5:] for word in words if word.startswith("sick:")), "")
        ON_ORDER.get(sickness, bool)(lines)
        return line

    def run(item, original=thread._WorkItem.run):
        if sickness == "encoder":
            raise MemoryError
        original(item)

    def finish(encoder, original=piecewise_encoder.PiecewiseEncoder.finish):
        if sickness == "finish":
            raise MemoryError
        return original(encoder)

    render_protocol.Lines.receive = receive
    thread._WorkItem.run = run
    piecewise_encoder.PiecewiseEncoder.finish = finish
"""


@pytest_asyncio.fixture(loop_scope="module")
async def orchestrator(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Orchestrator]:
    """Its sidecar's render process falls ill when a prompt says so."""
    if not world.sidecar.is_running():
        patch: Path = tmp_path_factory.mktemp("patch")
        (patch / "sitecustomize.py").write_text(SICK_CHILD)
        world.sidecar.start(PYTHONPATH=str(patch))
    world.begin()
    yield world.orchestrator
    await world.settle()


async def healthy_process(sidecar: Sidecar, orchestrator: Orchestrator) -> int:
    """The render process, once it has rendered a job."""
    await orchestrator.event(await orchestrator.submit(), "render.completed")
    process = sidecar.render_process()
    assert process is not None
    return process


async def outcome(orchestrator: Orchestrator, job: Job) -> Json:
    """The event that ends an attempt."""
    ends = ("render.completed", "render.failed")
    return await until(
        lambda: next((event for end in ends for event in orchestrator.events_of(job, end)), None),
        "end of the attempt",
    )


@pytest.mark.parametrize(
    "sickness",
    [
        *("silent", "listener", "garbage", "closed", "exit"),
        *("files", "threads", "encoder", "finish"),
    ],
)
async def test_a_process_that_falls_ill_with_an_order_is_replaced(
    sidecar: Sidecar, orchestrator: Orchestrator, sickness: str
) -> None:
    sick = await healthy_process(sidecar, orchestrator)

    job = await orchestrator.submit(f"sick:{sickness}")

    assert (await orchestrator.event(job, "render.failed"))["code"] == "RENDER_PROCESS_DIED"
    assert await healthy_process(sidecar, orchestrator) != sick


async def test_a_frozen_process_is_replaced_at_its_next_order(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sick = await healthy_process(sidecar, orchestrator)
    os.kill(sick, signal.SIGSTOP)

    job = await orchestrator.submit()

    failed = await orchestrator.event(job, "render.failed")
    assert failed["code"] == "RENDER_PROCESS_DIED"
    assert "did not take the order" in failed["message"]
    assert await healthy_process(sidecar, orchestrator) != sick


async def test_a_deleted_work_folder_costs_nothing(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    process = await healthy_process(sidecar, orchestrator)
    for folder in (sidecar.spool_dir / "work", sidecar.spool_dir / "renders"):
        # The worker tidies up after it has told the end of the job.
        await until(lambda folder=folder: not any(folder.iterdir()), f"{folder.name} is empty")
        shutil.rmtree(folder)

    assert await healthy_process(sidecar, orchestrator) == process


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="cuts the limits of another process")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_NOFILE"])
async def test_a_process_whose_limits_are_cut_during_a_job_is_replaced(
    sidecar: Sidecar, orchestrator: Orchestrator, limit: str
) -> None:
    sick = await healthy_process(sidecar, orchestrator)
    running = await orchestrator.submit("null:seconds=1")
    await orchestrator.event(running, "render.started")
    # Below what it has already, as 400 MB are for an engine that is loaded.
    resource.prlimit(sick, getattr(resource, limit), (3, 3))

    ends = [await outcome(orchestrator, running)]
    while ends[-1]["type"] == "render.completed":
        # What it already has may suffice for an order or two.
        assert len(ends) < 5
        ends.append(await outcome(orchestrator, await orchestrator.submit()))

    assert ends[-1]["code"] == "RENDER_PROCESS_DIED"
    assert await healthy_process(sidecar, orchestrator) != sick
