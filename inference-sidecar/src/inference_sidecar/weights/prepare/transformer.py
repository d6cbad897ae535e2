"""Merges the transformer's shards, audio branch and LoRAs into one resident file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import Precision, ResidentInfo
from inference_sidecar.engines.infinitetalk.native.fp8 import E4M3, Granularity, quantise_by
from inference_sidecar.engines.infinitetalk.native.linear import AUDIO_BRANCH, SCALE
from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.prepare.lora import Change, Lora
from inference_sidecar.weights.prepare.sources import Source
from inference_sidecar.weights.prepare.writer import ResidentWriter, Shape

_BLOCK_LINEAR: Final = re.compile(r"blocks\.\d+\..+\.weight")
_EMBEDDING: Final = re.compile(r"(?:text_embedding|img_emb|audio_proj)\..+\.weight")


@dataclass(frozen=True)
class Conversion:
    """How the transformer is converted.

    granularity: of fp8 scales. device: where to compute.
    """

    precision: Precision
    granularity: Granularity
    device: torch.device

    @property
    def name(self) -> str:
        """The precision as a resident file records it."""
        return f"fp8-{self.granularity}" if self.precision == "fp8" else self.precision


def write_transformer(
    path: Path,
    sources: Mapping[str, Source],
    on_bytes: Callable[[int], None],
    *,
    loras: Sequence[Lora],
    conversion: Conversion,
    info: ResidentInfo,
) -> str:
    """Writes the file a few rows at a time and returns its SHA-256.

    The linear layers of the blocks get the requested precision, but those that hear the voice are
    at least bf16; the engine can quantise them when it loads. The embeddings around them are at
    least bf16, and what upstream computes in float32 (time, head, norms, modulation, biases) stays
    float32.
    """
    kinds = {name: _dtype_of(source, conversion) for name, source in sources.items()}
    shapes: dict[str, Shape] = {}
    for name, source in sources.items():
        shapes[name] = Shape(kinds[name], source.shape)
        if kinds[name] == E4M3:
            rows = () if conversion.granularity is Granularity.TENSOR else source.shape[:1]
            shapes[scale_name(name)] = Shape(torch.float32, rows)
    with ResidentWriter(path, shapes, info.to_metadata()) as writer:
        for name, source in sources.items():
            changes = [change for lora in loras for change in lora.changes.get(name, ())]
            merged = _Merged(source, changes, conversion.device)
            if kinds[name] == E4M3:
                _write_quantised(writer, merged, conversion.granularity)
            else:
                for start, rows, _ in merged.blocks():
                    writer.write(name, rows.to(kinds[name]), start)
            on_bytes(source.size_bytes)
        return writer.finish()


def scale_name(weight: str) -> str:
    """The name of a quantised weight's scales."""
    return f"{weight.removesuffix('.weight')}.{SCALE}"


class _Merged:
    """A tensor with its LoRA updates, in float32."""

    def __init__(self, source: Source, changes: Sequence[Change], device: torch.device) -> None:
        self.name = source.name
        self._source = source
        self._changes = changes
        self._device = device

    def blocks(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yields the index of the first row, the rows, and the largest absolute value of each
        row."""
        for start, rows in self._source.blocks():
            exact = rows.to(self._device, torch.float32)
            for change in self._changes:
                exact = exact + change.rows(start, exact)
            by_rows = exact.reshape(exact.shape[0] if exact.ndim else 1, -1)
            largest = torch.linalg.vector_norm(by_rows, ord=float("inf"), dim=1)
            if not bool(torch.isfinite(largest).all()):
                raise WeightsError(
                    f"{self.name} has values that are not finite: run `python -m"
                    " inference_sidecar.weights verify`, and check the LoRA."
                )
            yield start, exact, largest


def _write_quantised(writer: ResidentWriter, merged: _Merged, granularity: Granularity) -> None:
    scale = scale_name(merged.name)
    if granularity is Granularity.ROW:
        for start, rows, largest in merged.blocks():
            quantised = quantise_by(rows, largest)
            writer.write(merged.name, quantised.values, start)
            writer.write(scale, quantised.scale, start)
        return
    # The single scale must be known before the first row is written.
    largest = torch.cat([largest for _, _, largest in merged.blocks()]).amax()
    for start, rows, _ in merged.blocks():
        quantised = quantise_by(rows, largest)
        writer.write(merged.name, quantised.values, start)
        if start == 0:
            writer.write(scale, quantised.scale)


def _dtype_of(source: Source, conversion: Conversion) -> torch.dtype:
    is_matrix = len(source.shape) == 2
    if conversion.precision == "fp32" or not is_matrix:
        return torch.float32
    if conversion.precision == "fp8" and AUDIO_BRANCH in source.name:
        return torch.bfloat16
    if _BLOCK_LINEAR.fullmatch(source.name):
        return E4M3 if conversion.precision == "fp8" else torch.bfloat16
    return torch.bfloat16 if _EMBEDDING.fullmatch(source.name) else torch.float32
