"""The resident files: one per component of the model, made by `prepare`, mapped by the engine.

Each is a safetensors file that keeps the published names of its tensors. A quantised linear layer
has `<layer>.weight_scale` beside `<layer>.weight`. The header records what the file was made from
and a fingerprint over that: two files with the same fingerprint hold the same tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from inference_sidecar.engines.infinitetalk.recipes import RECIPE_NAMES, RecipeName, recipe_of
from inference_sidecar.engines.infinitetalk.settings import Precision
from inference_sidecar.foundation.errors import WeightsError

TRANSFORMER: Final = "transformer"
"""The part that has LoRAs and a recipe."""
AUDIO_MULTI: Final = "audio-multi"
"""The audio branch for two voices, beside a transformer that holds the one for a single voice."""
FORMAT: Final = 1
"""Increased when older files cannot be read any more, or contain an error."""

_KEY: Final = "avatar"
_GROUP_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class MergedLora:
    """A LoRA merged into the weights. scale: its strength."""

    name: str
    sha256: str
    scale: float


@dataclass(frozen=True)
class ResidentInfo:
    """The header of a resident file.

    part: transformer, audio-multi, text, image or codec. precision: of its linear layers; for fp8
    with the granularity of the scales, `fp8-row` or `fp8-tensor`. sources: SHA-256 of each file,
    by name. config: the sizes from the published config. recipe: how the transformer is to be
    sampled; None for other parts. audio_branch: precision of the layers that hear the voice, if it
    is not that of the others. code: version of the code that made the
    file, for people; a change that matters increases `format`.
    """

    part: str
    precision: str
    sources: Mapping[str, str]
    code: str
    loras: tuple[MergedLora, ...] = ()
    config: Mapping[str, object] = field(default_factory=dict[str, object])
    recipe: RecipeName | None = None
    audio_branch: str | None = None
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """Identifies the content: a hash over everything that determines it."""
        facts = asdict(self)
        del facts["code"]
        # Older versions had neither, and the fingerprints of their files must stay.
        for name in ("recipe", "audio_branch"):
            if facts[name] is None:
                del facts[name]
        # The content of the sources counts, not their names.
        facts["sources"] = sorted(self.sources.values())
        for lora in facts["loras"]:
            del lora["name"]
        canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_metadata(self) -> dict[str, str]:
        """For the header of the file."""
        facts = {**asdict(self), "fingerprint": self.fingerprint}
        return {"format": "pt", _KEY: json.dumps(facts, sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str] | None) -> ResidentInfo:
        """Raises `ValueError` for a header that `to_metadata` did not write."""
        try:
            facts = cast("dict[str, Any]", json.loads((metadata or {})[_KEY]))
            fingerprint = facts.pop("fingerprint")
            if facts["format"] != FORMAT:
                raise ValueError(f"it has format {facts['format']}, not {FORMAT}")
            loras = tuple(MergedLora(**lora) for lora in facts.pop("loras"))
            info = cls(**facts, loras=loras)
            if info.recipe not in {None, *RECIPE_NAMES}:
                raise ValueError(f"nothing is known of its recipe {info.recipe}")
        except (KeyError, TypeError) as cause:
            raise ValueError("its header is not one of ours") from cause
        if info.fingerprint != fingerprint:
            raise ValueError("its header contradicts itself")
        if info.part == TRANSFORMER and info.recipe is None:
            # Older versions recorded none.
            return replace(info, recipe=recipe_of({lora.name: lora.sha256 for lora in loras}))
        return info


class ResidentFile:
    """One resident file. The constructor reads only its header."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with cast("Any", safe_open(path, framework="pt")) as file:
                self.info = ResidentInfo.from_metadata(file.metadata())
        except FileNotFoundError as cause:
            raise WeightsError(f"{path} is missing: {_REMEDY}.") from cause
        except (SafetensorError, ValueError, OSError) as cause:
            raise WeightsError(f"{path} cannot be used ({cause}): {_REMEDY}.") from cause

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return self._path.stat().st_size

    def load(
        self, device: torch.device, on_read: Callable[[int], None] | None = None
    ) -> dict[str, Tensor]:
        """Every tensor, on the device. on_read: is told the bytes of each part that has arrived.

        On the CPU the tensors are views of the mapped file and cost nothing until they are used.
        For other devices the file is read once from start to end. The kernel reads the next part
        ahead while this one is copied, and drops copied pages from its cache.
        """
        tell = on_read or _tell_nobody
        if device.type == "cpu":
            tensors = load_file(self._path)
            tell(self.size_bytes)
            return tensors
        return dict(self._uploaded(device, tell))

    def _uploaded(
        self, device: torch.device, tell: Callable[[int], None]
    ) -> Iterator[tuple[str, Tensor]]:
        groups = _groups(tensor_places(self._path))
        with self._path.open("rb") as raw:
            for index, group in enumerate(groups):
                _advise(raw.fileno(), groups[index : index + 2], os.POSIX_FADV_WILLNEED)
                # Opened anew for each group, so that the mapping of the previous one is released.
                with cast("Any", safe_open(self._path, framework="pt")) as file:
                    for place in group:
                        yield place.name, file.get_tensor(place.name).to(device)
                _advise(raw.fileno(), [group], os.POSIX_FADV_DONTNEED)
                tell(group[-1].end - group[0].start)


