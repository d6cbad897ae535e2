"""The small layers between the linear ones. They compute in float32 and return the input's
dtype."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import TensorSource


def float_weight(source: TensorSource, name: str) -> nn.Parameter:
    """A weight converted to float32, whatever its published dtype."""
    return nn.Parameter(source.take(name).float(), requires_grad=False)


class RmsNorm(nn.Module):
    """RMS norm over the last dimension, with a weight."""

    def __init__(self, source: TensorSource, prefix: str, epsilon: float) -> None:
        super().__init__()
        self.weight = float_weight(source, f"{prefix}.weight")
        self.epsilon = epsilon

    @classmethod
    def of(cls, weight: Tensor, epsilon: float) -> Self:
        """From a tensor instead of a source."""
        return cls(TensorSource({"it.weight": weight}), "it", epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return functional.rms_norm(x.float(), self.weight.shape, self.weight, self.epsilon).to(
            x.dtype
        )


class LayerNorm(nn.Module):
    """Layer norm with the published weight and bias."""

    def __init__(self, source: TensorSource, prefix: str, epsilon: float) -> None:
        super().__init__()
        self.weight = float_weight(source, f"{prefix}.weight")
        self.bias = float_weight(source, f"{prefix}.bias")
        self.epsilon = epsilon

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, epsilon: float) -> Self:
        """From tensors instead of a source."""
        return cls(TensorSource({"it.weight": weight, "it.bias": bias}), "it", epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return functional.layer_norm(
            x.float(), self.weight.shape, self.weight, self.bias, self.epsilon
        ).to(x.dtype)


class FloatLinear(nn.Module):
    """A linear layer in float32: bf16 is too coarse for the time embedding."""

    def __init__(self, source: TensorSource, prefix: str) -> None:
        super().__init__()
        self.weight = float_weight(source, f"{prefix}.weight")
        self.bias = float_weight(source, f"{prefix}.bias")

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return functional.linear(x.float(), self.weight, self.bias)


class Modulation(NamedTuple):
    """Layer norm without weights, then scaled and shifted by the timestep's modulation; float32."""

    shift: Tensor
    scale: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """See the class."""
        normed = functional.layer_norm(x.float(), x.shape[-1:], eps=self.epsilon)
        return _multiply_add(normed, 1 + self.scale, self.shift).to(x.dtype)


def gated_sum(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    """`x + update * gate`, in float32."""
    return _multiply_add(update.float(), gate, x.float()).to(x.dtype)


def _multiply_add(x: Tensor, factor: Tensor, summand: Tensor) -> Tensor:
    """One kernel on a GPU; on a CPU two roundings, like upstream."""
    return torch.addcmul(summand, x, factor) if x.is_cuda else (x * factor).add_(summand)
