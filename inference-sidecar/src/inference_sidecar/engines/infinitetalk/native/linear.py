"""Linear layers in each precision. See `tensor_source.LinearFactory`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import TensorSource
from inference_sidecar.engines.infinitetalk.native.fp8 import (
    E4M3,
    Granularity,
    Kernel,
    Quantised,
    QuantisedRows,
    kernel_of,
    multiply,
    quantise_activation,
    quantise_weight,
)

SCALE = "weight_scale"
"""A quantised layer has `<prefix>.weight_scale` beside its weight: float32, `[out]` or `[]`."""


def plain_linear(source: TensorSource, prefix: str) -> nn.Module:
    """A linear layer in the dtype of its weights: fp32 or bf16."""
    weight = source.take(f"{prefix}.weight")
    bias = source.take(f"{prefix}.bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=False)
    return layer


def resident_linear(source: TensorSource, prefix: str) -> nn.Module:
    """A linear layer from a resident file: quantised if the weight has a scale beside it."""
    if f"{prefix}.{SCALE}" not in source:
        return plain_linear(source, prefix)
    weight = Quantised(source.take(f"{prefix}.weight"), source.take(f"{prefix}.{SCALE}"))
    return Fp8Linear(weight, source.take(f"{prefix}.bias"))


AUDIO_BRANCH: Final = ".audio_cross_attn."
"""In the published names of the layers of the blocks that hear the voice."""


@dataclass(frozen=True)
class AudioInFp8:
    """`resident_linear`, but the layers that hear the voice are quantised if they are not yet."""

    granularity: Granularity

    def __call__(self, source: TensorSource, prefix: str) -> nn.Module:
        """See `tensor_source.LinearFactory`."""
        if AUDIO_BRANCH not in prefix or f"{prefix}.{SCALE}" in source:
            return resident_linear(source, prefix)
        weight = quantise_weight(source.take(f"{prefix}.weight"), self.granularity)
        return Fp8Linear(weight, source.take(f"{prefix}.bias"))


def audio_branch_of(model: nn.Module) -> str:
    """The precision of the layers that hear the voice."""
    layers = (
        layer
        for name, layer in model.named_modules()
        if AUDIO_BRANCH in f"{name}." and hasattr(layer, "weight")
    )
    first = next(layers)
    if isinstance(first, Fp8Linear):
        return "fp8"
    return _name_of(cast("Tensor", first.weight))


def _name_of(weight: Tensor) -> str:
    return {torch.bfloat16: "bf16", torch.float32: "fp32"}.get(weight.dtype, str(weight.dtype))


class Fp8Linear(nn.Module):
    """A linear layer with an e4m3 weight.

    Activations `[..., in]` are quantised at each call with one scale per row, or one for all rows
    if the weight has only one. The product is accumulated in float32, and the float32 bias is added
    before the result is rounded once, to the activations' dtype. If the device cannot multiply
    e4m3, the weight is dequantised at each call instead: correct, but slower.
    """

    def __init__(self, weight: Quantised, bias: Tensor | None) -> None:
        super().__init__()
        if weight.values.dtype != E4M3:
            raise ValueError(f"A quantised weight is {E4M3}, not {weight.values.dtype}.")
        rows = weight.values.shape[0]
        if weight.scale.shape not in {(), (1,), (rows,)}:
            raise ValueError(f"{rows} rows need {rows} scales or one, not {weight.scale.shape}.")
        self.granularity = Granularity.TENSOR if weight.scale.numel() == 1 else Granularity.ROW
        scale = weight.scale.reshape(()) if self.granularity is Granularity.TENSOR else weight.scale
        self.weight = nn.Parameter(weight.values, requires_grad=False)
        self.weight_scale = nn.Parameter(scale.to(torch.float32), requires_grad=False)
        self.bias = (
            None if bias is None else nn.Parameter(bias.to(torch.float32), requires_grad=False)
        )

    def forward(self, x: Tensor | QuantisedRows) -> Tensor:
        """`[..., in]` → `[..., out]`, in the dtype of `x`. Takes quantised rows if `takes_rows`."""
        kernel = linear_kernel(self.weight, self.weight.device, x.dtype)
        weight = Quantised(self.weight, self.weight_scale)
        # Kernels take a bias only in the dtype of their output.
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if isinstance(x, QuantisedRows):
            return multiply(x, weight, bias, x.dtype, kernel)
        if kernel is Kernel.DEQUANTISED:
            return functional.linear(x, weight.dequantised(x.dtype), bias)
        rows = quantise_activation(x.reshape(-1, x.shape[-1]), self.granularity)
        return multiply(rows, weight, bias, x.dtype, kernel).unflatten(0, x.shape[:-1])


def takes_rows(layer: nn.Module, dtype: torch.dtype) -> bool:
    """Whether a layer takes `QuantisedRows`, so that layers sharing an input can quantise it
    once."""
    return (
        isinstance(layer, Fp8Linear)
        and layer.granularity is Granularity.ROW
        and linear_kernel(layer.weight, layer.weight.device, dtype) is not Kernel.DEQUANTISED
    )


def linear_kernel(weight: Tensor, device: torch.device, dtype: torch.dtype) -> Kernel:
    """The kernel that multiplies this weight with activations of this dtype on this device."""
    # The kernels load 16 values at a time.
    if weight.shape[0] % 16 or weight.shape[1] % 16:
        return Kernel.DEQUANTISED
    return kernel_of(device, dtype)


def precision_of(model: nn.Module) -> str:
    """The precision of a model's linear layers as text for `Readiness.precision`."""
    quantised = [layer for layer in model.modules() if isinstance(layer, Fp8Linear)]
    if not quantised:
        return str(next(model.parameters()).dtype).removeprefix("torch.")
    kernels = {
        linear_kernel(layer.weight, layer.weight.device, torch.bfloat16) for layer in quantised
    }
    scales = quantised[0].granularity
    if kernels == {Kernel.DEQUANTISED}:
        return f"fp8 weights ({scales}), bf16 arithmetic: this device cannot multiply fp8"
    return f"fp8 (scale per {scales}, {' and '.join(sorted(kernels))} kernel)"
