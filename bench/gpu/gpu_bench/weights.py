"""Random weights with the published names and shapes, created on the device in seconds.

They are random, never zero or uninitialised: multiplying zeros draws less power, and a card that
draws less power clocks higher. They say nothing about quality, so no optimisation that caches or
skips work by value may be measured with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gpu_bench.measure import Device
from gpu_bench.scale import Scale
from inference_sidecar.engines.infinitetalk.native.dit import Dit, build_dit
from inference_sidecar.engines.infinitetalk.native.fp8 import quantise_weight
from inference_sidecar.engines.infinitetalk.native.linear import SCALE, resident_linear
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.transformer_shapes import (
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


class QuantisedWeights(Mapping[str, Tensor]):
    """The same weights with the blocks' linear layers in fp8, quantised on access."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._scales: dict[str, Tensor] = {}

    def __contains__(self, name: object) -> bool:
        # The inherited method would quantise the tensor.
        return isinstance(name, str) and (name in self._weights or self._quantised_by(name) != "")

    def __getitem__(self, name: str) -> Tensor:
        if self._quantised_by(name):
            return self._scales[name]
        if not self._is_quantised(name):
            return self._weights[name]
        quantised = quantise_weight(self._weights[name])
        self._scales[name.replace(".weight", f".{SCALE}")] = quantised.scale
        return quantised.values

    def __iter__(self) -> Iterator[str]:
        for name in self._weights:
            yield name
            if self._is_quantised(name):
                yield name.replace(".weight", f".{SCALE}")

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _quantised_by(self, scale: str) -> str:
        """The weight that a scale belongs to; empty if the name is not that of a scale."""
        prefix, _, last = scale.rpartition(".")
        weight = f"{prefix}.weight"
        return (
            weight
            if last == SCALE and weight in self._weights and self._is_quantised(weight)
            else ""
        )

    def _is_quantised(self, name: str) -> bool:
        return (
            name.startswith("blocks.")
            and name.endswith(".weight")
            and self._weights[name].ndim == 2
        )


def build(weights: Mapping[str, Tensor], scale: Scale, precision: str, dtype: torch.dtype) -> Dit:
    """The engine's transformer over these weights; fp8 copies what it quantises."""
    source = QuantisedWeights(weights) if precision == "fp8" else weights
    return build_dit(source, scale.config, linear=resident_linear, dtype=dtype)


def first_layers(weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The same weights without the later blocks; shares their memory."""
    wanted = {f"blocks.{index}" for index in range(layers)}
    return {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith("blocks.") or ".".join(name.split(".")[:2]) in wanted
    }
