"""Linear layers by precision. See `native.tensors.LinearFactory`."""

from __future__ import annotations

from torch import nn

from inference_sidecar.infinitetalk.native.tensors import TensorSource


def plain_linear(source: TensorSource, prefix: str) -> nn.Module:
    """A linear layer in the dtype of its weights: fp32 or bf16."""
    weight = source.take(f"{prefix}.weight")
    bias = source.take(f"{prefix}.bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=False)
    return layer
