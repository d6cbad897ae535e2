"""The diffusion transformer: predicts the velocity from latent, prompt, portrait and voice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import (
    LinearFactory,
    TensorSource,
)
from inference_sidecar.engines.infinitetalk.native.audio_branch import AudioProjection
from inference_sidecar.engines.infinitetalk.native.block import Block, VoiceLayers
from inference_sidecar.engines.infinitetalk.native.config import DitConfig
from inference_sidecar.engines.infinitetalk.native.layers import (
    FloatLinear,
    LayerNorm,
    Modulation,
    float_weight,
)
from inference_sidecar.engines.infinitetalk.native.linear import plain_linear

_IMAGE_NORM_EPSILON: Final = 1e-5


class AudioBranch(nn.Module):
    """All that hears: what InfiniteTalk adds to the base transformer, once more for two voices.

    layers: of each block.
    """

    def __init__(self, source: TensorSource, config: DitConfig, linear: LinearFactory) -> None:
        super().__init__()
        self.audio_projection = AudioProjection(source, config, plain_linear)
        self.layers = [
            VoiceLayers(source, f"blocks.{index}", config, linear) for index in range(config.layers)
        ]
        self._registered = nn.ModuleList(self.layers)


class Dit(nn.Module):
    """The published transformer. Its sizes and its device are those of the tensors.

    dtype: of activations between layers; norms, time embedding and head compute in float32.
    multi: the branch for two voices, where the weights have both; None leaves one branch for all.
    """

    def __init__(
        self, source: TensorSource, config: DitConfig, linear: LinearFactory, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        patch_weight = source.take("patch_embedding.weight").to(dtype)
        self.patch_weight = nn.Parameter(patch_weight.flatten(1), requires_grad=False)
        self.patch_bias = nn.Parameter(
            source.take("patch_embedding.bias").to(dtype), requires_grad=False
        )
        self.text_in = plain_linear(source, "text_embedding.0")
        self.text_out = plain_linear(source, "text_embedding.2")
        self.time_in = FloatLinear(source, "time_embedding.0")
        self.time_out = FloatLinear(source, "time_embedding.2")
        self.time_projection = FloatLinear(source, "time_projection.1")
        self.image_norm_in = LayerNorm(source, "img_emb.proj.0", _IMAGE_NORM_EPSILON)
        self.image_in = plain_linear(source, "img_emb.proj.1")
        self.image_out = plain_linear(source, "img_emb.proj.3")
        self.image_norm_out = LayerNorm(source, "img_emb.proj.4", _IMAGE_NORM_EPSILON)
        self.audio_projection = AudioProjection(source, config, plain_linear)
        self.multi: AudioBranch | None = None
        self.blocks = [
            Block(source, f"blocks.{index}", config, linear) for index in range(config.layers)
        ]
        self._registered = nn.ModuleList(self.blocks)
        self.head_modulation = float_weight(source, "head.modulation")
        self.head = FloatLinear(source, "head.head")

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.patch_weight.device

    @property
    def patch_channels(self) -> int:
        """Channels of what `patches` takes."""
        return self.patch_weight.shape[1] // math.prod(self.config.patch)

    def text_tokens(self, embedding: Tensor) -> Tensor:
        """`[tokens, text_dim]` → `[text_tokens, dim]`. The padding is not masked, because upstream
        attends to it too."""
        padding = self.config.text_tokens - embedding.shape[0]
        padded = functional.pad(embedding.to(self.device, self.dtype), (0, 0, 0, padding))
        return self.text_out(functional.gelu(self.text_in(padded), approximate="tanh"))

    def image_tokens(self, embedding: Tensor) -> Tensor:
        """`[257, 1280]` → `[257, dim]`."""
        normed = self.image_norm_in(embedding.to(self.device, self.dtype))
        return self.image_norm_out(self.image_out(functional.gelu(self.image_in(normed))))

    def time_tokens(self, timestep: float) -> tuple[Tensor, Tensor]:
        """The embedding of a timestep for the head, `[1, dim]`, and for the blocks, `[1, 6,
        dim]`."""
        half = self.config.frequency_dim // 2
        powers = -torch.arange(half, dtype=torch.float64, device=self.device) / half
        angles = timestep * 10000**powers
        waves = torch.cat((angles.cos(), angles.sin())).float()[None]
        time = self.time_out(functional.silu(self.time_in(waves)))
        return time, self.time_projection(functional.silu(time)).unflatten(1, (6, -1))

    def patches(self, latent: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """`[channels, T, H, W]` → `[tokens, dim]`, and the grid that the tokens form."""
        frames, rows, columns = self.config.patch
        channels, t, h, w = latent.shape
        grid = (t // frames, h // rows, w // columns)
        cut = latent.reshape(channels, grid[0], frames, grid[1], rows, grid[2], columns)
        tokens = cut.permute(1, 3, 5, 0, 2, 4, 6).reshape(math.prod(grid), -1).to(self.dtype)
        return functional.linear(tokens, self.patch_weight, self.patch_bias), grid

    def velocity(self, x: Tensor, time: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """The head: `[tokens, dim]` → `[channels, T, H, W]` float32."""
        shift, scale = (self.head_modulation + time[:, None])[0]
        values = self.head(Modulation(shift, scale, self.config.epsilon)(x.float()))
        cut = values.view(*grid, *self.config.patch, self.config.out_channels)
        frames, rows, columns = (n * size for n, size in zip(grid, self.config.patch, strict=True))
        return cut.permute(6, 0, 3, 1, 4, 2, 5).reshape(-1, frames, rows, columns)


def build_dit(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, object],
    linear: LinearFactory = plain_linear,
    dtype: torch.dtype = torch.float32,
    multi: Mapping[str, Tensor] | None = None,
) -> Dit:
    """Builds the transformer from tensors with their published names.

    tensors: of the base model and the audio branch; the mapping may load lazily and decides the
    device. A missing name raises `MissingTensor`, an unknown one `ValueError`.
    config: the base model's `config.json`.
    linear: makes the linear layers of the blocks. `plain_linear` makes the embeddings, in the dtype
    of their tensors, which must be `dtype`; time embedding and head compute in float32.
    multi: tensors of the audio branch for two voices, beside the one for a single voice.
    """
    source = TensorSource(tensors)
    sizes = DitConfig.of(source, config)
    dit = Dit(source, sizes, linear, dtype)
    _require_all_taken(source)
    if multi is not None:
        ears = TensorSource(multi)
        dit.multi = AudioBranch(ears, sizes, linear)
        _require_all_taken(ears)
    return dit.eval()


def _require_all_taken(source: TensorSource) -> None:
    if unknown := source.leftovers():
        raise ValueError(f"The model has no tensors named {', '.join(unknown[:5])}.")
