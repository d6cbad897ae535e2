"""The `infinitetalk` engine: the published model, kept on the device, one job at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch

from inference_sidecar.engines.engine import (
    DELIVERY_SIZES,
    FPS,
    QUALITIES,
    UNTIMED,
    Chunk,
    Control,
    Offers,
    Plan,
    Readiness,
    RenderRequest,
    ResumeState,
    Size,
    fingerprint_of,
)
from inference_sidecar.engines.faces.face_finder import Face, FaceFinder
from inference_sidecar.engines.infinitetalk.capacity.device import Device
from inference_sidecar.engines.infinitetalk.capacity.generation_sizes import GenerationSizes
from inference_sidecar.engines.infinitetalk.capacity.memory_plan import GIB, MemoryPlan, gib
from inference_sidecar.engines.infinitetalk.inputs.check_face import check_face
from inference_sidecar.engines.infinitetalk.inputs.choose_cut import choose_cut, require_both
from inference_sidecar.engines.infinitetalk.inputs.choose_listeners import (
    choose_listeners,
    follow_listeners,
)
from inference_sidecar.engines.infinitetalk.inputs.cut import Cut
from inference_sidecar.engines.infinitetalk.inputs.portrait import read_portrait
from inference_sidecar.engines.infinitetalk.inputs.prepare_job import Encoders, Scene, prepare_job
from inference_sidecar.engines.infinitetalk.inputs.seen import Seen, look_at
from inference_sidecar.engines.infinitetalk.inputs.source_video import SourceVideo, find_cuts
from inference_sidecar.engines.infinitetalk.loading.calibration import (
    FIXED_SECONDS,
    Pace,
    calibrate,
    seconds_per_video_second,
)
from inference_sidecar.engines.infinitetalk.loading.load_model import load_model
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.engines.infinitetalk.sampling.anchors import MovingAnchor, VideoEnd
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import RenderState, render
from inference_sidecar.engines.infinitetalk.sampling.guidance import Guidance
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Listeners
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Others, RenderSettings
from inference_sidecar.engines.infinitetalk.sampling.windows import plan_windows
from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings
from inference_sidecar.engines.infinitetalk.tiers import Tier, tiers_of
from inference_sidecar.engines.stages import LoadStages
from inference_sidecar.foundation.contracts import Sampling
from inference_sidecar.foundation.errors import GpuOutOfMemory, RenderFailed

_VERSION: Final = "infinitetalk-4"
_STILL_SECONDS: Final = 60
"""Of a video whose camera may stand still: beyond it a still picture drifts."""
_LANDSCAPE: Final = Size(1280, 720)


@dataclass(frozen=True)
class _Loaded:
    """What exists after `load`. objection: how the settings contradict the weights, if allowed."""

    device: Device
    model: LoadedModel
    memory: MemoryPlan
    pace: Pace
    faces: FaceFinder
    tiers: Mapping[str, Tier]
    objection: str | None

    @property
    def rendering(self) -> RenderSettings:
        """Of the quality `standard`."""
        return self.tiers["standard"].rendering


class InfiniteTalkEngine:
    """Loads once, then renders chunk by chunk in constant memory, on CUDA, or on a CPU in tests.

    load: loads the model for these settings; tests pass their own.
    """

    name = "infinitetalk"

    def __init__(
        self,
        settings: InfiniteTalkSettings,
        load: Callable[[InfiniteTalkSettings, Device, LoadStages], LoadedModel] = load_model,
    ) -> None:
        self._settings = settings
        self._load = load
        self._sizes = GenerationSizes(settings.infinitetalk_size_divisor)
        self._maybe_loaded: _Loaded | None = None
        self._changed: dict[str, str] = {}

    def load(self, stages: LoadStages = UNTIMED) -> Readiness:
        """Reads the weights, checks that the configured size fits, and times real forwards.

        Raises `WeightsError` if weights are missing, and `GpuOutOfMemory` if the device is too
        small for the configured size, so that the worker never takes a job it cannot render.
        Raises `SamplingRefused` if the settings contradict how the weights were trained.
        """
        limit = self._settings.infinitetalk_memory_gib
        device = Device(
            self._settings.infinitetalk_device, None if limit is None else round(limit * GIB)
        )
        with stages.stage("weights"):
            model = self._load(self._settings, device, stages)
            device.synchronise()
        objection = self._settings.objection(model.recipe)
        tiers = tiers_of(self._settings, model.recipe)
        rendering = tiers["standard"].rendering
        memory = MemoryPlan(
            precision=self._settings.infinitetalk_precision,
            shape=model.shape,
            frames=rendering.frames,
            prompts=2 if Guidance.of(rendering).needs_negative else 1,
            codec_bytes_per_value=model.codec_bytes_per_value,
            forward_memory=model.forward_memory,
        )
        size = self._sizes.of(self._settings.infinitetalk_size, _LANDSCAPE)
        with stages.stage("engine"):
            for tier in tiers.values():
                _require_memory(device, model, memory, self._sizes.of(tier.size_class, _LANDSCAPE))
            _require_memory(device, model, memory, size)
            faces = FaceFinder()
        device.reset_peak()
        with stages.stage("calibrate"):
            pace = calibrate(model, size, rendering, device)
        self._maybe_loaded = _Loaded(device, model, memory, pace, faces, tiers, objection)
        return Readiness(
            device=device.name,
            precision=model.precision,
            attention_backend=model.attention,
            peak_memory_bytes=device.peak_bytes(),
            seconds_per_video_second=seconds_per_video_second(
                self._seconds_per_chunk(size, rendering), rendering
            ),
            details=self._details(size),
            size_class=self._settings.infinitetalk_size,
            frames_per_chunk=rendering.frames - rendering.motion,
            device_uuid=device.uuid,
            offers=self._offers(),
        )

    def _offers(self) -> Offers:
        """Each quality at its own pace. Weights with one tier offer no draft: none is quicker."""
        loaded = self._loaded
        offered = QUALITIES if loaded.model.recipe.is_step_distilled else ("standard", "high")
        return Offers(
            paces={quality: self._pace_of(loaded.tiers[quality]) for quality in offered},
            speakers=2 if loaded.model.has_multi else 1,
            video=True,
        )

    def warm_up(self) -> Iterator[None]:
        """Every size of the configured class but the calibrated one: the first job of another
        aspect would otherwise pay for what the device prepares per size."""
        loaded, size_class = self._loaded, self._settings.infinitetalk_size
        if loaded.model.touch is None:
            return
        sizes = dict.fromkeys(self._sizes.of(size_class, delivery) for delivery in DELIVERY_SIZES)
        for size in sizes:
            if size != loaded.pace.size:
                loaded.model.touch(size, loaded.rendering)
                loaded.device.synchronise()
                yield

    def plan(self, request: RenderRequest, size_class: str | None = None) -> Plan:
        """One chunk per window of the model.

        Raises `ImageUnreadable`, `FaceUnusable` if the face is outside the frame,
        `SpeakerNotFound`, and `RenderFailed` for two voices without weights for them.
        """
        loaded = self._loaded
        tier, rendering = self._tier(request), self._rendering(request)
        chosen = size_class or tier.size_class
        generation = self._sizes.of(chosen, request.delivery)
        seen = look_at(loaded.faces, request.image)
        cuts: tuple[int, ...] = ()
        if request.video is not None:
            end = VideoEnd(request.how.video_end)
            cuts = find_cuts(request.video, request.frames, rendering, end)
        windows = plan_windows(request.frames, rendering, cuts)
        per_chunk = self._seconds_per_chunk(generation, rendering)
        is_chosen = len(request.heard) > 1 or self._others is not Others.FREE
        # Of a video, the first picture; the later ones may move the cut.
        cut = choose_cut(seen, generation, request.how, len(request.heard), rendering.crop)
        if len(request.heard) > 1 and not loaded.model.has_multi:
            raise RenderFailed(
                "Two people speak, and the audio branch for two voices is not loaded: run `python"
                " -m inference_sidecar.weights fetch --with multi`, then `prepare`."
            )
        if len(request.heard) > 1 or request.how.speaker is not None:
            self._listeners(request, seen, cut)
        if len(request.heard) > 1:
            require_both(seen, cut, request.how)
        warnings = check_face(seen, cut, is_speaker_chosen=is_chosen)
        return Plan(
            generation=generation,
            delivery=request.delivery,
            chunks=tuple(window.keep for window in windows),
            estimated_seconds=FIXED_SECONDS + len(windows) * per_chunk,
            size_class=chosen,
            warnings=warnings,
            cuts=cuts,
            sampling=Sampling(
                quality=tier.quality,
                recipe=loaded.model.recipe.name,
                steps=rendering.steps,
                forwards=Guidance.of(rendering).forwards(rendering.steps),
            ),
        )

    def render(
        self, request: RenderRequest, plan: Plan, control: Control, resume: ResumeState | None
    ) -> Iterator[Chunk]:
        """See `Engine.render`. Raises `GpuOutOfMemory` at once if the size does not fit now."""
        state = None
        if resume is not None:
            resume.require(self.fingerprint(request, plan))
            state = RenderState.from_bytes(resume.next_chunk, resume.state)
        loaded = self._loaded
        _require_memory(loaded.device, loaded.model, loaded.memory, plan.generation)
        reason = ""
        try:
            yield from self._chunks(request, plan, control, state)
        except (torch.OutOfMemoryError, MemoryError) as error:
            # Only the text is kept: the error's traceback refers to the tensors that must be freed.
            reason = str(error).partition("\n")[0] or type(error).__name__
        if reason:
            loaded.device.release_unused()
            raise GpuOutOfMemory(
                f"{plan.generation.width}x{plan.generation.height} did not fit into the memory.",
                context={"sizeClass": plan.size_class, "said": reason},
            )

    def fingerprint(self, request: RenderRequest, plan: Plan) -> str:
        """See `Engine.fingerprint`. It covers settings, kernels and device as well as weights: each
        of them shows in the last bits."""
        loaded = self._loaded
        decisive = (
            _VERSION,
            loaded.model.weights,
            loaded.model.precision,
            loaded.model.attention,
            loaded.model.block_ops,
            loaded.model.audio_branch,
            loaded.device.name,
            torch.__version__,
            self._rendering(request),
            self._others,
            self._prompt_of(request),
            plan.cuts,
        )
        return fingerprint_of(request, plan, repr(decisive))

    @property
    def _loaded(self) -> _Loaded:
        if self._maybe_loaded is None:
            raise RuntimeError("Call load() first.")
        return self._maybe_loaded

    def _chunks(
        self, request: RenderRequest, plan: Plan, control: Control, state: RenderState | None
    ) -> Iterator[Chunk]:
        model, settings = self._loaded.model, self._rendering(request)
        facts = {"quality": self._tier(request).quality, **_sampling_of(settings)}
        # In the folder of the attempt, which is emptied even if this process is killed.
        place = None if request.video is None else request.video.parent
        with TemporaryDirectory(prefix="source-", dir=place) as folder:
            with control.stage("prepare"):
                control.check()
                scene = self._scene(request, plan, control, Path(folder))
                encoders = Encoders(model.text, model.voice)
                prompt = self._prompt_of(request)
                job = prepare_job(encoders, request, scene, prompt, settings, control)
            for chunk in render(model.models, job, settings, control, state):
                if chunk.is_redone:
                    self._changed["attention"] = f"exact since {model.attention} broke a chunk"
                state = chunk.state
                yield Chunk(
                    chunk.index,
                    chunk.to_uint8(),
                    state.to_bytes(),
                    state.checks,
                    {**facts, **self._changed},
                )

    def _scene(self, request: RenderRequest, plan: Plan, control: Control, folder: Path) -> Scene:
        """What is filmed. folder: for frames of a source video, until the render ends."""
        settings, faces = self._rendering(request), self._loaded.faces
        seen = look_at(faces, request.image)

        def cut_around(later: Iterable[Sequence[Face]] = ()) -> Cut:
            voices = len(request.heard)
            return choose_cut(seen, plan.generation, request.how, voices, settings.crop, later)

        if request.video is not None:
            windows = plan_windows(request.frames, settings, plan.cuts)
            end = VideoEnd(request.how.video_end)
            starts = [window.start for window in windows]
            video = SourceVideo.open(request.video, starts, end, folder)
            later = list(_while_wanted(video.faces(faces), control))
            cut = cut_around(later)
            listeners = self._listeners(request, seen, cut)
            voices = len(request.heard)
            moved = follow_listeners(listeners, seen, later, cut, request.how, voices, self._others)
            return Scene(video.frame(0, cut), video.anchors(cut, moved), listeners, plan.cuts)
        cut = cut_around()
        portrait = read_portrait(request.image, cut)
        is_moving = request.how.camera == "drift" or (
            request.how.camera == "auto"
            and self._settings.infinitetalk_camera == "auto"
            and request.frames > _STILL_SECONDS * FPS
        )
        listeners = self._listeners(request, seen, cut)
        return Scene(portrait, MovingAnchor(portrait) if is_moving else None, listeners)

    def _listeners(self, request: RenderRequest, seen: Seen, cut: Cut) -> Listeners | None:
        """Who hears which voice; None where everybody hears the only one."""
        voices, others = len(request.heard), self._others
        if voices == 1 and request.how.speaker is None and others is Others.FREE:
            return None
        return choose_listeners(seen, cut, request.how, voices, others)

    @property
    def _others(self) -> Others:
        """What other faces hear, as far as these weights can do it."""
        model, wanted = self._loaded.model, self._settings.infinitetalk_others
        if not model.is_native:
            return Others.FREE
        return Others.GATE if wanted is Others.SILENT and not model.has_multi else wanted

    def _tier(self, request: RenderRequest) -> Tier:
        return self._loaded.tiers[request.how.quality]

    def _rendering(self, request: RenderRequest) -> RenderSettings:
        """How this job is rendered, whatever its size class."""
        rendering = self._tier(request).rendering
        if request.video is None:
            return rendering
        return replace(
            rendering, colour=min(rendering.colour, self._settings.infinitetalk_color_video)
        )

    def _prompt_of(self, request: RenderRequest) -> str:
        return request.prompt.strip() or self._settings.infinitetalk_prompt

    def _details(self, size: Size) -> dict[str, str]:
        """What else affects the pixels or the speed."""
        loaded, rendering = self._loaded, self._loaded.rendering
        return {
            "calibratedAt": f"{size.width}x{size.height}",
            "recipe": loaded.model.recipe.name,
            "sampling": loaded.objection or "as the weights were trained",
            **_sampling_of(rendering),
            "voices": "1 or 2" if loaded.model.has_multi else "1",
            "qualities": ", ".join(f"{x.quality} {self._pace_of(x):.2f}" for x in self._offered),
            "audioBranch": loaded.model.audio_branch,
            "betweenLayers": loaded.model.block_ops,
            "codec": "tiled" if loaded.model.codec.is_tiled else "whole",
            "forwardSeconds": f"{loaded.pace.forward:.3f}",
            "secondsPerChunk": f"{self._seconds_per_chunk(size, rendering):.2f}",
            "weights": loaded.model.weights,
            "torch": torch.__version__,
        }

    @property
    def _offered(self) -> list[Tier]:
        """The tiers that differ."""
        return list({tier.quality: tier for tier in self._loaded.tiers.values()}.values())

    def _pace_of(self, tier: Tier) -> float:
        """Seconds per second of video, for a landscape one."""
        size = self._sizes.of(tier.size_class, _LANDSCAPE)
        return seconds_per_video_second(
            self._seconds_per_chunk(size, tier.rendering), tier.rendering
        )

    def _seconds_per_chunk(self, size: Size, rendering: RenderSettings) -> float:
        loaded = self._loaded
        return loaded.pace.seconds_per_chunk(size, rendering, loaded.model.shape)


def _while_wanted(
    faces: Iterable[tuple[Face, ...]], control: Control
) -> Iterator[tuple[Face, ...]]:
    """The same, but a cancelled render ends between two pictures."""
    for found in faces:
        control.check()
        yield found


def _sampling_of(rendering: RenderSettings) -> dict[str, str]:
    """As a result tells it."""
    forwards = Guidance.of(rendering).forwards(rendering.steps)
    return {
        "steps": f"{rendering.steps} in {forwards} forwards, {rendering.grid} grid",
        "shift": f"{rendering.shift:g}",
        "guides": f"text {rendering.text_guide:g}, audio {rendering.audio_guide:g}",
    }


def _require_memory(device: Device, model: LoadedModel, memory: MemoryPlan, size: Size) -> None:
    """Tiles the codec if necessary; raises `GpuOutOfMemory` if that is not enough either."""
    free = device.free_bytes()
    need = memory.fit(size, free)
    if need is None:
        least = memory.need(size, is_tiled=True)
        raise GpuOutOfMemory(
            f"{size.width}x{size.height} needs {gib(least.total)} beside the weights, and "
            f"{gib(free)} of {device.name} are free: choose a smaller INFINITETALK_SIZE.",
            context={"neededBytes": least.total, "freeBytes": free},
        )
    model.codec.is_tiled = need.is_tiled
