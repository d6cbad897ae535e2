"""Loads all models from the published layout, on the CPU in float32, for replay and parity.

The engine does not use this: it loads what `weights prepare` made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from inference_sidecar.engines.infinitetalk.checkpoints.layout import PublishedLayout
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_files import (
    SafetensorsFiles,
    read_pickle,
)
from inference_sidecar.engines.infinitetalk.encoders.codec import WanCodec
from inference_sidecar.engines.infinitetalk.encoders.image import ClipImage
from inference_sidecar.engines.infinitetalk.encoders.text import UmT5
from inference_sidecar.engines.infinitetalk.encoders.voice import Wav2Vec2
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.native.dit import build_dit
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import Models


@dataclass(frozen=True)
class PublishedModels:
    """The models of the chunk loop, and the two encoders that run before it."""

    models: Models
    text: UmT5
    voice: Wav2Vec2


def load_published(root: Path, *, is_multi: bool = False) -> PublishedModels:
    """Takes every size from tensors and configs. Raises `MissingWeights` for a missing file.

    is_multi: with the audio branch for two voices instead of the one for a single voice.
    """
    layout = PublishedLayout(root)
    exact = torch.float32
    files = layout.multi_files if is_multi else layout.transformer_files
    dit = build_dit(SafetensorsFiles(files, dtype=exact), layout.transformer_config)
    return PublishedModels(
        models=Models(
            denoiser=NativeDenoiser(dit),
            codec=WanCodec(read_pickle(layout.codec_weights, exact)),
            image_encoder=ClipImage(read_pickle(layout.image_weights, exact)),
        ),
        text=UmT5(
            read_pickle(layout.text_weights, exact),
            layout.tokenizer,
            dit.config.text_tokens,
            is_exact=True,
        ),
        voice=Wav2Vec2(layout.voice),
    )
