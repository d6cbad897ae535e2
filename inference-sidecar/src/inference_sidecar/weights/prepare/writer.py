"""Writes a safetensors file tensor by tensor, a few rows at a time.

The library's own writer needs all tensors in memory at once. The format is a length, a JSON header
and the tensors' bytes; the library reads what is written here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from inference_sidecar.foundation.closed_at_exit import ClosedAtExit
from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.hashes import sha256_of
from inference_sidecar.weights.volume import explained, publish, require_space

_NAMES: Final[Mapping[torch.dtype, str]] = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64",
}
_ALIGNMENT: Final = 64


@dataclass(frozen=True)
class Shape:
    """Dtype and shape of a tensor to be written."""

    dtype: torch.dtype
    sizes: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Of the whole tensor."""
        return math.prod(self.sizes) * self.dtype.itemsize


class ResidentWriter(ClosedAtExit):
    """A file with a temporary name until `finish`. Tensors may be written in any order.

    In the file they are sorted by decreasing size of their values, which keeps each one aligned,
    and
    then by name, with numbers in names compared as numbers: the order in which they are loaded.
    """

    def __init__(
        self, path: Path, shapes: Mapping[str, Shape], metadata: Mapping[str, str]
    ) -> None:
        self._path = path
        self._draft = path.with_name(f"{path.name}.part")
        self._shapes = shapes
        order = sorted(shapes, key=lambda name: (-shapes[name].dtype.itemsize, _natural(name)))
        header, self._starts, self._total = _layout(order, shapes, metadata)
        self._left = {name: shapes[name].size_bytes for name in order}
        with explained(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._draft.unlink(missing_ok=True)
            require_space(path.parent, self._total)
            self._handle = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                # Allocates the space now, to fail at once instead of after an hour.
                os.posix_fallocate(self._handle, 0, self._total)
                os.pwrite(self._handle, header, 0)
            except OSError:
                self.close()
                raise

    def write(self, name: str, rows: Tensor, first_row: int = 0) -> None:
        """Writes rows of a tensor to their place."""
        shape = self._shapes[name]
        if rows.dtype != shape.dtype:
            raise TypeError(f"{name} was to be {shape.dtype}, not {rows.dtype}.")
        flat = rows.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        # numpy arrays are buffers, but their types do not say so.
        data = memoryview(cast("Any", flat.numpy()))
        at = self._starts[name] + first_row * math.prod(shape.sizes[1:]) * shape.dtype.itemsize
        self._left[name] -= len(data)
        with explained(self._path.parent):
            while data:
                written = os.pwrite(self._handle, data, at)
                data, at = data[written:], at + written

    def finish(self) -> str:
        """Renames the file and returns the SHA-256 of what is on disk."""
        if unfinished := [name for name, left in self._left.items() if left != 0]:
            raise WeightsError(f"{self._path} lacks {', '.join(unfinished[:5])}: this is a bug.")
        with explained(self._path.parent):
            os.fsync(self._handle)
            sha256 = sha256_of(self._draft)
            publish(self._draft, self._path)
        return sha256

    def close(self) -> None:
        """Deletes an unfinished file; does nothing after `finish`."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self._draft.unlink(missing_ok=True)


def _layout(
    order: list[str], shapes: Mapping[str, Shape], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int], int]:
    """The header's bytes, the offset of each tensor, and the length of the file."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    starts: dict[str, int] = {}
    end = 0
    for name in order:
        shape = shapes[name]
        starts[name], end = end, end + shape.size_bytes
        entries[name] = {
            "dtype": _NAMES[shape.dtype],
            "shape": list(shape.sizes),
            "data_offsets": [starts[name], end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    # Aligns the tensors for vector instructions.
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    begin = 8 + len(text)
    header = len(text).to_bytes(8, "little") + text
    return header, {name: begin + start for name, start in starts.items()}, begin + end


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts `blocks.2` before `blocks.10`, and names without a number before both."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in name.split("."))