class ResidentFolder:
    """All resident files of a weights folder. Raises `WeightsError` for missing ones."""

    def __init__(self, storage: Path) -> None:
        self.path = storage / "resident"

    def transformer(self, precision: Precision) -> ResidentFile:
        """The diffusion transformer, with its LoRAs merged."""
        return ResidentFile(self.transformer_path(precision))

    def transformer_path(self, precision: Precision) -> Path:
        """Its path."""
        return self.path / f"transformer-{precision}.safetensors"

    def multi(self, precision: Precision) -> ResidentFile | None:
        """The audio branch for two voices; None where it was not prepared."""
        path = self.multi_path(precision)
        return ResidentFile(path) if path.is_file() else None

    def multi_path(self, precision: Precision) -> Path:
        """Its path."""
        kept = "bf16" if precision == "fp8" else precision
        return self.path / f"audio-multi-{kept}.safetensors"

    def part(self, name: Literal["text", "image", "codec"]) -> ResidentFile:
        """An encoder, or the video codec."""
        return ResidentFile(self.path / f"{name}.safetensors")

    @property
    def voice(self) -> Path:
        """The folder of wav2vec2: weights, config, preprocessor config."""
        return self._folder("voice")

    @property
    def tokenizer(self) -> Path:
        """The folder of the prompt's tokenizer."""
        return self._folder("tokenizer")

    def _folder(self, name: str) -> Path:
        path = self.path / name
        if not path.is_dir():
            raise WeightsError(f"{path} is missing: {_REMEDY}.")
        return path


@dataclass(frozen=True)
class Place:
    """The byte range of a tensor in its file."""

    name: str
    start: int
    end: int


def tensor_places(path: Path) -> list[Place]:
    """Every tensor of a safetensors file, in file order."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = cast("dict[str, Any]", json.loads(file.read(length)))
    header.pop("__metadata__", None)
    places = (
        Place(name, *(8 + length + offset for offset in entry["data_offsets"]))
        for name, entry in header.items()
    )
    return sorted(places, key=lambda place: (place.start, place.end))


def _groups(places: list[Place]) -> list[list[Place]]:
    groups: list[list[Place]] = []
    for place in places:
        if not groups or place.end - groups[-1][0].start > _GROUP_BYTES:
            groups.append([])
        groups[-1].append(place)
    return groups


def _advise(handle: int, groups: list[list[Place]], advice: int) -> None:
    for group in groups:
        start = group[0].start
        os.posix_fadvise(handle, start, group[-1].end - start, advice)


_REMEDY: Final = "run `python -m inference_sidecar.weights prepare`"


def _tell_nobody(_bytes: int) -> None:
    """Where nobody asked how far the reading is."""
