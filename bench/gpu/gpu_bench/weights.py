"""Random weights with the published names and shapes, created on the device in seconds.

They are random, never zero or uninitialised: multiplying zeros draws less power, and a card that
draws less power clocks higher. They say nothing about quality, so no optimisation that caches or
skips work by value may be measured with them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gpu_bench.measure import Device
from gpu_bench.scale import Scale
from inference_sidecar.engines.infinitetalk.native.dit import Dit, build_dit
from inference_sidecar.engines.infinitetalk.native.fp8 import quantise_weight
from inference_sidecar.engines.infinitetalk.native.linear import (
    AUDIO_BRANCH,
    SCALE,
    resident_linear,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    audio_shapes,
    base_shapes,
)


def random_tensor(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Scaled so that a layer preserves the magnitude of its input."""
    inner = math.prod(shape[1:]) if len(shape) > 1 else 1
    return torch.empty(shape, device=device, dtype=dtype).normal_(0, 1 / math.sqrt(inner))


def transformer_weights(device: Device, scale: Scale, dtype: torch.dtype) -> dict[str, Tensor]:
    """Base model and audio branch; 37.8 GB in bf16 at full size."""
    shapes = base_shapes(scale.weights) | audio_shapes(scale.weights)
    return {name: random_tensor(shape, device.torch, dtype) for name, shape in shapes.items()}


def _quantised(weights: Mapping[str, Tensor], audio: str) -> dict[str, Tensor]:
    """The same weights with the blocks' linear layers in fp8; the others share their memory.

    audio: precision of those that hear the voice."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        tensors[name] = tensor
        if audio != "fp8" and AUDIO_BRANCH in name:
            continue
        if name.startswith("blocks.") and name.endswith(".weight") and tensor.ndim == 2:
            quantised = quantise_weight(tensor)
            tensors[name] = quantised.values
            tensors[name.replace(".weight", f".{SCALE}")] = quantised.scale
    return tensors


def build(
    weights: Mapping[str, Tensor],
    scale: Scale,
    precision: str,
    dtype: torch.dtype,
    audio: str = "fp8",
    multi: Mapping[str, Tensor] | None = None,
) -> Dit:
    """The engine's transformer over these weights; fp8 copies what it quantises.

    audio: precision of the layers that hear the voice, beside fp8. multi: the branch for two.
    """
    source = _quantised(weights, audio) if precision == "fp8" else weights
    return build_dit(source, scale.config, linear=resident_linear, dtype=dtype, multi=multi)


def first_layers(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The same weights without the later blocks; shares their memory."""
    wanted = {f"blocks.{index}" for index in range(layers)}
    return {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith("blocks.") or ".".join(name.split(".")[:2]) in wanted
    }
