"""`block_ops.BlockOps` with the kernels of `block_kernels`. Importing it needs Triton."""

from __future__ import annotations

from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.kernels import block_kernels
from inference_sidecar.engines.infinitetalk.kernels.fused import power_of_two
from inference_sidecar.engines.infinitetalk.native.block_ops import EagerOps, LinearInput, Norm
from inference_sidecar.engines.infinitetalk.native.fp8 import E4M3, QuantisedRows, row_scales
from inference_sidecar.engines.infinitetalk.native.layers import LayerNorm, Modulation, RmsNorm
from inference_sidecar.engines.infinitetalk.native.rope import Rotation

_VALUES_PER_WARP: Final = 1024
"""32 per thread: the whole row stays in registers."""


class TritonOps:
    """See `BlockOps`."""

    name = "triton"

    def norm(self, x: Tensor, by: Norm, *, as_rows: bool) -> LinearInput:
        """See `BlockOps`."""
        if by is None:
            return self.rows(x, as_rows=as_rows)
        return _layer_norm(x, by, as_rows=as_rows)[1]

    def sum_norm(
        self, x: Tensor, update: Tensor, gate: Tensor | None, by: Norm, *, as_rows: bool
    ) -> tuple[Tensor, LinearInput]:
        """See `BlockOps`."""
        if by is None:
            summed = x + update if gate is None else self.gated_sum(x, update, gate)
            return summed, self.rows(summed, as_rows=as_rows)
        return _layer_norm(x, by, update, gate, as_rows=as_rows)

    def gated_sum(self, x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
        """See `BlockOps`."""
        tokens, width = x.shape
        block, out = power_of_two(width), torch.empty_like(x)
        arguments = (x, update.contiguous(), gate.contiguous(), out, width)
        _launch(
            block_kernels.gated_sum_kernel,
            tokens,
            block,
            *arguments,
            BLOCK=block,
        )
        return out

    def heads(self, x: Tensor, norm: RmsNorm, heads: int, positions: Rotation | None) -> Tensor:
        """See `BlockOps`."""
        tokens, width = x.shape
        if power_of_two(width // heads) != width // heads:
            return EagerOps().heads(x, norm, heads, positions)
        padded = power_of_two(heads)
        cos, sin = (norm.weight, norm.weight) if positions is None else positions
        out = torch.empty_like(x)
        _launch(
            block_kernels.rms_norm_kernel,
            tokens,
            padded * (width // heads),
            *(x, norm.weight, cos, sin, out, norm.epsilon),
            HEADS=heads,
            HEAD_DIM=width // heads,
            PADDED_HEADS=padded,
            ROTATE=positions is not None,
        )
        return out.unflatten(-1, (heads, -1))

    def turn(self, x: Tensor, by: Rotation) -> Tensor:
        """See `BlockOps`."""
        tokens, heads, head_dim = x.shape
        if power_of_two(head_dim) != head_dim:
            return EagerOps().turn(x, by)
        padded = power_of_two(heads)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        _launch(
            block_kernels.turn_kernel,
            tokens,
            padded * head_dim,
            *(x.contiguous(), by.cos, by.sin, out),
            HEADS=heads,
            HEAD_DIM=head_dim,
            PADDED_HEADS=padded,
        )
        return out

    def sum(self, x: Tensor, other: Tensor, *, as_rows: bool) -> LinearInput:
        """See `BlockOps`."""
        return _quantise(x, other, is_sum=True) if as_rows else x + other

    def gelu(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """See `BlockOps`."""
        if as_rows:
            return _quantise(x, x, is_gelu=True)
        return functional.gelu(x, approximate="tanh")

    def rows(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """See `BlockOps`."""
        return _quantise(x, x) if as_rows else x


def _layer_norm(
    x: Tensor,
    by: LayerNorm | Modulation,
    update: Tensor | None = None,
    gate: Tensor | None = None,
    *,
    as_rows: bool,
) -> tuple[Tensor, LinearInput]:
    """The sum, which is `x` itself if there is nothing to add, and its norm."""
    tokens, width = x.shape
    if isinstance(by, LayerNorm):
        factor, summand = by.weight, by.bias
    else:
        factor, summand = 1 + by.scale, by.shift.contiguous()
    summed = x if update is None else torch.empty_like(x)
    out = torch.empty(x.shape, dtype=E4M3 if as_rows else x.dtype, device=x.device)
    block = power_of_two(width)
    # Every argument of a kernel needs a tensor; those that a constant switches off are never read.
    scales = row_scales(x) if as_rows else factor
    update_or_any = x if update is None else update.contiguous()
    gate_or_any = factor if gate is None else gate.contiguous()
    _launch(
        block_kernels.layer_norm_kernel,
        tokens,
        block,
        *(x, update_or_any, gate_or_any, factor, summand, summed, out, scales),
        *(width, by.epsilon),
        ADD=update is not None,
        GATE=gate is not None,
        QUANTISE=as_rows,
        BLOCK=block,
    )
    return summed, QuantisedRows(out, scales, x.dtype) if as_rows else out


def _quantise(
    x: Tensor, other: Tensor, *, is_sum: bool = False, is_gelu: bool = False
) -> QuantisedRows:
    tokens, width = x.shape
    out = torch.empty(x.shape, dtype=E4M3, device=x.device)
    scales, block = row_scales(x), power_of_two(width)
    _launch(
        block_kernels.quantise_kernel,
        tokens,
        block,
        *(x.contiguous(), other.contiguous(), out, scales, width),
        ADD=is_sum,
        GELU=is_gelu,
        BLOCK=block,
    )
    return QuantisedRows(out, scales, x.dtype)


def _launch(
    kernel: object, programs: int, block: int, *arguments: object, **constants: int
) -> None:
    warps = min(16, max(1, block // _VALUES_PER_WARP))
    cast("Any", kernel)[(programs,)](*arguments, **constants, num_warps=warps)
