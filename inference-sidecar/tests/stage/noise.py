"""Reproducible random tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed float32; the same seed gives the same values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
