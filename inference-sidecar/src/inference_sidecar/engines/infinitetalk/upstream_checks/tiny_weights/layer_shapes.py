"""Shapes of the basic layers."""

from __future__ import annotations

from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import Shapes


def linear(prefix: str, inputs: int, outputs: int) -> Shapes:
    """A linear layer."""
    return {f"{prefix}.weight": (outputs, inputs), f"{prefix}.bias": (outputs,)}


def norm(prefix: str, width: int) -> Shapes:
    """A norm with weight and bias."""
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def conv(prefix: str, inputs: int, outputs: int, *kernel: int) -> Shapes:
    """A convolution."""
    return {f"{prefix}.weight": (outputs, inputs, *kernel), f"{prefix}.bias": (outputs,)}
