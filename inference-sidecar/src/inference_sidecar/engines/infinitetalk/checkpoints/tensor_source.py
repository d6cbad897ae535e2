"""Hands out weights by their published names, each exactly once."""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping
from typing import Protocol

from torch import Tensor, nn


class MissingTensor(Exception):
    """The weights lack a tensor that the model needs, or it has the wrong shape."""


class TensorSource:
    """A mapping of published names to tensors that records which ones were taken.

    The mapping may load lazily, and decides the device.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._taken: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def take(self, name: str) -> Tensor:
        """The tensor of this name. Raises `MissingTensor`, and `ValueError` if it was already
        taken."""
        if name not in self._tensors:
            raise MissingTensor(f"The weights have no tensor {name!r}.")
        if name in self._taken:
            raise ValueError(f"The tensor {name!r} is mapped twice.")
        self._taken.add(name)
        return self._tensors[name]

    def peek_shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, which does not count as taken. Raises `MissingTensor`."""
        if name not in self._tensors:
            raise MissingTensor(f"The weights have no tensor {name!r}.")
        return tuple(self._tensors[name].shape)

    def leftovers(self) -> list[str]:
        """The sorted names that were not taken."""
        return sorted(set(self._tensors) - self._taken)


def count_layers(names: Container[str], pattern: str) -> int:
    """How many layers there are, by a tensor that each has; `{}` in its name is the index."""
    return next(index for index in itertools.count() if pattern.format(index) not in names)


class LinearFactory(Protocol):
    """Makes the linear layer with a published name, in the precision of its weights.

    The published tensors are `<prefix>.weight` `[out, in]` and `<prefix>.bias`; a quantised format
    has further names beside them and takes those too. The layer maps `[..., in]` to
    `[..., out]` in the activations' dtype.
    """

    def __call__(self, source: TensorSource, prefix: str) -> nn.Module:
        """Takes the layer's tensors from the source."""
        ...
