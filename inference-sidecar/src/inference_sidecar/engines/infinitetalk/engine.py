"""The `infinitetalk` engine: the published model, resident, one job at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch

from inference_sidecar.engines.engine import (
    Chunk,
    Control,
    Plan,
    Readiness,
    RenderRequest,
    ResumeState,
    Size,
    fingerprint_of,
)
from inference_sidecar.engines.infinitetalk.calibration import (
    FIXED_SECONDS,
    Pace,
    calibrate,
    seconds_per_video_second,
)
from inference_sidecar.engines.infinitetalk.device import GIB, Device
from inference_sidecar.engines.infinitetalk.driver import RenderState, render
from inference_sidecar.engines.infinitetalk.guidance import Guidance
from inference_sidecar.engines.infinitetalk.job_inputs import prepare_job
from inference_sidecar.engines.infinitetalk.loading import load_parts
from inference_sidecar.engines.infinitetalk.memory_plan import MemoryPlan, gib
from inference_sidecar.engines.infinitetalk.parts import Parts
from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings
from inference_sidecar.engines.infinitetalk.sizes import GenerationSizes
from inference_sidecar.engines.infinitetalk.windows import plan_windows
from inference_sidecar.foundation.errors import GpuOutOfMemory

_VERSION: Final = "infinitetalk-1"
_LANDSCAPE: Final = Size(1280, 720)


@dataclass(frozen=True)
class _Loaded:
    """What `load` leaves behind."""

    device: Device
    parts: Parts
    memory: MemoryPlan
    pace: Pace


class InfiniteTalkEngine:
    """Loads once, then renders chunk by chunk in constant memory. CUDA; a CPU serves for tests.

    load: makes the parts out of the settings; tests give their own.
    """

    name = "infinitetalk"

    def __init__(
        self,
        settings: InfiniteTalkSettings,
        load: Callable[[InfiniteTalkSettings, Device], Parts] = load_parts,
    ) -> None:
        self._settings = settings
        self._load = load
        self._how = settings.render_settings()
        self._guidance = Guidance(self._how.text_guide, self._how.audio_guide)
        self._sizes = GenerationSizes(settings.infinitetalk_size_divisor)
        self._maybe_loaded: _Loaded | None = None

    def load(self) -> Readiness:
        """Reads the weights, checks that the configured size fits, and times real forwards.

        Raises `WeightsError` for weights that are not there, and `GpuOutOfMemory` when the device
        is too small for the configured size: then no job is taken that could not be rendered.
        """
        limit = self._settings.infinitetalk_memory_gib
        device = Device(
            self._settings.infinitetalk_device, None if limit is None else round(limit * GIB)
        )
        parts = self._load(self._settings, device)
        memory = MemoryPlan(
            precision=self._settings.infinitetalk_precision,
            shape=parts.shape,
            frames=self._how.frames,
            prompts=2 if self._guidance.needs_negative else 1,
            codec_bytes_per_value=parts.codec_bytes_per_value,
            forward_memory=parts.forward_memory,
        )
        size = self._sizes.of(self._settings.infinitetalk_size, _LANDSCAPE)
        _make_room(device, parts, memory, size)
        device.forget_peak()
        pace = calibrate(parts, size, self._how, device)
        self._maybe_loaded = _Loaded(device, parts, memory, pace)
        return Readiness(
            device=device.name,
            precision=parts.precision,
            attention_backend=parts.attention,
            peak_memory_bytes=device.peak_bytes(),
            seconds_per_video_second=seconds_per_video_second(
                self._seconds_per_chunk(size), self._how
            ),
            details=self._details(size),
        )

    def plan(self, request: RenderRequest, size_class: str | None = None) -> Plan:
        """Windows of the model as chunks. Refuses nothing: what it cannot take is repaired."""
        chosen = size_class or self._settings.infinitetalk_size
        generation = self._sizes.of(chosen, request.delivery)
        windows = plan_windows(request.frames, self._how)
        return Plan(
            generation=generation,
            delivery=request.delivery,
            chunks=tuple(window.keep for window in windows),
            estimated_seconds=FIXED_SECONDS + len(windows) * self._seconds_per_chunk(generation),
            size_class=chosen,
        )

    def render(
        self, request: RenderRequest, plan: Plan, control: Control, resume: ResumeState | None
    ) -> Iterator[Chunk]:
        """See `Engine.render`. A size that does not fit now is not tried: `GpuOutOfMemory`."""
        state = None
        if resume is not None:
            resume.require(self.fingerprint(request, plan))
            state = RenderState.from_bytes(resume.next_chunk, resume.state)
        loaded = self._loaded
        _make_room(loaded.device, loaded.parts, loaded.memory, plan.generation)
        said = ""
        try:
            yield from self._chunks(request, plan, control, state)
        except (torch.OutOfMemoryError, MemoryError) as error:
            # Only its words are kept: the error holds frames, and those hold what is to be freed.
            said = str(error).partition("\n")[0] or type(error).__name__
        if said:
            loaded.device.give_back()
            raise GpuOutOfMemory(
                f"{plan.generation.width}x{plan.generation.height} did not fit into the memory.",
                context={"sizeClass": plan.size_class, "said": said},
            )

    def fingerprint(self, request: RenderRequest, plan: Plan) -> str:
        """See `Engine.fingerprint`. Settings, kernels and device count as weights do: each shows in
        the last bits."""
        loaded = self._loaded
        decides = (
            _VERSION,
            loaded.parts.weights,
            loaded.parts.precision,
            loaded.parts.attention,
            loaded.parts.small_ops,
            loaded.device.name,
            torch.__version__,
            self._how,
            self._prompt_of(request),
        )
        return fingerprint_of(request, plan, repr(decides))

    @property
    def _loaded(self) -> _Loaded:
        if self._maybe_loaded is None:
            raise RuntimeError("load() comes before everything else.")
        return self._maybe_loaded

    def _chunks(
        self, request: RenderRequest, plan: Plan, control: Control, state: RenderState | None
    ) -> Iterator[Chunk]:
        parts = self._loaded.parts
        job = prepare_job(
            parts, request, plan.generation, self._prompt_of(request), self._how, control
        )
        for chunk in render(parts.models, job, self._how, control, state):
            yield Chunk(chunk.index, chunk.to_uint8(), chunk.state.to_bytes())

    def _prompt_of(self, request: RenderRequest) -> str:
        return request.prompt.strip() or self._settings.infinitetalk_prompt

    def _details(self, size: Size) -> dict[str, str]:
        """What else decides pixels or pace."""
        loaded, how = self._loaded, self._how
        return {
            "calibratedAt": f"{size.width}x{size.height}",
            "steps": f"{how.steps} x {len(self._guidance.passes)}",
            "shift": f"{how.shift:g}",
            "guides": f"text {how.text_guide:g}, audio {how.audio_guide:g}",
            "betweenLayers": loaded.parts.small_ops,
            "codec": "tiled" if loaded.parts.codec.is_tiled else "whole",
            "forwardSeconds": f"{loaded.pace.forward:.3f}",
            "secondsPerChunk": f"{self._seconds_per_chunk(size):.2f}",
            "weights": loaded.parts.weights,
            "torch": torch.__version__,
        }

    def _seconds_per_chunk(self, size: Size) -> float:
        loaded = self._loaded
        passes = len(self._guidance.passes)
        return loaded.pace.seconds_per_chunk(size, self._how, passes, loaded.parts.shape)


def _make_room(device: Device, parts: Parts, memory: MemoryPlan, size: Size) -> None:
    """Tiles the codec if it must; raises `GpuOutOfMemory` if not even that is enough."""
    free = device.free_bytes()
    need = memory.fit(size, free)
    if need is None:
        least = memory.need(size, is_tiled=True)
        raise GpuOutOfMemory(
            f"{size.width}x{size.height} needs {gib(least.total)} beside the weights, and "
            f"{gib(free)} of {device.name} are free: choose a smaller INFINITETALK_SIZE.",
            context={"neededBytes": least.total, "freeBytes": free},
        )
    parts.codec.is_tiled = need.is_tiled
