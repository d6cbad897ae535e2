"""Rotary position embedding over time, height and width.

Upstream rotates complex128 numbers, and GPUs are slow at float64. Here the angles are computed in
float64 once per size, and the rotation in the precision of the tables. float32 tables change the
last bit, which is negligible beside bf16; float64 tables, used on a CPU, give upstream's bits.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

_THETA: Final = 10000.0


class Rotation(NamedTuple):
    """Cosine and sine of each token's angles, `[tokens, 1, head_dim / 2]`."""

    cos: Tensor
    sin: Tensor


def rotation(
    grid: tuple[int, int, int], head_dim: int, device: torch.device, dtype: torch.dtype
) -> Rotation:
    """The angles of a grid of latent frames, rows and columns.

    Height and width get a third of the pairs each, rounded down; time gets the rest.
    """
    side = head_dim // 6
    shares = (head_dim // 2 - 2 * side, side, side)
    axes = []
    for axis, (length, pairs) in enumerate(zip(grid, shares, strict=True)):
        exponents = torch.arange(pairs, dtype=torch.float64) / max(pairs, 1)
        angles = torch.outer(torch.arange(length, dtype=torch.float64), _THETA**-exponents)
        shape = [1, 1, 1, pairs]
        shape[axis] = length
        axes.append(angles.view(shape).expand(*grid, pairs))
    angles = torch.cat(axes, dim=-1).reshape(-1, 1, head_dim // 2)
    return Rotation(angles.cos().to(device, dtype), angles.sin().to(device, dtype))


def turned(positions: Tensor, head_dim: int) -> Rotation:
    """The angles of positions on one axis, `[tokens]`, computed in float32 like upstream's."""
    exponents = torch.arange(0, head_dim, 2).float() / head_dim
    angles = torch.outer(positions.float(), (1.0 / _THETA**exponents).to(positions.device))
    return Rotation(angles.cos()[:, None], angles.sin()[:, None])


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Rotates each pair of neighbours in the heads of `x`, `[tokens, heads, head_dim]`."""
    even, odd = x.to(by.cos.dtype).unflatten(-1, (-1, 2)).unbind(-1)
    turned = (even * by.cos - odd * by.sin, even * by.sin + odd * by.cos)
    return torch.stack(turned, dim=-1).flatten(-2).to(x.dtype)
