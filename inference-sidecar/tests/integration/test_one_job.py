"""One job passes through a sidecar, and nothing goes wrong."""

from __future__ import annotations

from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_heartbeats_carry_state_stage_and_growing_progress(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start()
    await until(lambda: orchestrator.beats and orchestrator.beats[-1]["state"] == "ready", "ready")
    job = await orchestrator.submit("null:seconds=1", frames=300)
    await orchestrator.event(job, "render.completed")

    beats = [held for beat in orchestrator.beats for held in beat["jobs"]]
    percents = [held["percent"] for held in beats if held["stage"] == "rendering"]
    assert percents == sorted(percents)
    assert any(0 < percent < 100 for percent in percents)
    assert {beat["state"] for beat in orchestrator.beats} >= {"loading", "ready", "rendering"}
    assert len({beat["incarnation"] for beat in orchestrator.beats}) == 1
