"""B6: the video codec, in each precision and tiling that the engine may choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gpu_bench.measure import Bench, Budget, Device
from gpu_bench.scale import Scale
from gpu_bench.table import Row
from gpu_bench.weights import random_tensor
from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import decode_flops, encode_flops
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    codec_shapes,
)

if TYPE_CHECKING:
    from inference_sidecar.engines.infinitetalk.encoders.codec import WanCodec


def make_codec(
    device: Device, scale: Scale, dtype: torch.dtype, *, is_tiled: bool = False
) -> WanCodec:
    """The engine's codec with random weights."""
    # Imported late: diffusers may be missing, and everything else can be measured without it.
    from inference_sidecar.engines.infinitetalk.encoders.codec import WanCodec  # noqa: PLC0415

    shapes = codec_shapes(scale.weights)
    tensors = {
        # Norm weights of one: random ones would let the signal explode over this many layers.
        name: torch.ones(shape, device=device.torch)
        if name.endswith("gamma")
        else random_tensor(shape, device.torch, torch.float32)
        for name, shape in shapes.items()
    }
    return WanCodec(tensors, device.torch, dtype, is_tiled=is_tiled)


class CodecBench(Bench):
    """Measures decoding a chunk, and encoding the portrait's window and a chunk's motion frames."""

    def measure(self, size: Size, budget: Budget, *, is_brief: bool = False) -> None:
        """All variants, or with `is_brief` only the one that the engine uses."""
        half = torch.bfloat16 if self.device.is_cuda else torch.float32
        if not is_brief:
            exact = make_codec(self.device, self.scale, torch.float32)
            self._variant("float32", exact, size, budget, is_whole=False)
            tiled = make_codec(self.device, self.scale, half, is_tiled=True)
            self._variant("bf16, tiled", tiled, size, budget, is_whole=False)
        codec = make_codec(self.device, self.scale, half)
        self._variant("bf16, as the engine", codec, size, budget)

    @torch.inference_mode()
    def _variant(
        self, name: str, codec: WanCodec, size: Size, budget: Budget, *, is_whole: bool = True
    ) -> None:
        frames, motion = self.scale.frames, self.scale.motion
        latent = torch.randn(16, (frames - 1) // 4 + 1, size.height // 8, size.width // 8)
        latent = latent.to(self.device.torch)
        pixels = torch.rand(3, frames, size.height, size.width, device=self.device.torch) * 2 - 1
        where = f"frames {size.width}x{size.height}, {name}"
        decoding = decode_flops(size, frames)
        self._one(f"codec decode {frames} {where}", decoding, lambda: codec.decode(latent), budget)
        for count in (motion, frames) if is_whole else ():
            video, encoding = pixels[:, :count], encode_flops(size, count)
            encode = partial(codec.encode, video)
            self._one(f"codec encode {count} {where}", encoding, encode, budget)

    def _one(self, what: str, flops: float, run: Callable[[], Tensor], budget: Budget) -> None:
        # The floor uses the bf16 matmul ceiling, which float32 convolutions cannot reach.
        floor = self.ceilings.floor("bf16", flops, 0.0)
        if timed := self.time_or_skip("B6", what, budget, lambda: run):
            self.table.add(Row("B6", what, timed.seconds, floor, flops, timed.peak_bytes))
