"""Tiny random weights, and an engine over them that renders a chunk in a fraction of a second."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import TransformerShape
from inference_sidecar.engines.infinitetalk.encoders.codec import WanCodec
from inference_sidecar.engines.infinitetalk.engine import InfiniteTalkEngine
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.native.dit import build_dit
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    Conditions,
    Listeners,
    Text,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (
    random_tensors,
    write_tiny_weights,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    audio_shapes,
    base_shapes,
    codec_shapes,
)
from inference_sidecar.weights.prepare.command import Preparation
from stage.tiny_engine import TINY, tiny_loaded_model, tiny_settings


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Work this small is faster on one thread than distributed over several."""
    torch.set_num_threads(1)
    # Exempts everything that torch, diffusers and transformers created at import from garbage
    # collection, which the engine runs between jobs.
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights") / "published", TINY)


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> LoadedModel:
    return tiny_loaded_model(tiny_folder)


@pytest.fixture
def loaded(tiny_model: LoadedModel) -> InfiniteTalkEngine:
    """A loaded engine. Its models are shared between tests: they keep nothing between renders."""
    engine = InfiniteTalkEngine(tiny_settings(), lambda *_: tiny_model)
    engine.load()
    return engine


@pytest.fixture
def forward_of() -> Callable[..., Callable[[], torch.Tensor]]:
    """One forward of a transformer of any shape, on a prepared job of one or two voices."""

    def make(
        shape: TransformerShape, dtype: torch.dtype, size: Size, frames: int, voices: int = 1
    ) -> Callable[[], torch.Tensor]:
        sizes = TinySizes(
            dim=shape.dim,
            heads=shape.heads,
            layers=shape.layers,
            ffn=shape.ffn_dim,
            text_tokens=shape.text_tokens,
            audio_tokens=shape.audio_tokens,
            audio_dim=shape.audio_dim,
        )
        tensors = random_tensors(base_shapes(sizes) | audio_shapes(sizes), torch.Generator())
        weights = {name: tensor.to(dtype) for name, tensor in tensors.items()}
        dit = build_dit(
            weights, {"num_heads": shape.heads, "text_len": shape.text_tokens}, dtype=dtype
        )
        grid = ((frames - 1) // 4 + 1, size.height // 8, size.width // 8)
        sides = torch.ones(3, *grid[1:])
        sides[0, :, grid[2] // 3 :] = 0
        sides[1, :, : -grid[2] // 3] = 0
        sides[2] = 1 - sides[:2].sum(dim=0)
        conditioned = NativeDenoiser(dit).condition(
            Conditions(
                prompt=torch.randn(8, sizes.text_dim),
                negative=None,
                image=torch.randn(257, 1280),
                anchor=torch.randn(20, *grid),
                listeners=None if voices == 1 else Listeners(sides),
            )
        )
        audio = conditioned.embed_audio(torch.randn(voices, frames, 5, 12, 768))
        latent = torch.randn(16, *grid)
        return lambda: conditioned.predict(latent, 500.0, Text.PROMPT, audio)

    return make


@pytest.fixture
def codec_of_width() -> Callable[[int, torch.dtype], WanCodec]:
    """A video codec with this many channels in its first layer; the published one has 96."""

    def make(width: int, dtype: torch.dtype) -> WanCodec:
        shapes = codec_shapes(TinySizes(codec_width=width))
        return WanCodec(random_tensors(shapes, torch.Generator()), dtype=dtype)

    return make


@pytest.fixture(scope="session")
def resident_folder(tiny_folder: Path) -> Path:
    """The folder of tiny weights after `prepare`: no LoRA, but sampled in few steps like one."""
    Preparation(tiny_folder, precisions=("fp8", "fp32"), loras=(), recipe="lightx2v-4").run()
    return tiny_folder
