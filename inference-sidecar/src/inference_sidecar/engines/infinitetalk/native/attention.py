"""Full attention with one chosen kernel, and no fallback.

`scaled_dot_product_attention` can fall back to a kernel that stores every score: 43 GB at 480p. On
a GPU that is never allowed; a shape that the chosen kernel does not take is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel


class AttentionBackend(StrEnum):
    """The kernel that computes attention. AUTO is resolved once, from device and dtype."""

    AUTO = "auto"
    SAGE = "sage"
    CUDNN = "cudnn"
    FLASH = "flash"
    EFFICIENT = "efficient"
    CPU = "cpu"


_KERNELS = {
    AttentionBackend.CUDNN: SDPBackend.CUDNN_ATTENTION,
    AttentionBackend.FLASH: SDPBackend.FLASH_ATTENTION,
    AttentionBackend.EFFICIENT: SDPBackend.EFFICIENT_ATTENTION,
}


class Attention:
    """Attention with one kernel. `backend` is the kernel that is really used, never AUTO."""

    def __init__(self, wanted: AttentionBackend, device: torch.device, dtype: torch.dtype) -> None:
        self.backend = _decide(wanted, device, dtype)
        self._sage = _sage() if self.backend is AttentionBackend.SAGE else None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`[batch, tokens, heads, head_dim]` each → the shape of `query`."""
        if self._sage is not None:
            return self._sage(query, key, value, tensor_layout="NHD")
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        if self.backend is AttentionBackend.CPU:
            attended = functional.scaled_dot_product_attention(q, k, v)
        else:
            with sdpa_kernel(_KERNELS[self.backend]):
                attended = functional.scaled_dot_product_attention(q, k, v)
        return attended.transpose(1, 2)


def _decide(wanted: AttentionBackend, device: torch.device, dtype: torch.dtype) -> AttentionBackend:
    """Raises `ValueError` for a kernel that this device or dtype does not support."""
    if device.type != "cuda":
        if wanted not in {AttentionBackend.AUTO, AttentionBackend.CPU}:
            raise ValueError(f"Attention by {wanted} needs a CUDA device, not {device}.")
        return AttentionBackend.CPU
    is_half = dtype in {torch.bfloat16, torch.float16}
    if wanted is AttentionBackend.AUTO:
        return AttentionBackend.CUDNN if is_half else AttentionBackend.EFFICIENT
    if wanted is AttentionBackend.CPU:
        raise ValueError(f"Attention by cpu cannot run on {device}.")
    if wanted is not AttentionBackend.EFFICIENT and not is_half:
        raise ValueError(f"Attention by {wanted} needs bf16, not {dtype}.")
    if wanted is AttentionBackend.SAGE and find_spec("sageattention") is None:
        raise ValueError("Attention by sage needs the package sageattention.")
    return wanted


def _sage() -> Callable[..., Tensor]:
    """Used only when configured by name: it changes results, so being installed is not enough."""
    return cast("Callable[..., Tensor]", cast("Any", import_module("sageattention")).sageattn)
