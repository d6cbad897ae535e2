"""The engine reads its settings in its own process."""

from __future__ import annotations

from inference_sidecar.engines.registry import missing_parts
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_the_settings_of_the_engine_reach_the_render_process(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(NULL_SECONDS_PER_VIDEO_SECOND="2.5")
    job = await orchestrator.submit()
    claims = await until(
        lambda: [request for kind, request in orchestrator.requests if kind == "claim"], "claim"
    )
    assert claims[0]["secondsPerVideoSecond"] == 2.5
    facts = {
        "device": "cpu",
        "precision": "uint8",
        "attentionBackend": "none",
        "peakMemoryBytes": 0,
        "details": {},
    }
    beat = await until(lambda: orchestrator.beats[-1].get("engineFacts"), "facts in a heartbeat")
    assert beat == facts
    completed = await orchestrator.event(job, "render.completed")
    assert completed["rendered"]["engineFacts"] == facts
    line = next(line for line in sidecar.log() if line["msg"] == "configuration")
    assert line["config"]["null_seconds_per_video_second"] == 2.5


async def test_an_engine_that_is_not_installed_is_reported_at_the_start(sidecar: Sidecar) -> None:
    missing = missing_parts("infinitetalk")
    sidecar.start(ENGINE="infinitetalk", TIMINGS_DIVISOR="0")

    assert await sidecar.ended() == 2

    # Installed or not, other mistakes are reported too, and no engine is started.
    text = sidecar.log_text()
    assert "TIMINGS_DIVISOR: " in text
    assert missing is None or f"ENGINE: {missing}" in text
