"""The published layout: one folder that holds the three repositories under their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

BASE: Final = "Wan2.1-I2V-14B-480P"
AUDIO: Final = "InfiniteTalk/single/infinitetalk.safetensors"
MULTI: Final = "InfiniteTalk/multi/infinitetalk.safetensors"
"""The same audio branch, trained on two people who speak."""
VOICE: Final = "chinese-wav2vec2-base"
TEXT_WEIGHTS: Final = "models_t5_umt5-xxl-enc-bf16.pth"
IMAGE_WEIGHTS: Final = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
CODEC_WEIGHTS: Final = "Wan2.1_VAE.pth"
TOKENIZER: Final = "google/umt5-xxl"
IMAGE_TOKENIZER: Final = "xlm-roberta-large"
"""Upstream reads it and never uses it: only the image half of CLIP runs."""
SHARDS: Final = tuple(f"diffusion_pytorch_model-{n:05}-of-00007.safetensors" for n in range(1, 8))


class MissingWeights(Exception):
    """A file of the published layout is missing."""


class PublishedLayout:
    """The files of a folder in the published layout. Each property raises `MissingWeights` if its
    file is missing."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def transformer_files(self) -> list[Path]:
        """The base model's shards, or its single file, then the audio branch, which may
        override."""
        return [*self._base_files(), self._existing(AUDIO)]

    @property
    def multi_files(self) -> list[Path]:
        """The base model with the audio branch for two voices."""
        return [*self._base_files(), self.multi]

    @property
    def has_multi(self) -> bool:
        """Whether the audio branch for two voices is there; it is fetched on request."""
        return (self._root / MULTI).is_file()

    @property
    def multi(self) -> Path:
        """The audio branch for two voices."""
        return self._existing(MULTI)

    @property
    def transformer_config(self) -> Mapping[str, object]:
        """The base model's `config.json`."""
        path = self._existing(f"{BASE}/config.json")
        return cast("dict[str, object]", json.loads(path.read_text()))

    @property
    def text_weights(self) -> Path:
        """umT5, only the encoder."""
        return self._existing(f"{BASE}/{TEXT_WEIGHTS}")

    @property
    def tokenizer(self) -> Path:
        """The folder of umT5's tokenizer."""
        return self._existing(f"{BASE}/{TOKENIZER}")

    @property
    def image_weights(self) -> Path:
        """CLIP, both halves."""
        return self._existing(f"{BASE}/{IMAGE_WEIGHTS}")

    @property
    def codec_weights(self) -> Path:
        """The video autoencoder."""
        return self._existing(f"{BASE}/{CODEC_WEIGHTS}")

    @property
    def voice(self) -> Path:
        """The folder of wav2vec2: weights, config, preprocessor config."""
        return self._existing(VOICE)

    def _base_files(self) -> list[Path]:
        folder = self._existing(BASE)
        if all((folder / shard).is_file() for shard in SHARDS):
            return [folder / shard for shard in SHARDS]
        index = folder / "diffusion_pytorch_model.safetensors.index.json"
        if index.is_file():
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            return [self._existing(f"{BASE}/{name}") for name in names]
        if found := sorted(folder.glob("diffusion_pytorch_model*.safetensors")):
            return found
        raise MissingWeights(f"{folder} has no diffusion_pytorch_model*.safetensors.")

    def _existing(self, name: str) -> Path:
        path = self._root / name
        if not path.exists():
            raise MissingWeights(f"{path} is missing from the published layout.")
        return path
