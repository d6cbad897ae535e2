"""Writes a safetensors file tensor by tensor, a few rows at a time.

The library's own writer wants every tensor in memory at once. The format is a length, a JSON header
and the tensors' bytes; what is written here is read back by the library.
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
from inference_sidecar.weights.fetch import sha256_of
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
    """What a tensor will be."""

    dtype: torch.dtype
    sizes: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Of the whole tensor."""
        return math.prod(self.sizes) * self.dtype.itemsize


class ResidentWriter(ClosedAtExit):
    """A file under another name until `finish`. Tensors may be written in any order.

    They lie in the file by falling width of their numbers, so that each is aligned to it, and by
    name below that, numbers in names counting as numbers: as they are wanted.
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
                # The room is taken now: better no file than half of one an hour later.
                os.posix_fallocate(self._handle, 0, self._total)
                os.pwrite(self._handle, header, 0)
            except OSError:
                self.close()
                raise

    def write(self, name: str, rows: Tensor, first_row: int = 0) -> None:
        """Puts rows of a tensor where they belong."""
        shape = self._shapes[name]
        if rows.dtype != shape.dtype:
            raise TypeError(f"{name} was to be {shape.dtype}, not {rows.dtype}.")
        flat = rows.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        # numpy arrays are buffers, which their types do not say yet.
        data = memoryview(cast("Any", flat.numpy()))
        at = self._starts[name] + first_row * math.prod(shape.sizes[1:]) * shape.dtype.itemsize
        self._left[name] -= len(data)
        with explained(self._path.parent):
            while data:
                written = os.pwrite(self._handle, data, at)
                data, at = data[written:], at + written

    def finish(self) -> str:
        """Gives the file its name; the SHA-256 of what now lies on the disk."""
        if unfinished := [name for name, left in self._left.items() if left != 0]:
            raise WeightsError(f"{self._path} lacks {', '.join(unfinished[:5])}: a defect of ours.")
        with explained(self._path.parent):
            os.fsync(self._handle)
            sha256 = sha256_of(self._draft)
            publish(self._draft, self._path)
        return sha256

    def close(self) -> None:
        """Removes what has no name yet; does nothing after `finish`."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self._draft.unlink(missing_ok=True)


def _layout(
    order: list[str], shapes: Mapping[str, Shape], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int], int]:
    """The header's bytes, where each tensor begins, and how long the file is."""
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
    # Layers of the usual widths then begin where vector instructions like them to.
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    begin = 8 + len(text)
    header = len(text).to_bytes(8, "little") + text
    return header, {name: begin + start for name, start in starts.items()}, begin + end


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """`blocks.2` before `blocks.10`, whatever is not in a block before both."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in name.split("."))
