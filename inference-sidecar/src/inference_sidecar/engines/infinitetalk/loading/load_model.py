"""Loads the folder that `weights prepare` made into everything that renders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from inference_sidecar.engines.engine import DELIVERY_SIZES, UNTIMED
from inference_sidecar.engines.infinitetalk.capacity.device import Device
from inference_sidecar.engines.infinitetalk.capacity.flops import TransformerShape, tokens_of
from inference_sidecar.engines.infinitetalk.capacity.generation_sizes import (
    GENERATION_SIZES,
    GenerationSizes,
)
from inference_sidecar.engines.infinitetalk.capacity.memory_plan import RESERVE_BYTES, gib
from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import (
    ResidentFile,
    ResidentFolder,
    ResidentInfo,
)
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import (
    LinearFactory,
    TensorSource,
)
from inference_sidecar.engines.infinitetalk.encoders.codec import WanCodec
from inference_sidecar.engines.infinitetalk.encoders.image import ClipImage
from inference_sidecar.engines.infinitetalk.encoders.prompt_cache import PromptCache
from inference_sidecar.engines.infinitetalk.encoders.text import TOKENS_VERSION, UmT5
from inference_sidecar.engines.infinitetalk.encoders.voice import Wav2Vec2
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.engines.infinitetalk.loading.warm_up import toucher
from inference_sidecar.engines.infinitetalk.native.attention import AttentionBackend
from inference_sidecar.engines.infinitetalk.native.config import DitConfig
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.native.dit import build_dit
from inference_sidecar.engines.infinitetalk.native.fp8 import Granularity
from inference_sidecar.engines.infinitetalk.native.linear import (
    AudioInFp8,
    audio_branch_of,
    precision_of,
    resident_linear,
)
from inference_sidecar.engines.infinitetalk.recipes import RECIPES
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import Models
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Denoiser
from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings
from inference_sidecar.engines.infinitetalk.upstream.compatibility import import_upstream
from inference_sidecar.engines.infinitetalk.upstream.forward import (
    FORWARD_MEMORY,
    upstream_denoiser,
)
from inference_sidecar.engines.stages import LoadStages
from inference_sidecar.foundation.errors import GpuOutOfMemory

_log = logging.getLogger("avatar")

_PROMPTS: Final = "prompts"
"""Below the folder of the weights."""
_UPSTREAMS: Final = "upstream"
"""Reported instead of a kernel's name, because upstream's code makes the choice."""


def load_model(
    settings: InfiniteTalkSettings, device: Device, stages: LoadStages = UNTIMED
) -> LoadedModel:
    """Reads the resident weights, and tells how many of their bytes are read.

    Raises `WeightsError`, naming the command to run, if they are missing. Raises `GpuOutOfMemory`
    before reading anything if the weights alone do not fit, `SamplingRefused` if the settings
    contradict the weights' recipe, and `UpstreamUnusable` if upstream's code is configured and
    cannot be used.
    """
    if settings.infinitetalk_upstream is not None:
        import_upstream(settings.infinitetalk_upstream, device.torch)
    folder, precision = ResidentFolder(settings.model_storage_path), settings.infinitetalk_precision
    transformer = folder.transformer(precision)
    recipe = RECIPES[transformer.info.recipe or "undistilled"]
    settings.objection(recipe)
    image, codec, text = folder.part("image"), folder.part("codec"), folder.part("text")
    voice, tokenizer = folder.voice, folder.tokenizer
    multi = _multi_of(settings, folder)
    files = tuple(file for file in (transformer, multi, image, codec) if file is not None)
    _require_room(files, device)
    reading = _Reading(sum(file.size_bytes for file in files), stages)

    is_exact = precision == "fp32" or not device.is_cuda
    tensors = transformer.load(device.torch, reading.add)
    config = DitConfig.of(TensorSource(tensors), transformer.info.config)
    ears = None if multi is None else multi.load(device.torch, reading.add)
    forward = _forward(settings, tensors, transformer.info, ears)
    del tensors, ears
    video = WanCodec(
        codec.load(device.torch, reading.add),
        device.torch,
        torch.float32 if is_exact else torch.bfloat16,
    )
    models = Models(
        denoiser=forward.denoiser,
        codec=video,
        image_encoder=ClipImage(
            image.load(device.torch, reading.add),
            device.torch,
            torch.float32 if is_exact else torch.float16,
        ),
        make_exact=forward.make_exact,
    )
    return LoadedModel(
        models=models,
        codec=video,
        text=PromptCache(
            settings.model_storage_path / _PROMPTS,
            f"{TOKENS_VERSION}:{text.info.fingerprint}",
            # Mapped, on the CPU: a prompt seen for the first time costs seconds, and 10.6 GiB of
            # device memory stay free.
            lambda: UmT5(text.load(torch.device("cpu")), tokenizer, config.text_tokens),
        ),
        voice=Wav2Vec2(voice, device.torch),
        shape=_shape_of(config),
        text_dim=config.text_dim,
        precision=forward.precision,
        attention=forward.attention,
        block_ops=forward.block_ops,
        weights=_fingerprint_of(transformer, multi),
        recipe=recipe,
        codec_bytes_per_value=4 if is_exact else 2,
        forward_memory=forward.memory,
        audio_branch=forward.audio_branch,
        touch=toucher(forward.native, video) if forward.native and device.is_cuda else None,
        has_multi=multi is not None,
        is_native=forward.native is not None,
    )


def _multi_of(settings: InfiniteTalkSettings, folder: ResidentFolder) -> ResidentFile | None:
    """The branch for two voices, where it was prepared and the transformer is ours."""
    if settings.infinitetalk_multi == "off" or settings.infinitetalk_upstream is not None:
        return None
    return folder.multi(settings.infinitetalk_precision)


def _fingerprint_of(transformer: ResidentFile, multi: ResidentFile | None) -> str:
    """Without the second branch, what it has always been."""
    found = transformer.info.fingerprint
    return found if multi is None else f"{found}+{multi.info.fingerprint[:12]}"


@dataclass
class _Reading:
    """How much of the weights is read. total: of the files that go to the device, in bytes."""

    total: int
    stages: LoadStages
    done: int = 0

    def add(self, read_bytes: int) -> None:
        self.done += read_bytes
        self.stages.loading("weights", min(1.0, self.done / self.total))


@dataclass(frozen=True)
class _Forward:
    """A loaded transformer, and what readiness reports of it. memory: see
    `LoadedModel.forward_memory`. make_exact: see `chunk_loop.Models`. native: the denoiser, if it
    is ours."""

    denoiser: Denoiser
    precision: str
    attention: str
    block_ops: str
    memory: float = 1.0
    make_exact: Callable[[], bool] = lambda: False
    audio_branch: str = _UPSTREAMS
    native: NativeDenoiser | None = None


def _forward(
    settings: InfiniteTalkSettings,
    tensors: Mapping[str, Tensor],
    info: ResidentInfo,
    multi: Mapping[str, Tensor] | None,
) -> _Forward:
    """The native transformer, or upstream's if the operator configured it, over the same
    weights."""
    precision = settings.infinitetalk_precision
    if settings.infinitetalk_upstream is not None:
        denoiser = upstream_denoiser(settings.infinitetalk_upstream, tensors, info.config)
        return _Forward(denoiser, precision, _UPSTREAMS, _UPSTREAMS, FORWARD_MEMORY)
    activations = torch.float32 if precision == "fp32" else torch.bfloat16
    dit = build_dit(tensors, info.config, _linear(settings, info), activations, multi)
    native = NativeDenoiser(
        dit,
        AttentionBackend(settings.infinitetalk_attention),
        token_counts=_token_counts(settings),
        usual_tokens=_usual_tokens(settings),
    )
    audio_branch = audio_branch_of(dit)
    if precision == "fp8" and audio_branch != settings.infinitetalk_audio_branch:
        _log.warning(
            "The layers that hear the voice are fp8 in these files; for bf16, run `python -m"
            " inference_sidecar.weights prepare` again."
        )
    return _Forward(
        native,
        precision_of(dit) if precision == "fp8" else precision,
        native.attention.value,
        native.block_ops,
        make_exact=native.make_exact,
        audio_branch=audio_branch,
        native=native,
    )


def _linear(settings: InfiniteTalkSettings, info: ResidentInfo) -> LinearFactory:
    """What makes the linear layers of the blocks."""
    if info.precision.startswith("fp8") and settings.infinitetalk_audio_branch == "fp8":
        return AudioInFp8(Granularity(info.precision.removeprefix("fp8-")))
    return resident_linear


def _usual_tokens(settings: InfiniteTalkSettings) -> int:
    """Of a window at the configured size."""
    sizes = GenerationSizes(settings.infinitetalk_size_divisor)
    size = sizes.of(settings.infinitetalk_size, DELIVERY_SIZES[0])
    return tokens_of(size, settings.infinitetalk_frames)


def _token_counts(settings: InfiniteTalkSettings) -> tuple[int, ...]:
    """Of a window at every size that a job may be generated at."""
    sizes = GenerationSizes(settings.infinitetalk_size_divisor)
    frames = settings.infinitetalk_frames
    counts = {
        tokens_of(sizes.of(size_class, delivery), frames)
        for size_class in GENERATION_SIZES
        for delivery in DELIVERY_SIZES
    }
    return tuple(sorted(counts))


def _require_room(files: tuple[ResidentFile, ...], device: Device) -> None:
    """Fails at once instead of after minutes of reading."""
    needed = sum(file.size_bytes for file in files) + RESERVE_BYTES
    free = device.free_bytes()
    if device.is_cuda and needed > free:
        raise GpuOutOfMemory(
            f"The weights take {gib(needed)} and {gib(free)} of {device.name} are free: choose "
            "INFINITETALK_PRECISION=fp8, free the device, or use a larger one.",
            context={"neededBytes": needed, "freeBytes": free},
        )


def _shape_of(config: DitConfig) -> TransformerShape:
    """The sizes that decide arithmetic and memory."""
    return TransformerShape(
        dim=config.dim,
        ffn_dim=config.ffn_dim,
        layers=config.layers,
        heads=config.heads,
        text_tokens=config.text_tokens,
        audio_tokens=config.audio_tokens,
        audio_dim=config.audio_dim,
    )
