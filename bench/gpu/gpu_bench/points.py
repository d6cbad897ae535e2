"""Ten questions about speakers, tiers, anchors and kernels, each with the figure that is aimed at.

`--points` asks them alone, on one card, in a quarter of an hour.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median

import torch
from torch import Tensor

from gpu_bench.chunks import NoiseVoice, Watch
from gpu_bench.codec import make_codec
from gpu_bench.encoders import make_image_encoder
from gpu_bench.forwards import Inputs, prepared_forward
from gpu_bench.measure import Bench, Budget, Timed
from gpu_bench.table import Row
from gpu_bench.weights import build, random_tensor
from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import tokens_of
from inference_sidecar.engines.infinitetalk.loading.warm_up import toucher
from inference_sidecar.engines.infinitetalk.native.attention import Attention, AttentionBackend
from inference_sidecar.engines.infinitetalk.native.attention_check import (
    AttentionSizes,
    disagreement,
    inputs_of,
)
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import (
    Models,
    RenderJob,
    RenderState,
    render,
)
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Listeners, Text
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Check, RenderSettings
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    audio_shapes,
)

_CHUNKS = 5
_CHUNK_SECONDS = 16.5
_ANCHOR_SECONDS = 0.9
_CHOICE_SECONDS = 4.0
"""What is aimed at on an H100."""
_NOT_THERE = "blocks are not streamed in this version"
_REFUSALS = (RuntimeError, NotImplementedError, AttributeError, ImportError, ValueError)


@dataclass
class Stopwatch(Watch):
    """Times the chunks of a render, without what comes before the first one."""

    chunks: list[float] = field(default_factory=list[float])

    @contextmanager
    def stage(self, name: str, **counts: int) -> Generator[None]:
        """See `Stages.stage`."""
        del counts
        began = time.perf_counter()
        yield
        if name == "chunk":
            self.chunks.append(time.perf_counter() - began)


@dataclass
class PointBench(Bench):
    """Asks with these weights, at the first of the sizes unless it says another one."""

    weights: Mapping[str, Tensor]
    dtype: torch.dtype

    def __post_init__(self) -> None:
        self._size = self.scale.sizes[0]
        self._forward = 0.0
        self._settings = RenderSettings(
            frames=self.scale.frames,
            motion=self.scale.motion,
            steps=self.scale.steps,
            audio_guide=2.0,
            guided_steps=self.scale.steps // 2,
            check=Check.FINITE,
        )

    def sections(self) -> Iterator[tuple[str, float, Callable[[Budget], None]]]:
        """Name, time limit in seconds, and function, in order."""
        yield "P1 precision of the audio branch", 90, self._audio_branch
        yield "P2 two voices, and the gate", 90, self._voices
        yield "P3 attention", 120, self._attention
        yield "P4 a chunk of the quality standard", 180, self._standard_chunk
        yield "P5 another anchor", 40, self._anchor
        yield "P6 the first chunk of another aspect", 90, self._other_aspect
        yield "P7, P8 streaming", 1, self._streaming
        yield "P9 five chunks, and a resume", 150, self._five_chunks
        yield "P10 choice of kernels", 30, self._kernel_choice

    def _audio_branch(self, budget: Budget) -> None:
        seconds: dict[str, float] = {}
        for audio in ("fp8", "bf16"):
            denoiser = self._denoiser(audio)
            what = f"forward, blocks fp8, audio branch {audio}"
            if found := self._time("P1", what, budget, partial(self._forward_of, denoiser)):
                seconds[audio] = median(found.seconds)
                self._add("P1", what, found.seconds, found.peak_bytes)
            del denoiser
            self.device.release_unused()
        self._forward = seconds.get("bf16", 0.0)
        self._aim("P1", "audio branch in bf16 against fp8", seconds, "bf16", "fp8", 0.04)

    def _voices(self, budget: Budget) -> None:
        shapes = audio_shapes(self.scale.weights)
        multi = {
            name: random_tensor(shape, self.device.torch, self.dtype)
            for name, shape in shapes.items()
        }
        denoiser = self._denoiser("bf16", multi)
        height, width = self._size.height // 8, self._size.width // 8
        sides = torch.zeros(3, height, width)
        sides[0, :, : width // 2] = 1
        sides[1, :, width // 2 :] = 1
        ways = {
            "one voice": (1, None),
            "two voices": (2, Listeners(sides)),
            "one voice and a gate": (2, Listeners(sides[:2], is_gated=True)),
        }
        seconds: dict[str, float] = {}
        peaks: dict[str, float] = {}
        for name, (voices, listeners) in ways.items():
            run = partial(self._forward_of, denoiser, voices, listeners)
            if found := self._time("P2", f"forward, {name}", budget, run):
                seconds[name] = median(found.seconds)
                peaks[name] = float(found.peak_bytes)
                self._add("P2", f"forward, {name}", found.seconds, found.peak_bytes)
        for name in list(ways)[1:]:
            self._aim("P2", f"{name} against one", seconds, name, "one voice", 0.05)
            self._aim("P2", f"{name}, peak of memory", peaks, name, "one voice", 0.06)

    def _attention(self, budget: Budget) -> None:
        """Every kernel that is there, timed, and the approximate one held against the exact one."""
        shape, where = self.scale.shape, self.device.torch
        backends = (
            (AttentionBackend.CUDNN, AttentionBackend.FLASH, AttentionBackend.SAGE)
            if self.device.is_cuda
            else (AttentionBackend.CPU,)
        )
        for size in self.scale.attended:
            tokens = tokens_of(size, self.scale.frames)
            sizes = AttentionSizes(shape.heads, shape.dim // shape.heads, (tokens,))
            inputs = inputs_of(tokens, tokens, sizes, where, self.dtype)
            for backend in backends:
                what = f"attention, {tokens} tokens, {backend.value}"

                def attend(backend: AttentionBackend = backend) -> Callable[[], Tensor]:
                    kernel = Attention(backend, where, self.dtype)
                    return lambda: kernel(*inputs)  # noqa: B023 - called at once

                found = self._time("P3", what, budget, attend)
                if found is None:
                    continue
                exact = Attention(backends[0], where, self.dtype)
                wrong = disagreement(
                    Attention(backend, where, self.dtype), exact, sizes, where, self.dtype
                )
                self._add("P3", what, found.seconds, found.peak_bytes, wrong or "agrees")

    def _standard_chunk(self, budget: Budget) -> None:
        """With the checks and the colours of a chunk, and without them."""
        denoiser = self._denoiser("bf16")
        bare = replace(self._settings, colour=0.0, check=Check.OFF)
        seconds: dict[str, float] = {}
        for name, settings in (("with", self._settings), ("without", bare)):
            watch = Stopwatch()
            chunks = self._render(denoiser, settings, self._size, 4, watch, budget)
            for _ in chunks:
                pass
            # The first one prepares the device; the last one encodes nothing for the next.
            if len(watch.chunks) < 4:
                self.table.skip("P4", f"chunk {name} checks and colours", "no time left")
                continue
            timed = tuple(watch.chunks[1:3])
            seconds[name] = min(timed)
            self._add("P4", f"chunk {name} checks and colours", timed, 0)
        if "with" in seconds:
            verdict = self._verdict(seconds["with"] <= _CHUNK_SECONDS)
            note = f"aim {_CHUNK_SECONDS} s{verdict}"
            self.table.add(Row("P4", "a chunk on an H100", note=note))
        self._aim("P4", "checks and colours", seconds, "with", "without", 0.005)

    def _anchor(self, budget: Budget) -> None:
        """A new picture for a window: encode, CLIP, keys and values."""
        models = self._models(self._denoiser("bf16"))
        inputs = Inputs.of(self.device, self.scale, self._size)
        conditioned = models.denoiser.condition(inputs.conditions)
        height, width = self._size.height, self._size.width
        shape = (3, self.scale.frames, height, width)
        window = torch.rand(shape, device=self.device.torch) * 2 - 1

        def anchored() -> None:
            latent = models.codec.encode(window)
            mask = latent.new_zeros(4, *latent.shape[1:])
            image = models.image_encoder.embed(window[:, 0])
            conditioned.anchored(image, torch.cat((mask, latent)), inputs.conditions.listeners)

        with torch.inference_mode():
            found = self._time("P5", "another anchor", budget, lambda: anchored)
        if found:
            verdict = self._verdict(median(found.seconds) <= _ANCHOR_SECONDS)
            note = f"aim {_ANCHOR_SECONDS} s{verdict}"
            self._add("P5", "another anchor", found.seconds, found.peak_bytes, note)

    def _other_aspect(self, budget: Budget) -> None:
        denoiser = self._denoiser("bf16")
        models, other = self._models(denoiser), self.scale.other_aspect
        with torch.inference_mode():
            toucher(denoiser, models.codec)(other, self._settings)
        self.device.synchronise()
        watch = Stopwatch()
        for _ in self._render(denoiser, self._settings, other, 3, watch, budget, models):
            pass
        what = f"first chunk at {other.width}x{other.height} after warm-up against the second"
        if len(watch.chunks) < 2:
            self.table.skip("P6", what, "no time left")
            return
        first, second = watch.chunks[:2]
        self._aim("P6", what, {"first": first, "second": second}, "first", "second", 0.03)

    def _streaming(self, _budget: Budget) -> None:
        self.table.skip("P7", "blocks streamed within 22.5 GiB", _NOT_THERE)
        self.table.skip("P8", "umT5 streamed beside a render", _NOT_THERE)

    def _five_chunks(self, budget: Budget) -> None:
        denoiser = self._denoiser("bf16")
        models, watch = self._models(denoiser), Stopwatch()
        digests: list[str] = []
        states: list[RenderState] = []
        for frames, state in self._render(
            denoiser, self._settings, self._size, _CHUNKS, watch, budget, models
        ):
            digests.append(frames)
            states.append(state)
        if len(digests) < _CHUNKS:
            self.table.skip("P9", "five chunks", "no time left")
            return
        middle = watch.chunks[1:-1]
        drift = {"slowest": max(middle), "quickest": min(middle)}
        self._add("P9", "chunks two to four of five", tuple(middle), 0)
        self._aim("P9", "drift of their time", drift, "slowest", "quickest", 0.03)
        resumed = render(models, self._job(self._size, _CHUNKS), self._settings, Watch(), states[1])
        verdict = "bit-equal" if _digest(next(resumed).to_uint8().tobytes()) == digests[2] else ""
        self.table.add(Row("P9", "third chunk resumed", note=verdict or "DIFFERS"))

    def _kernel_choice(self, _budget: Budget) -> None:
        dit = build(self.weights, self.scale, "fp8", self.dtype, audio="bf16")
        tokens = tokens_of(self._size, self.scale.frames)
        counts = tuple(tokens_of(size, self.scale.frames) for size in self.scale.attended)
        self.device.synchronise()
        began = time.perf_counter()
        denoiser = NativeDenoiser(dit, token_counts=counts, usual_tokens=tokens)
        self.device.synchronise()
        seconds = time.perf_counter() - began
        verdict = self._verdict(seconds <= _CHOICE_SECONDS)
        note = f"{denoiser.attention.value}; aim {_CHOICE_SECONDS} s{verdict}"
        self._add("P10", "choice of kernels when the engine loads", (seconds,), 0, note)

    def _denoiser(self, audio: str, multi: Mapping[str, Tensor] | None = None) -> NativeDenoiser:
        return NativeDenoiser(build(self.weights, self.scale, "fp8", self.dtype, audio, multi))

    def _models(self, denoiser: NativeDenoiser) -> Models:
        codec = make_codec(self.device, self.scale, self.dtype)
        return Models(denoiser, codec, make_image_encoder(self.device, self.scale))

    def _forward_of(
        self, denoiser: NativeDenoiser, voices: int = 1, listeners: Listeners | None = None
    ) -> Callable[[], Tensor]:
        inputs = Inputs.of(self.device, self.scale, self._size)
        if voices == 1:
            return prepared_forward(denoiser, inputs)
        conditions: Conditions = replace(inputs.conditions, listeners=listeners)
        with torch.inference_mode():
            conditioned = denoiser.condition(conditions)
            audio = conditioned.embed_audio(inputs.voices.repeat(voices, 1, 1, 1, 1))
        return lambda: conditioned.predict(inputs.latent, 500.0, Text.PROMPT, audio)

    def _job(self, size: Size, chunks: int) -> RenderJob:
        scale, where = self.scale, self.device.torch
        frames = scale.frames + (chunks - 1) * (scale.frames - scale.motion)
        drawn = torch.Generator().manual_seed(1)
        portrait = torch.rand(3, size.height, size.width, generator=drawn) * 2 - 1
        prompt = torch.randn(scale.weights.text_tokens, scale.weights.text_dim, generator=drawn)
        voices = (NoiseVoice(frames),)
        return RenderJob(portrait.to(where), prompt.to(where), None, voices, 7, frames)

    def _render(
        self,
        denoiser: NativeDenoiser,
        settings: RenderSettings,
        size: Size,
        chunks: int,
        watch: Stopwatch,
        budget: Budget,
        models: Models | None = None,
    ) -> Iterator[tuple[str, RenderState]]:
        """Digest and state of each chunk; ends early when there is no time left."""
        job = self._job(size, chunks)
        for chunk in render(models or self._models(denoiser), job, settings, watch):
            yield _digest(chunk.to_uint8().tobytes()), chunk.state
            if budget.left <= 0:
                return

    def _time(
        self, case: str, what: str, budget: Budget, make: Callable[[], Callable[[], object]]
    ) -> Timed | None:
        with torch.inference_mode():
            return self.time_or_skip(case, what, budget, make, _REFUSALS)

    def _add(
        self, case: str, what: str, seconds: tuple[float, ...], peak_bytes: int, note: str = ""
    ) -> None:
        self.table.add(Row(case, what, seconds, peak_bytes=peak_bytes or None, note=note))

    def _verdict(self, is_met: bool) -> str:  # noqa: FBT001 - the sentence's only word
        """Nothing of tiny shapes, whose figures mean nothing."""
        if not self.ceilings.is_meaningful:
            return ""
        return ": met" if is_met else ": NOT MET"

    def _aim(
        self, case: str, what: str, found: Mapping[str, float], one: str, other: str, most: float
    ) -> None:
        """How much more one takes than the other, and whether that is little enough."""
        if one not in found or not found.get(other):
            self.table.skip(case, what, "it was not measured")
            return
        more = found[one] / found[other] - 1
        note = f"{more:+.1%}, aim {most:+.1%}{self._verdict(more <= most)}"
        self.table.add(Row(case, what, note=note))


def _digest(frames: bytes) -> str:
    return hashlib.sha256(frames).hexdigest()
