"""From the folder that `weights prepare` made to the parts that render."""

from __future__ import annotations

from typing import Final

import torch

from inference_sidecar.errors import GpuOutOfMemory
from inference_sidecar.infinitetalk.device import Device
from inference_sidecar.infinitetalk.driver import Models
from inference_sidecar.infinitetalk.encoders.codec import WanCodec
from inference_sidecar.infinitetalk.encoders.image import ClipImage
from inference_sidecar.infinitetalk.encoders.text import UmT5
from inference_sidecar.infinitetalk.encoders.voice import Wav2Vec2
from inference_sidecar.infinitetalk.kept_prompts import KeptPrompts
from inference_sidecar.infinitetalk.memory_plan import RESERVE_BYTES, gib
from inference_sidecar.infinitetalk.native.attention import AttentionBackend
from inference_sidecar.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.infinitetalk.native.dit import Dit, build_dit
from inference_sidecar.infinitetalk.native.linear import precision_of, resident_linear
from inference_sidecar.infinitetalk.parts import Parts
from inference_sidecar.infinitetalk.resident_file import ResidentFile, ResidentFolder
from inference_sidecar.infinitetalk.settings import InfiniteTalkSettings
from inference_sidecar.infinitetalk.work import TransformerShape

_PROMPTS: Final = "prompts"
"""Below the folder of the weights."""


def load_parts(settings: InfiniteTalkSettings, device: Device) -> Parts:
    """Reads the resident weights. Raises `WeightsError` with the command to run if they are not
    there, and `GpuOutOfMemory` before anything is read if they alone do not fit."""
    folder, precision = ResidentFolder(settings.model_storage_path), settings.infinitetalk_precision
    transformer = folder.transformer(precision)
    image, codec, text = folder.part("image"), folder.part("codec"), folder.part("text")
    voice, tokenizer = folder.voice, folder.tokenizer
    _require_room((transformer, image, codec), device)

    is_exact = precision == "fp32" or not device.is_cuda
    activations = torch.float32 if precision == "fp32" else torch.bfloat16
    tensors = transformer.load(device.torch)
    ffn_dim = tensors["blocks.0.ffn.0.weight"].shape[0]
    text_dim = tensors["text_embedding.0.weight"].shape[1]
    dit = build_dit(tensors, transformer.info.config, resident_linear, activations)
    del tensors
    denoiser = NativeDenoiser(dit, AttentionBackend(settings.infinitetalk_attention))
    video = WanCodec(
        codec.load(device.torch), device.torch, torch.float32 if is_exact else torch.bfloat16
    )
    models = Models(
        denoiser=denoiser,
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
            lambda: UmT5(text.load(torch.device("cpu")), tokenizer, dit.config.text_tokens),
        ),
        voice=Wav2Vec2(voice, device.torch),
        shape=_shape_of(dit, ffn_dim),
        text_dim=text_dim,
        precision=precision_of(dit) if precision == "fp8" else precision,
        attention=denoiser.attention.value,
        small_ops=denoiser.small_ops,
        weights=transformer.info.fingerprint,
        codec_bytes_per_value=4 if is_exact else 2,
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


def _shape_of(dit: Dit, ffn_dim: int) -> TransformerShape:
    """What decides work and memory."""
    config = dit.config
    return TransformerShape(
        dim=config.dim,
        ffn_dim=ffn_dim,
        layers=config.layers,
        heads=config.heads,
        text_tokens=config.text_tokens,
        audio_tokens=config.audio_tokens,
        audio_dim=config.audio_dim,
    )
