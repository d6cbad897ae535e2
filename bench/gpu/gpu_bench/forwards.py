"""B2 to B5: one forward of the engine, in bf16 and fp8, and one of upstream's transformer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from gpu_bench.measure import Bench, Budget, Device, Timed
from gpu_bench.scale import Scale
from gpu_bench.table import Row
from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import forward_flops, tokens_of
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Denoiser, Text
from inference_sidecar.engines.infinitetalk.upstream.compatibility import UpstreamUnusable
from inference_sidecar.engines.infinitetalk.upstream.forward import upstream_denoiser


@dataclass(frozen=True)
class Inputs:
    """The inputs of one forward: noise in the right shapes and of realistic magnitude."""

    latent: Tensor
    anchor: Tensor
    prompt: Tensor
    image: Tensor
    voices: Tensor

    @classmethod
    def of(cls, device: Device, scale: Scale, size: Size) -> Inputs:
        """Inputs at this size."""
        grid = ((scale.frames - 1) // 4 + 1, size.height // 8, size.width // 8)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, device=device.torch)

        return cls(
            latent=noise(16, *grid),
            anchor=noise(20, *grid),
            prompt=noise(scale.weights.text_tokens, scale.weights.text_dim),
            image=noise(257, 1280),
            voices=noise(1, scale.frames, 5, 12, 768),
        )

    @property
    def conditions(self) -> Conditions:
        """The job's part of the inputs."""
        return Conditions(self.prompt, None, self.image, self.anchor)


def prepared_forward(denoiser: Denoiser, inputs: Inputs) -> Callable[[], Tensor]:
    """One forward, with everything already prepared that a job prepares once."""
    conditioned = denoiser.condition(inputs.conditions)
    audio = conditioned.embed_audio(inputs.voices)
    return lambda: conditioned.predict(inputs.latent, 500.0, Text.PROMPT, audio)


@dataclass
class ForwardBench(Bench):
    """Measures forwards and keeps their medians, from which the time of whole chunks is
    estimated."""

    seconds: dict[tuple[str, Size], float] = field(
        default_factory=dict[tuple[str, Size], float], init=False
    )

    @torch.inference_mode()
    def native(
        self, case: str, denoiser: NativeDenoiser, precision: str, size: Size, budget: Budget
    ) -> None:
        """B3 (bf16) or B4 (fp8)."""
        kernels = f"attention {denoiser.attention}, {denoiser.block_ops} between"
        what = f"forward {size.width}x{size.height}, {precision}, {kernels}"
        work = forward_flops(size, self.scale.frames, self.scale.shape)
        floor = self.ceilings.floor(precision, work.linear, work.attention)
        if timed := self._forward(case, what, size, budget, lambda: denoiser):
            tokens = f"{tokens_of(size, self.scale.frames)} tokens"
            self.table.add(
                Row(case, what, timed.seconds, floor, work.total, timed.peak_bytes, tokens)
            )
            self.seconds[precision, size] = median(timed.seconds)

    @torch.inference_mode()
    def block(self, few: NativeDenoiser, layers: int, size: Size, budget: Budget) -> None:
        """B2: the time of one block, from the difference between a forward through all blocks and
        one through a few."""
        what = f"block {size.width}x{size.height}, bf16 (all blocks minus {layers})"
        whole = self.seconds.get(("bf16", size))
        if whole is None:
            self.table.skip("B2", what, "no full forward was measured")
            return
        timed = self._forward("B2", what, size, budget, lambda: few)
        if timed is None:
            return
        more = self.scale.shape.layers - layers
        if more <= 0:
            self.table.skip("B2", what, "there are no more blocks")
            return
        work = forward_flops(size, self.scale.frames, self.scale.shape)
        share = 1 / self.scale.shape.layers
        floor = self.ceilings.floor("bf16", work.linear * share, work.attention * share)
        each = tuple((whole - seconds) / more for seconds in timed.seconds)
        self.table.add(Row("B2", what, each, floor, work.total * share))

    @torch.no_grad()
    def upstream(
        self, weights: dict[str, Tensor], root: Path | None, size: Size, budget: Budget
    ) -> None:
        """B5: upstream's own class, unmodified, over the same weights."""
        what = f"upstream's forward {size.width}x{size.height}, bf16, attention map not compiled"
        if root is None:
            self.table.skip("B5", what, "no --upstream DIR")
            return
        work = forward_flops(size, self.scale.frames, self.scale.shape)
        floor = self.ceilings.floor("bf16", work.linear, work.attention)
        if timed := self._forward(
            "B5",
            what,
            size,
            budget,
            lambda: upstream_denoiser(root, weights, self.scale.config),
            (UpstreamUnusable, ImportError),
        ):
            ours = self.seconds.get(("bf16", size))
            note = f"ours is {median(timed.seconds) / ours:.2f}x as fast" if ours else ""
            self.table.add(
                Row("B5", what, timed.seconds, floor, work.total, timed.peak_bytes, note)
            )

    def _forward(
        self,
        case: str,
        what: str,
        size: Size,
        budget: Budget,
        make: Callable[[], Denoiser],
        refusals: tuple[type[Exception], ...] = (),
    ) -> Timed | None:
        def forward() -> Callable[[], Tensor]:
            return prepared_forward(make(), Inputs.of(self.device, self.scale, size))

        return self.time_or_skip(case, what, budget, forward, refusals)
