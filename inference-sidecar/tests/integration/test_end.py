"""How a sidecar ends, on request or not, and what it leaves behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from stage.broker import TestBroker
from stage.object_store import ObjectStore
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_sigterm_hands_the_render_back_at_once(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=60", frames=250)
    await orchestrator.event(job, "render.started")
    job.prompt = "null:seconds=0.2"
    other_sidecar.start()
    await until(lambda: orchestrator.beats[-1]["workerId"] == "w2", "second worker")

    sidecar.signal(signal.SIGTERM)

    released = await orchestrator.event(job, "render.released")
    assert released["epoch"] == 1
    assert await sidecar.ended() == 0
    completed = await orchestrator.event(job, "render.completed")
    assert (completed["workerId"], completed["epoch"]) == ("w2", 2)


async def test_sigterm_hands_the_prefetched_job_back_too(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    first = await orchestrator.submit("null:hang")
    await orchestrator.event(first, "render.started")
    second = await orchestrator.submit()
    await until(lambda: orchestrator.held(second), "second job held")

    sidecar.signal(signal.SIGTERM)

    await orchestrator.event(first, "render.released")
    await orchestrator.event(second, "render.released")
    assert await sidecar.ended() == 0
    assert orchestrator.events_of(first, "render.failed") == []


async def test_sigterm_lets_an_upload_end(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.slow_put_seconds = 0.8
    sidecar.start()
    job = await orchestrator.submit()
    await until(sidecar.spooled, "spooled render")

    sidecar.signal(signal.SIGTERM)

    await orchestrator.event(job, "render.completed")
    assert await sidecar.ended() == 0
    assert orchestrator.events_of(job, "render.released") == []


async def test_a_render_that_is_not_uploaded_in_the_grace_time_is_handed_back(
    sidecar: Sidecar, orchestrator: Orchestrator, store: ObjectStore
) -> None:
    store.faults["PUT"].extend([503] * 1000)
    sidecar.start()
    job = await orchestrator.submit()
    await until(sidecar.spooled, "spooled render")
    began = time.monotonic()

    sidecar.signal(signal.SIGTERM)

    await orchestrator.event(job, "render.released")
    assert await sidecar.ended() == 0
    assert time.monotonic() - began >= 2.0
    assert sidecar.spooled() == []


async def test_sigterm_ends_a_sidecar_whose_broker_is_away(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(job, "render.started")
    broker.kill()

    sidecar.signal(signal.SIGTERM)

    assert await sidecar.ended() == 0


async def test_sigterm_ends_a_sidecar_whose_broker_is_frozen(
    sidecar: Sidecar, orchestrator: Orchestrator, broker: TestBroker
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(job, "render.started")

    with broker.frozen():
        sidecar.signal(signal.SIGTERM)
        assert await sidecar.ended() == 0

    assert sidecar.messages()[-1] == "sidecar stopped"


async def test_sigterm_ends_a_sidecar_that_never_found_its_broker(
    sidecar: Sidecar, broker: TestBroker
) -> None:
    broker.kill()
    sidecar.start()
    await until(lambda: "configuration" in sidecar.messages(), "first line")
    await until((sidecar.spool_dir / "renders").exists, "folder")

    sidecar.signal(signal.SIGTERM)

    assert await sidecar.ended() == 0


async def test_sigterm_ends_a_sidecar_that_is_still_importing(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "nats.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_name('here').touch()\ntime.sleep(60)\n"
    )
    sidecar.start(PYTHONPATH=str(slow))
    await until((slow / "here").exists, "an import that takes its time")

    sidecar.signal(signal.SIGTERM)

    assert await sidecar.ended() == 0
    assert sidecar.log_text() == ""


async def test_an_idle_sidecar_ends_at_once(sidecar: Sidecar, orchestrator: Orchestrator) -> None:
    sidecar.start()
    await until(lambda: orchestrator.beats and orchestrator.beats[-1]["state"] == "ready", "ready")

    sidecar.signal(signal.SIGINT)

    assert await sidecar.ended() == 0
    assert sidecar.messages()[-1] == "sidecar stopped"


async def test_the_render_process_and_its_encoder_die_with_their_parent(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=600", frames=250, deadline_seconds=900.0)
    await orchestrator.event(job, "render.started")
    await until(lambda: any("ffmpeg" in line for _, line in sidecar.processes()), "an encoder")

    await sidecar.kill()

    await until(lambda: not sidecar.processes(), "end of all")


async def test_unfinished_work_of_an_earlier_process_is_deleted_at_the_start(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    job = await orchestrator.submit("null:seconds=30", frames=250)
    await orchestrator.event(job, "render.started")
    await sidecar.kill()
    assert sidecar.work_folders() != []
    half = sidecar.spool_dir / "renders" / "half.part"
    half.mkdir()
    job.state = "terminal"

    sidecar.start()

    await until(lambda: "sidecar started" in sidecar.messages()[-20:], "start")
    await until(lambda: not sidecar.work_folders() and not half.exists(), "clean folders")


async def test_two_sidecars_do_not_share_a_folder(
    sidecar: Sidecar, other_sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    await until(lambda: orchestrator.beats, "first heartbeat")

    other_sidecar.start(SPOOL_DIR=str(sidecar.spool_dir))

    assert await other_sidecar.ended() == 2
    assert "Another sidecar works in" in other_sidecar.log_text()


async def test_a_wrong_configuration_is_reported_all_at_once(sidecar: Sidecar) -> None:
    sidecar.start(
        NATS_URL="http://example.org", ENGINE="magic", TIMINGS_DIVISOR="0", NATS_PASSWORD=""
    )

    assert await sidecar.ended() == 2

    text = sidecar.log_text()
    for name in ("NATS_URL", "ENGINE", "TIMINGS_DIVISOR", "NATS_PASSWORD"):
        assert f"{name}:" in text
    assert "magic" not in text
