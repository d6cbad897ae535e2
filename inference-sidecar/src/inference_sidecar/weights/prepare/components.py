"""Converts the encoders and the video codec to safetensors files with the same tensor names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
from safetensors.torch import save_file

from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import ResidentInfo
from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.prepare.sources import Source
from inference_sidecar.weights.prepare.writer import ResidentWriter, Shape
from inference_sidecar.weights.volume import explained, not_fetched, publish

ComponentName = Literal["text", "image", "codec"]
_SAFE: Final = "model.safetensors"


@dataclass(frozen=True)
class Component:
    """Which tensors of a published file are used (by prefix), and their dtype."""

    prefixes: tuple[str, ...]
    dtype: torch.dtype
    precision: str


COMPONENTS: Final[Mapping[ComponentName, Component]] = {
    "text": Component(("",), torch.bfloat16, "bf16"),
    # The text half of CLIP is not used; upstream computes the image half in float16.
    "image": Component(("visual.",), torch.float16, "fp16"),
    "codec": Component(("",), torch.float32, "fp32"),
}


def write_component(
    path: Path,
    sources: Mapping[str, Source],
    on_bytes: Callable[[int], None],
    *,
    component: Component,
    info: ResidentInfo,
) -> str:
    """Writes one component and returns the SHA-256 of the file."""
    wanted = {
        name: source for name, source in sources.items() if name.startswith(component.prefixes)
    }
    if not wanted:
        raise WeightsError(f"{path.name}: the published file has none of the expected tensors.")
    shapes = {name: Shape(component.dtype, source.shape) for name, source in wanted.items()}
    with ResidentWriter(path, shapes, info.to_metadata()) as writer:
        for name, source in wanted.items():
            for start, rows in source.blocks():
                writer.write(name, rows.to(component.dtype), start)
            on_bytes(source.size_bytes)
        return writer.finish()


def write_voice(published: Path, folder: Path) -> None:
    """Copies wav2vec2's folder, with its weights as safetensors whatever their published format."""
    names = ("config.json", "preprocessor_config.json")
    pickled = published / "pytorch_model.bin"
    if (published / _SAFE).is_file() or not pickled.is_file():
        _copy(published, folder, (*names, _SAFE))
        return
    _copy(published, folder, names)
    draft = folder / f"{_SAFE}.part"
    with explained(folder):
        tensors = cast("dict[str, Any]", torch.load(pickled, weights_only=True))
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft)
        publish(draft, folder / _SAFE)


def write_tokenizer(published: Path, folder: Path) -> None:
    """Copies every file of the tokenizer's folder."""
    names = tuple(sorted(each.name for each in published.glob("*") if each.is_file()))
    if "tokenizer.json" not in names and "spiece.model" not in names:
        raise WeightsError(
            f"{published} holds no tokenizer: run `python -m inference_sidecar.weights fetch`."
        )
    _copy(published, folder, names)


def _copy(published: Path, folder: Path, names: tuple[str, ...]) -> None:
    with explained(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            draft = folder / f"{name}.part"
            try:
                shutil.copyfile(published / name, draft)
            except FileNotFoundError as cause:
                raise not_fetched(published / name) from cause
            publish(draft, folder / name)
