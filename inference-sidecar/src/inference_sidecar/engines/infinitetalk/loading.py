"""From the folder that `weights prepare` made to the parts that render."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.device import Device
from inference_sidecar.engines.infinitetalk.driver import Models
from inference_sidecar.engines.infinitetalk.encoders.codec import WanCodec
from inference_sidecar.engines.infinitetalk.encoders.image import ClipImage
from inference_sidecar.engines.infinitetalk.encoders.text import UmT5
from inference_sidecar.engines.infinitetalk.encoders.voice import Wav2Vec2
from inference_sidecar.engines.infinitetalk.interfaces import Denoiser
from inference_sidecar.engines.infinitetalk.kept_prompts import KeptPrompts
from inference_sidecar.engines.infinitetalk.memory_plan import RESERVE_BYTES, gib
from inference_sidecar.engines.infinitetalk.native.attention import AttentionBackend
from inference_sidecar.engines.infinitetalk.native.config import DitConfig
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.native.dit import build_dit
from inference_sidecar.engines.infinitetalk.native.linear import precision_of, resident_linear
from inference_sidecar.engines.infinitetalk.native.tensors import TensorSource
from inference_sidecar.engines.infinitetalk.parts import Parts
from inference_sidecar.engines.infinitetalk.resident_file import ResidentFile, ResidentFolder
from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings
from inference_sidecar.engines.infinitetalk.upstream.forward import (
    FORWARD_MEMORY,
    reference_denoiser,
)
from inference_sidecar.engines.infinitetalk.upstream.remedies import import_upstream
from inference_sidecar.engines.infinitetalk.work import TransformerShape
from inference_sidecar.foundation.errors import GpuOutOfMemory

_PROMPTS: Final = "prompts"
"""Below the folder of the weights."""
_UPSTREAMS: Final = "upstream"
"""In the place of a kernel's name, where its code chooses."""


def load_parts(settings: InfiniteTalkSettings, device: Device) -> Parts:
    """Reads the resident weights. Raises `WeightsError` with the command to run if they are not
    there, and before anything is read `GpuOutOfMemory` if they alone do not fit, `UpstreamUnusable`
    if upstream's code is wanted and cannot be used."""
    if settings.infinitetalk_upstream is not None:
        import_upstream(settings.infinitetalk_upstream, device.torch)
    folder, precision = ResidentFolder(settings.model_storage_path), settings.infinitetalk_precision
    transformer = folder.transformer(precision)
    image, codec, text = folder.part("image"), folder.part("codec"), folder.part("text")
    voice, tokenizer = folder.voice, folder.tokenizer
    _require_room((transformer, image, codec), device)

    is_exact = precision == "fp32" or not device.is_cuda
    tensors = transformer.load(device.torch)
    config = DitConfig.of(TensorSource(tensors), transformer.info.config)
    forward = _forward(settings, tensors, transformer.info.config)
    del tensors
    video = WanCodec(
        codec.load(device.torch), device.torch, torch.float32 if is_exact else torch.bfloat16
    )
    models = Models(
        denoiser=forward.denoiser,
        codec=video,
        image_encoder=ClipImage(
            image.load(device.torch), device.torch, torch.float32 if is_exact else torch.float16
        ),
    )
    return Parts(
        models=models,
        codec=video,
        text=KeptPrompts(
            settings.model_storage_path / _PROMPTS,
            text.info.fingerprint,
            # On the CPU, mapped: a prompt that is new costs seconds, and 10.6 GiB stay free.
            lambda: UmT5(text.load(torch.device("cpu")), tokenizer, config.text_tokens),
        ),
        voice=Wav2Vec2(voice, device.torch),
        shape=_shape_of(config),
        text_dim=config.text_dim,
        precision=forward.precision,
        attention=forward.attention,
        small_ops=forward.small_ops,
        weights=transformer.info.fingerprint,
        codec_bytes_per_value=4 if is_exact else 2,
        forward_memory=forward.memory,
    )


@dataclass(frozen=True)
class _Forward:
    """A transformer that is ready, and what is told of it; memory: see `Parts.forward_memory`."""

    denoiser: Denoiser
    precision: str
    attention: str
    small_ops: str
    memory: float = 1.0


def _forward(
    settings: InfiniteTalkSettings, tensors: Mapping[str, Tensor], config: Mapping[str, object]
) -> _Forward:
    """Ours, or upstream's where the operator wants that; over the same weights."""
    precision = settings.infinitetalk_precision
    if settings.infinitetalk_upstream is not None:
        denoiser = reference_denoiser(settings.infinitetalk_upstream, tensors, config)
        return _Forward(denoiser, precision, _UPSTREAMS, _UPSTREAMS, FORWARD_MEMORY)
    activations = torch.float32 if precision == "fp32" else torch.bfloat16
    dit = build_dit(tensors, config, resident_linear, activations)
    native = NativeDenoiser(dit, AttentionBackend(settings.infinitetalk_attention))
    return _Forward(
        native,
        precision_of(dit) if precision == "fp8" else precision,
        native.attention.value,
        native.small_ops,
    )


def _require_room(files: tuple[ResidentFile, ...], device: Device) -> None:
    """Minutes of reading end better before they began."""
    needed = sum(file.size_bytes for file in files) + RESERVE_BYTES
    free = device.free_bytes()
    if device.is_cuda and needed > free:
        raise GpuOutOfMemory(
            f"The weights take {gib(needed)} and {gib(free)} of {device.name} are free: choose "
            "INFINITETALK_PRECISION=fp8, free the device, or use a larger one.",
            context={"neededBytes": needed, "freeBytes": free},
        )


def _shape_of(config: DitConfig) -> TransformerShape:
    """What decides work and memory."""
    return TransformerShape(
        dim=config.dim,
        ffn_dim=config.ffn_dim,
        layers=config.layers,
        heads=config.heads,
        text_tokens=config.text_tokens,
        audio_tokens=config.audio_tokens,
        audio_dim=config.audio_dim,
    )
