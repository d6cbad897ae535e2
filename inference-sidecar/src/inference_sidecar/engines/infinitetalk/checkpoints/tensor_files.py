"""Tensors in files, by name, loaded on access. Nothing here unpickles objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor


class SafetensorsFiles(Mapping[str, Tensor]):
    """The tensors of several files. If two files have the same name, the later one wins, as
    upstream.

    dtype: floating-point tensors are converted to it; None leaves them as they are.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self._device = str(device)
        self._dtype = dtype
        self._files: dict[str, Any] = {}
        for path in paths:
            file = cast("Any", safe_open(path, framework="pt", device=self._device))
            self._files.update(dict.fromkeys(file.keys(), file))

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._files[name].get_tensor(name)
        # Copied even if the dtype fits: tensors in the file are not aligned, and BLAS rounds
        # differently at unaligned addresses.
        return tensor if self._dtype is None else _cast(tensor, self._dtype, is_copy=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def read_pickle(path: Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The tensors of a `.pth` file, memory-mapped. Raises `TypeError` if it holds anything else."""
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_mappable(path))
    if not isinstance(content, dict):
        raise TypeError(f"{path.name} holds no named tensors.")
    if others := [name for name, value in content.items() if not isinstance(value, Tensor)]:
        raise TypeError(f"{path.name} holds other objects than tensors: {', '.join(others[:5])}.")
    return {name: _cast(tensor, dtype) for name, tensor in content.items()}


def _is_mappable(path: Path) -> bool:
    """Files written before torch 1.6 are not zip archives and must be read as a whole."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _cast(tensor: Tensor, dtype: torch.dtype | None, *, is_copy: bool = False) -> Tensor:
    if dtype is None or not tensor.is_floating_point():
        return tensor
    return tensor.to(dtype, copy=is_copy)
