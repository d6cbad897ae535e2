"""Published tensors by name, read a few rows at a time, so that no tensor must fit into memory.

Every read opens the file anew and releases its mapping afterwards, so that memory stays at a few
rows, however large the model is.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_files import read_pickle
from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.volume import not_fetched

BLOCK_BYTES: Final = 64 << 20
"""Of the rows processed at a time, counted in float32."""


@dataclass(frozen=True)
class Source:
    """A tensor in a file, not read yet."""

    path: Path
    name: str
    shape: tuple[int, ...]
    value_bytes: int

    @property
    def size_bytes(self) -> int:
        """Its published size."""
        return math.prod(self.shape) * self.value_bytes

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yields the index of the first row and the rows, in order. A scalar is a single row."""
        if not self.shape:
            yield 0, self._read(None)
            return
        row_bytes = 4 * math.prod(self.shape[1:])
        step = max(1, BLOCK_BYTES // max(row_bytes, 1))
        for start in range(0, self.shape[0], step):
            yield start, self._read(slice(start, min(start + step, self.shape[0])))

    def _read(self, rows: slice | None) -> Tensor:
        if self.path.suffix != ".safetensors":
            tensor = read_pickle(self.path)[self.name]
            return tensor if rows is None else tensor[rows]
        with cast("Any", safe_open(self.path, framework="pt")) as file:
            if rows is None:
                return file.get_tensor(self.name)
            return file.get_slice(self.name)[rows]


def read_sources(paths: Sequence[Path]) -> dict[str, Source]:
    """Every tensor of the files. If two files have the same name, the later one wins, as
    upstream."""
    sources: dict[str, Source] = {}
    for path in paths:
        try:
            sources.update((source.name, source) for source in _sources_of(path))
        except FileNotFoundError as cause:
            raise not_fetched(path) from cause
        except (
            SafetensorError,
            pickle.UnpicklingError,
            OSError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as cause:
            raise WeightsError(
                f"{path} cannot be read ({_first_line(cause)}): run"
                " `python -m inference_sidecar.weights verify`."
            ) from cause
    return sources


def _sources_of(path: Path) -> Iterator[Source]:
    if path.suffix != ".safetensors":
        for name, tensor in read_pickle(path).items():
            yield Source(path, name, tuple(tensor.shape), tensor.dtype.itemsize)
        return
    with cast("Any", safe_open(path, framework="pt")) as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            view = file.get_slice(name)
            bits = next((n for n in (64, 32, 16) if str(n) in view.get_dtype()), 8)
            yield Source(path, name, tuple(view.get_shape()), bits // 8)


def _first_line(cause: Exception) -> str:
    return (str(cause).splitlines() or [type(cause).__name__])[0]
