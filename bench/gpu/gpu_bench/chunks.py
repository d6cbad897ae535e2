"""B7 and B8: whole chunks through the engine's chunk loop; a cancel, a resume, the start of a
job."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_bench.measure import Bench, Budget
from gpu_bench.table import Row
from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import (
    decode_flops,
    encode_flops,
    forward_flops,
)
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import (
    Models,
    RenderJob,
    RenderState,
    render,
)
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    ConditionedDenoiser,
    Conditions,
    Denoiser,
    Listeners,
    Text,
)
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Check, RenderSettings
from inference_sidecar.engines.stages import Untimed
from inference_sidecar.foundation.errors import Cancelled

_CHUNKS = 3


class NoiseVoice:
    """`interfaces.VoiceTrack` of noise."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def window(self, start: int, frames: int, *, is_last: bool) -> Tensor:
        """The same noise for the same window."""
        generator = torch.Generator().manual_seed(start + is_last)
        return torch.randn(frames, 5, 12, 768, generator=generator)


@dataclass
class Watch(Untimed):
    """`engine.Control` that can cancel a render."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    on_first_progress: Callable[[], None] | None = None

    def check(self) -> None:
        """Raises `Cancelled` once `cancelled` is set."""
        if self.cancelled.is_set():
            raise Cancelled

    def progress(self, fraction: float) -> None:
        """Calls `on_first_progress` once, when the first forward has been launched."""
        if fraction > 0 and self.on_first_progress is not None:
            self.on_first_progress()
            self.on_first_progress = None


@dataclass
class ChunkBench(Bench):
    """Renders with the given models.

    forward_seconds: median of a forward measured alone, to compare with its share of a chunk.
    """

    models: Models
    precision: str
    size: Size
    forward_seconds: float | None

    @property
    def settings(self) -> RenderSettings:
        """One pass per step. Noise is checked for numbers alone: it is no picture."""
        scale = self.scale
        return RenderSettings(
            frames=scale.frames, motion=scale.motion, steps=scale.steps, check=Check.FINITE
        )

    def job(self, chunks: int) -> RenderJob:
        """A job of this many chunks, with noise as its inputs."""
        scale, where = self.scale, self.device.torch
        frames = scale.frames + (chunks - 1) * (scale.frames - scale.motion)
        generator = torch.Generator().manual_seed(1)
        portrait = torch.rand(3, self.size.height, self.size.width, generator=generator) * 2 - 1
        prompt = torch.randn(scale.weights.text_tokens, scale.weights.text_dim, generator=generator)
        return RenderJob(
            portrait.to(where), prompt.to(where), None, (NoiseVoice(frames),), 7, frames
        )

    def in_a_row(self, budget: Budget) -> None:
        """B7: three chunks of one job after a warm-up chunk; then B8's resume, compared with
        them."""
        what = f"{self.size.width}x{self.size.height}, {self.precision}, {self.scale.steps} x 1"
        guess = (self.forward_seconds or 0.0) * self.scale.steps * 1.5
        if budget.left < guess * (_CHUNKS + 1):
            self.table.skip("B7", f"chunk {what}", "no time left")
            return
        for _ in render(self.models, self.job(1), self.settings, Watch()):
            self.device.synchronise()
        self.device.release_unused()
        self.device.reset_peak()
        seconds, digests, states = self._render_three()
        row = Row(
            "B7",
            f"chunk {what} (first, second, third: {', '.join(f'{one:.2f}' for one in seconds)} s)",
            seconds,
            self._floor(),
            None,
            self.device.peak_bytes(),
            self._sum_note(seconds),
        )
        self.table.add(row)
        self._resume(digests[1], states[0], what)

    def _render_three(self) -> tuple[tuple[float, float, float], list[str], list[RenderState]]:
        seconds: list[float] = []
        digests: list[str] = []
        states: list[RenderState] = []
        chunks = render(self.models, self.job(_CHUNKS), self.settings, Watch())
        began = time.perf_counter()
        for chunk in chunks:
            frames = chunk.to_uint8()
            now = time.perf_counter()
            seconds.append(now - began)
            digests.append(_digest(frames))
            states.append(chunk.state)
            # Hashing does not count: the next chunk is timed from here.
            began = time.perf_counter()
        first, second, third = seconds
        return (first, second, third), digests, states

    def _resume(self, expected: str, state: RenderState, what: str) -> None:
        chunks = render(self.models, self.job(_CHUNKS), self.settings, Watch(), state)
        digest = _digest(next(chunks).to_uint8())
        del chunks
        verdict = "bit-equal" if digest == expected else "DIFFERS"
        self.table.add(
            Row("B8", f"second chunk resumed from the first one's state, {what}", note=verdict)
        )

    def cancel(self, budget: Budget) -> None:
        """B8: from a cancel in the middle of a forward to an idle device."""
        what = f"cancel in mid-step {self.size.width}x{self.size.height}, {self.precision}"
        forward = self.forward_seconds
        if forward is None or budget.left < 5 * (2 * forward + 5):
            self.table.skip("B8", what, "no time left")
            return
        seconds = tuple(self._cancel_once(forward) for _ in range(5))
        self.table.add(Row("B8", what, seconds, note=f"one forward is {forward:.2f} s"))

    def _cancel_once(self, forward: float) -> float:
        watch = Watch()
        cancelled_at = 0.0

        def cancel() -> None:
            nonlocal cancelled_at
            cancelled_at = time.perf_counter()
            watch.cancelled.set()

        # Progress is reported when the first forward has been launched: half a forward later the
        # device is in the middle of it.
        watch.on_first_progress = threading.Timer(forward / 2, cancel).start
        with contextlib.suppress(Cancelled):
            for _ in render(self.models, self.job(1), self.settings, watch):
                pass
        self.device.synchronise()
        ended = time.perf_counter()
        watch.cancelled.wait(forward)
        return max(0.0, ended - cancelled_at)

    def between_jobs(self, budget: Budget) -> None:
        """B8: from an idle device to the first forward of a job, the gap between two jobs."""
        size = f"{self.size.width}x{self.size.height}"
        what = f"next job's start {size} (CLIP, two encodes, keys and values)"
        models = Models(
            _UpToFirstForward(self.models.denoiser), self.models.codec, self.models.image_encoder
        )

        def start() -> None:
            with contextlib.suppress(_FirstForwardReached):
                next(render(models, self.job(1), self.settings, Watch()))
            self.device.synchronise()

        if timed := self.time_or_skip("B8", what, budget, lambda: start):
            self.table.add(Row("B8", what, timed.seconds))

    def _floor(self) -> float | None:
        scale, size = self.scale, self.size
        work = forward_flops(size, scale.frames, scale.shape)
        forward = self.ceilings.floor(self.precision, work.linear, work.attention)
        codec = self.ceilings.floor(
            "bf16", decode_flops(size, scale.frames) + encode_flops(size, scale.motion), 0.0
        )
        return None if forward is None or codec is None else forward * scale.steps + codec

    def _sum_note(self, seconds: tuple[float, float, float]) -> str:
        _first, second, third = seconds
        drift = max(second, third) / min(second, third) - 1
        if self.forward_seconds is None:
            return f"drift {drift:.1%}"
        steps = self.scale.steps
        forwards = self.forward_seconds * steps
        rest = second - forwards
        return f"{steps} forwards {forwards:.2f} s + the rest {rest:.2f} s; drift {drift:.1%}"


def _digest(frames: NDArray[np.uint8]) -> str:
    return hashlib.sha256(frames.tobytes()).hexdigest()


class _FirstForwardReached(Exception):
    """Everything before the first forward of a job is done."""


class _UpToFirstForward:
    """A denoiser that prepares a job like the real one and never computes a forward."""

    def __init__(self, real: Denoiser) -> None:
        self._real = real

    def condition(self, conditions: Conditions) -> _Prepared:
        """See `interfaces.Denoiser`."""
        return _Prepared(self._real.condition(conditions))


class _Prepared:
    """The conditioned denoiser of `_UpToFirstForward`."""

    def __init__(self, real: ConditionedDenoiser) -> None:
        self._real = real

    def anchored(self, image: Tensor, anchor: Tensor, listeners: Listeners | None) -> _Prepared:
        """See `interfaces.ConditionedDenoiser`."""
        return _Prepared(self._real.anchored(image, anchor, listeners))

    def embed_audio(self, voices: Tensor) -> Tensor:
        """See `interfaces.ConditionedDenoiser`."""
        return self._real.embed_audio(voices)

    def predict(
        self,
        latent: Tensor,  # noqa: ARG002 - the protocol's signature
        timestep: float,  # noqa: ARG002
        text: Text,  # noqa: ARG002
        audio: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Raises instead of computing the first forward."""
        raise _FirstForwardReached
