"""Whole jobs through the real render process and the encoder, over weights made by `prepare`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest
import pytest_asyncio

from inference_sidecar.engines.engine import FPS, RenderRequest
from inference_sidecar.foundation.contracts import scaled_timings
from inference_sidecar.foundation.errors import DeadlineExceeded
from inference_sidecar.foundation.log import configure_log
from inference_sidecar.rendering.child_link import ReportedFailure
from inference_sidecar.rendering.render_process import RenderProcess
from inference_sidecar.rendering.render_progress import RenderProgress
from inference_sidecar.rendering.render_protocol import RenderResult
from inference_sidecar.telemetry.spans import Spans
from stage.tiny_engine import a_request
from stage.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

THREE_CHUNKS = 41
HUNGRY = Path(__file__).parent / "hungry"
PATIENCE_SECONDS = 300.0
_ROOM = 1000
TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-00"


async def nowhere(_message: bytes) -> bool:
    return False


@dataclass
class Renderer:
    """A render process with the engine, and a limit on its memory."""

    process: RenderProcess
    folder: Path
    limit: Path
    fractions: list[float] = field(default_factory=list[float])

    async def render(
        self,
        request: RenderRequest,
        name: str,
        deadline_seconds: float = PATIENCE_SECONDS,
        on_progress: Callable[[float], None] = lambda _fraction: None,
    ) -> RenderResult:
        self.fractions.clear()

        def progress(fraction: float) -> None:
            self.fractions.append(fraction)
            on_progress(fraction)

        return await self.process.render(
            request,
            self.folder / name,
            deadline_seconds=deadline_seconds,
            progress=RenderProgress(),
            on_started=lambda: None,
            on_progress=progress,
            log=configure_log("silent"),
            attempt=self.process._spans.attempt(TRACEPARENT, request.job_id, 1),
        )

    def allow(self, values: int) -> None:
        """Sets the size of a latent plane at which memory runs out."""
        self.limit.write_text(str(values))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer(
    resident_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Renderer]:
    """One process for all tests. Each test leaves it, or its successor, ready."""
    folder = tmp_path_factory.mktemp("renderer")
    limit = folder / "limit"
    limit.write_text(str(_ROOM))
    variables = {
        "MODEL_STORAGE_PATH": str(resident_folder),
        "INFINITETALK_DEVICE": "cpu",
        "INFINITETALK_PRECISION": "fp8",
        "INFINITETALK_FRAMES": "17",
        "INFINITETALK_MOTION_FRAMES": "5",
        "INFINITETALK_STEPS": "2",
        "INFINITETALK_AUDIO_GUIDE": "1",
        "INFINITETALK_CHECK": "finite",
        "INFINITETALK_SIZE_DIVISOR": "16",
        "HUNGRY": str(limit),
        "PYTHONPATH": os.pathsep.join([str(HUNGRY), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        log = configure_log("silent")
        process = RenderProcess(
            *("infinitetalk", None, scaled_timings(1), log, lambda: None),
            Spans("w1", nowhere, log),
        )
        living = asyncio.create_task(process.keep_alive())
        await until(lambda: process.is_ready, "the engine", PATIENCE_SECONDS)
        yield Renderer(process, folder, limit)
        living.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await living
        assert process._link is not None
        await process._link._process.wait()


def count_frames(path: str) -> tuple[int, float]:
    """The number of video frames, and the seconds of audio."""
    with av.open(path) as container:
        frames = sum(1 for _ in container.decode(video=0))
    with av.open(path) as container:
        sound = sum(frame.samples for frame in container.decode(audio=0)) / 48_000
    return frames, sound


async def test_a_job_of_three_chunks_becomes_a_video_as_long_as_its_audio(
    renderer: Renderer, tmp_path: Path
) -> None:
    result = await renderer.render(a_request(tmp_path, THREE_CHUNKS), "video.mp4")
    assert (result.engine, result.degraded) == ("infinitetalk", False)
    assert (result.generation.width, result.generation.height) == (48, 32)
    assert (result.video.width, result.video.height, result.video.frames) == (96, 54, THREE_CHUNKS)
    frames, sound = count_frames(result.video.path)
    assert frames == THREE_CHUNKS
    assert sound == pytest.approx(THREE_CHUNKS / FPS, abs=1 / FPS)
    facts = result.engine_facts
    assert facts.precision.startswith("fp8")
    assert (facts.device, facts.attention_backend) == ("cpu", "cpu")
    assert facts.details["steps"] == "2 in 2 forwards, uniform grid"
    assert facts.details["recipe"] == "lightx2v-4"
    assert renderer.process.seconds_per_video_second is not None


async def test_a_second_of_audio_becomes_a_second_of_video(
    renderer: Renderer, tmp_path: Path
) -> None:
    result = await renderer.render(a_request(tmp_path, 10), "video.mp4")
    assert count_frames(result.video.path)[0] == 10


async def test_running_out_of_memory_once_reduces_the_size_and_twice_fails_the_job(
    renderer: Renderer, tmp_path: Path
) -> None:
    request = a_request(tmp_path, 20)
    renderer.allow(8)
    result = await renderer.render(request, "smaller.mp4")
    assert result.degraded
    assert (result.generation.width, result.generation.height) == (32, 16)
    assert (result.video.width, result.video.height, result.video.frames) == (96, 54, 20)

    renderer.allow(1)
    with pytest.raises(ReportedFailure) as caught:
        await renderer.render(request, "none.mp4")
    assert caught.value.code == "GPU_OUT_OF_MEMORY"
    assert not list(renderer.folder.glob("none.mp4*"))

    renderer.allow(_ROOM)
    after = await renderer.render(request, "whole.mp4")
    assert not after.degraded
    assert after.video.frames == 20


async def test_a_cancelled_render_ends_within_a_step_and_the_process_stays_usable(
    renderer: Renderer, tmp_path: Path
) -> None:
    request = a_request(tmp_path, 400)
    asked: asyncio.Task[RenderResult] | None = None

    def cancel(fraction: float) -> None:
        if 0 < fraction < 0.5 and asked is not None:
            asked.cancel()

    asked = asyncio.create_task(renderer.render(request, "long.mp4", on_progress=cancel))
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert renderer.fractions[-1] < 0.5
    result = await renderer.render(a_request(tmp_path, 17), "next.mp4")
    assert result.video.frames == 17
    assert not list(renderer.folder.glob("long.mp4*"))


async def test_a_render_is_ended_at_its_deadline(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        await renderer.render(a_request(tmp_path, 400), "late.mp4", deadline_seconds=0.3)
    await until(lambda: renderer.process.is_ready, "the next process", PATIENCE_SECONDS)
    assert (await renderer.render(a_request(tmp_path, 17), "next.mp4")).video.frames == 17
