"""What a block does between its linear layers: norms, rotations, gates, activations.

Arithmetic is a few per cent of a forward, but written operation by operation it moves each
activation through memory five times as often as it must. `EagerOps` is torch, operation by
operation, and what everything else is held against; `triton_ops.TritonOps` has a kernel for each.
"""

from __future__ import annotations

from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.fused import fused_or
from inference_sidecar.engines.infinitetalk.native.fp8 import QuantisedRows, quantise_activation
from inference_sidecar.engines.infinitetalk.native.layers import (
    LayerNorm,
    Modulation,
    RmsNorm,
    gated_sum,
)
from inference_sidecar.engines.infinitetalk.native.rope import Rotation, rotate

LinearInput = Tensor | QuantisedRows
"""What a linear layer takes: `[tokens, dim]`, or the same quantised once for several layers."""
Norm = LayerNorm | Modulation | None
"""What stands before a linear layer."""


class SmallOps(Protocol):
    """Activations are `[tokens, dim]` in the transformer's dtype; the rest is float32.

    as_rows: whether the linear layers that take the result want it quantised.
    """

    name: str
    """For the record of a result."""

    def norm(self, x: Tensor, by: Norm, *, as_rows: bool) -> LinearInput:
        """`x`, normalised."""
        ...

    def sum_norm(
        self, x: Tensor, update: Tensor, gate: Tensor | None, by: Norm, *, as_rows: bool
    ) -> tuple[Tensor, LinearInput]:
        """`x + update * gate`, or without a gate `x + update`; and the same, normalised."""
        ...

    def heads(self, x: Tensor, norm: RmsNorm, heads: int, positions: Rotation | None) -> Tensor:
        """Root-mean-square norm, cut into `[tokens, heads, head_dim]`, rotated if there are
        positions."""
        ...

    def gated_sum(self, x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
        """`x + update * gate`."""
        ...

    def sum(self, x: Tensor, other: Tensor, *, as_rows: bool) -> LinearInput:
        """`x + other`."""
        ...

    def gelu(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """GELU in its tanh form."""
        ...

    def rows(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """`x` itself."""
        ...


class EagerOps:
    """`SmallOps`, operation by operation: runs wherever torch does."""

    name = "eager"

    def norm(self, x: Tensor, by: Norm, *, as_rows: bool) -> LinearInput:
        """See `SmallOps`."""
        return self.rows(x if by is None else by(x), as_rows=as_rows)

    def sum_norm(
        self, x: Tensor, update: Tensor, gate: Tensor | None, by: Norm, *, as_rows: bool
    ) -> tuple[Tensor, LinearInput]:
        """See `SmallOps`."""
        summed = x + update if gate is None else gated_sum(x, update, gate)
        return summed, self.norm(summed, by, as_rows=as_rows)

    def heads(self, x: Tensor, norm: RmsNorm, heads: int, positions: Rotation | None) -> Tensor:
        """See `SmallOps`."""
        x = norm(x).unflatten(-1, (heads, -1))
        return x if positions is None else rotate(x, positions)

    def gated_sum(self, x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
        """See `SmallOps`."""
        return gated_sum(x, update, gate)

    def sum(self, x: Tensor, other: Tensor, *, as_rows: bool) -> LinearInput:
        """See `SmallOps`."""
        return self.rows(x + other, as_rows=as_rows)

    def gelu(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """See `SmallOps`."""
        return self.rows(functional.gelu(x, approximate="tanh"), as_rows=as_rows)

    def rows(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """See `SmallOps`."""
        return quantise_activation(x) if as_rows else x


_CHECK_TOKENS: Final = 37
_TOLERANCE: Final = 0.02
"""Of the largest value: the two round to bf16 at different places."""
_QUANTISED_TOLERANCE: Final = 0.02
"""Of the length; rounding to e4m3 alone costs 0.026."""


def small_ops(device: torch.device, dtype: torch.dtype) -> SmallOps:
    """Triton's where they run on this device and agree with torch's; else torch's."""
    eager = EagerOps()
    if device.type != "cuda" or dtype != torch.bfloat16:
        return eager
    return fused_or(
        eager,
        fused=_triton_ops,
        is_right=lambda ops: agree(ops, eager, device, dtype),
        what="The fused kernels between the layers",
    )


def _triton_ops() -> SmallOps:
    # Triton is not installed beside a CPU build of torch.
    from inference_sidecar.engines.infinitetalk.native.triton_ops import TritonOps  # noqa: PLC0415

    return TritonOps()


def agree(one: SmallOps, other: SmallOps, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether both give the same for random activations, to rounding."""
    return all(
        _is_near(mine, theirs)
        for mine, theirs in zip(
            _samples(one, device, dtype), _samples(other, device, dtype), strict=True
        )
    )


def _samples(ops: SmallOps, device: torch.device, dtype: torch.dtype) -> list[LinearInput]:
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
        # Before e4m3 one rounds to bf16 and the other does not: few values fall to other steps.
        a, b = (one.dequantised(torch.float32) for one in (mine, theirs))
        scales = (mine.scale / theirs.scale - 1).abs().max()
        return bool((a - b).norm() <= _QUANTISED_TOLERANCE * b.norm()) and bool(scales < 0.01)
    if isinstance(mine, Tensor) and isinstance(theirs, Tensor):
        difference = (mine.float() - theirs.float()).abs().max()
        return mine.dtype == theirs.dtype and bool(
            difference <= _TOLERANCE * theirs.float().abs().max()
        )
    return False
