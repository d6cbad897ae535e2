"""The engine reads its settings in its own process."""

from __future__ import annotations

from pathlib import Path

from inference_sidecar.engines.registry import missing_parts
from inference_sidecar.store.health_file import HealthFile
from stage.orchestrator import Orchestrator
from stage.sidecar import Sidecar
from stage.until import until


async def test_the_settings_of_the_engine_reach_the_render_process(
    sidecar: Sidecar, orchestrator: Orchestrator
) -> None:
    sidecar.start(NULL_SECONDS_PER_VIDEO_SECOND="2.5")
    job = await orchestrator.submit()
    asks = await until(orchestrator.asks, "ask")
    assert asks[0]["secondsPerVideoSecond"] == 2.5
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


async def test_a_configuration_that_no_restart_cures_ends_the_sidecar_with_its_reason(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    sidecar.spool_dir.mkdir()
    (tmp_path / "file").touch()
    for environment, reason in (
        ({"ENGINE": "no-such"}, "ENGINE: "),
        ({"ENGINE": "infinitetalk", "MODEL_STORAGE_PATH": "/no/weights"}, "is not a folder"),
        ({"ENGINE": "infinitetalk", "MODEL_STORAGE_PATH": "/no/*"}, "must match one folder"),
        ({"NATS_PASSWORD": "", "NATS_PASSWORD_FILE": "/no/secret"}, "NATS_PASSWORD_FILE names"),
    ):
        sidecar.start(**environment)
        assert await sidecar.ended() == 2
        assert reason in sidecar.log_text()
        assert reason in (HealthFile(sidecar.spool_dir).find_problem(is_live_enough=True) or "")

    sidecar.start(SPOOL_DIR=str(tmp_path / "file" / "spool"))
    assert await sidecar.ended() == 2
    assert "SPOOL_DIR: " in sidecar.log_text()
