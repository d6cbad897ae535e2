"""Chooses the fastest block operations that run on a device and compute the right values."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.kernels.fused import fused_or
from inference_sidecar.engines.infinitetalk.native.block_ops import BlockOps, EagerOps, LinearInput
from inference_sidecar.engines.infinitetalk.native.fp8 import QuantisedRows
from inference_sidecar.engines.infinitetalk.native.layers import LayerNorm, Modulation, RmsNorm
from inference_sidecar.engines.infinitetalk.native.rope import Rotation

_CHECK_TOKENS: Final = 37
_TOLERANCE: Final = 0.02
"""Relative to the largest value: the two implementations round to bf16 at different places."""
_QUANTISED_TOLERANCE: Final = 0.02
"""Relative to the L2 norm; rounding to e4m3 alone costs 0.026."""


def fastest_block_ops(device: torch.device, dtype: torch.dtype) -> BlockOps:
    """Triton's where they run on this device and agree with torch's, otherwise torch's."""
    eager = EagerOps()
    if device.type != "cuda" or dtype != torch.bfloat16:
        return eager
    return fused_or(
        eager,
        fused=_triton_ops,
        is_right=lambda ops: agree(ops, eager, device, dtype),
        what="The fused kernels between the layers",
    )


def _triton_ops() -> BlockOps:
    # Triton is not installed beside a CPU build of torch.
    from inference_sidecar.engines.infinitetalk.native.triton_ops import TritonOps  # noqa: PLC0415

    return TritonOps()


def agree(one: BlockOps, other: BlockOps, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether both give the same results for random activations, up to rounding."""
    return all(
        _is_near(mine, theirs)
        for mine, theirs in zip(
            _samples(one, device, dtype), _samples(other, device, dtype), strict=True
        )
    )


def _samples(ops: BlockOps, device: torch.device, dtype: torch.dtype) -> list[LinearInput]:
    generator = torch.Generator().manual_seed(1)
    heads, head_dim = 3, 128
    width = heads * head_dim

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    x, other = (noise(_CHECK_TOKENS, width).to(dtype) for _ in range(2))
    shift, scale, gate, weight = (noise(width) for _ in range(4))
    angles = noise(_CHECK_TOKENS, 1, head_dim // 2)
    positions = Rotation(angles.cos(), angles.sin())
    layer, norm = LayerNorm.of(weight, shift, 1e-6), RmsNorm.of(weight, 1e-6)
    results: list[LinearInput] = [
        ops.gated_sum(x, other, gate),
        ops.heads(x, norm, heads, positions),
        ops.heads(x, norm, heads, None),
        ops.turn(x.unflatten(-1, (heads, -1)), positions),
    ]
    for as_rows in (False, True):
        results += [
            ops.norm(x, Modulation(shift, scale, 1e-6), as_rows=as_rows),
            *ops.sum_norm(x, other, None, layer, as_rows=as_rows),
            *ops.sum_norm(x, other, gate, layer, as_rows=as_rows),
            *ops.sum_norm(x, other, gate, None, as_rows=as_rows),
            ops.sum(x, other, as_rows=as_rows),
            ops.gelu(x, as_rows=as_rows),
            ops.rows(x, as_rows=as_rows),
        ]
    return results


def _is_near(mine: LinearInput, theirs: LinearInput) -> bool:
    if isinstance(mine, QuantisedRows) and isinstance(theirs, QuantisedRows):
        # One rounds to bf16 before e4m3 and the other does not: a few values land on other steps.
        a, b = (one.dequantised(torch.float32) for one in (mine, theirs))
        scales = (mine.scale / theirs.scale - 1).abs().max()
        return bool((a - b).norm() <= _QUANTISED_TOLERANCE * b.norm()) and bool(scales < 0.01)
    if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
        difference = (mine.float() - theirs.float()).abs().max()
        return mine.dtype == theirs.dtype and bool(
            difference <= _TOLERANCE * theirs.float().abs().max()
        )
    return False
