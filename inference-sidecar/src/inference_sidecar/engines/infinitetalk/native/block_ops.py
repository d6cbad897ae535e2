"""The operations of a transformer block between its linear layers: norms, rotary embeddings, gates
and activations.

They are a few per cent of a forward's arithmetic. Run one operation at a time, they move each
activation through memory five times as often as necessary. `EagerOps` does that with torch and is
the reference for every other implementation; `triton_ops.TritonOps` fuses each of them into one
kernel.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.native.fp8 import QuantisedRows, quantise_activation
from inference_sidecar.engines.infinitetalk.native.layers import (
    LayerNorm,
    Modulation,
    RmsNorm,
    gated_sum,
)
from inference_sidecar.engines.infinitetalk.native.rope import Rotation, rotate

LinearInput = Tensor | QuantisedRows
"""The input of a linear layer: `[tokens, dim]`, or the same quantised once for several layers."""
Norm = LayerNorm | Modulation | None
"""The normalisation in front of a linear layer."""


class BlockOps(Protocol):
    """Activations are `[tokens, dim]` in the transformer's dtype; everything else is float32.

    as_rows: whether the linear layers that take the result expect it quantised row by row.
    """

    name: str
    """Reported in the engine's readiness details."""

    def norm(self, x: Tensor, by: Norm, *, as_rows: bool) -> LinearInput:
        """`x`, normalised."""
        ...

    def sum_norm(
        self, x: Tensor, update: Tensor, gate: Tensor | None, by: Norm, *, as_rows: bool
    ) -> tuple[Tensor, LinearInput]:
        """`x + update * gate`, or `x + update` without a gate; and that sum, normalised."""
        ...

    def heads(self, x: Tensor, norm: RmsNorm, heads: int, positions: Rotation | None) -> Tensor:
        """RMS norm, split into `[tokens, heads, head_dim]`, with rotary embedding if positions are
        given."""
        ...

    def turn(self, x: Tensor, by: Rotation) -> Tensor:
        """`[tokens, heads, head_dim]`, rotated; only where two people speak."""
        ...

    def gated_sum(self, x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
        """`x + update * gate`."""
        ...

    def sum(self, x: Tensor, other: Tensor, *, as_rows: bool) -> LinearInput:
        """`x + other`."""
        ...

    def gelu(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """GELU, tanh approximation."""
        ...

    def rows(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """`x`, quantised if asked for."""
        ...


class EagerOps:
    """`BlockOps` with torch, one operation at a time: runs wherever torch runs."""

    name = "eager"

    def norm(self, x: Tensor, by: Norm, *, as_rows: bool) -> LinearInput:
        """See `BlockOps`."""
        return self.rows(x if by is None else by(x), as_rows=as_rows)

    def sum_norm(
        self, x: Tensor, update: Tensor, gate: Tensor | None, by: Norm, *, as_rows: bool
    ) -> tuple[Tensor, LinearInput]:
        """See `BlockOps`."""
        summed = x + update if gate is None else gated_sum(x, update, gate)
        return summed, self.norm(summed, by, as_rows=as_rows)

    def heads(self, x: Tensor, norm: RmsNorm, heads: int, positions: Rotation | None) -> Tensor:
        """See `BlockOps`."""
        x = norm(x).unflatten(-1, (heads, -1))
        return x if positions is None else rotate(x, positions)

    def turn(self, x: Tensor, by: Rotation) -> Tensor:
        """See `BlockOps`."""
        return rotate(x, by)

    def gated_sum(self, x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
        """See `BlockOps`."""
        return gated_sum(x, update, gate)

    def sum(self, x: Tensor, other: Tensor, *, as_rows: bool) -> LinearInput:
        """See `BlockOps`."""
        return self.rows(x + other, as_rows=as_rows)

    def gelu(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """See `BlockOps`."""
        return self.rows(functional.gelu(x, approximate="tanh"), as_rows=as_rows)

    def rows(self, x: Tensor, *, as_rows: bool) -> LinearInput:
        """See `BlockOps`."""
        return quantise_activation(x) if as_rows else x
