"""The native transformer behind the chunk loop's protocol: prepared once per job, then one forward
at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.native.attention import Attention, AttentionBackend
from inference_sidecar.engines.infinitetalk.native.attention_check import AttentionSizes
from inference_sidecar.engines.infinitetalk.native.block import KeyValue, Shared
from inference_sidecar.engines.infinitetalk.native.block_ops import BlockOps
from inference_sidecar.engines.infinitetalk.native.config import AUDIO_LAYERS, AUDIO_WIDTH
from inference_sidecar.engines.infinitetalk.native.dit import Dit
from inference_sidecar.engines.infinitetalk.native.fastest_block_ops import fastest_block_ops
from inference_sidecar.engines.infinitetalk.native.rope import Rotation, rotation
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Text


@dataclass(frozen=True)
class _JobCache:
    """What the forwards of a job share; the lists hold the keys and values of each block."""

    anchor: Tensor
    image: list[KeyValue]
    texts: dict[Text, list[KeyValue]]


class NativeDenoiser:
    """`interfaces.Denoiser` with the native forward.

    ops: the operations between the linear layers; None takes the fastest that runs on the device.
    token_counts, usual_tokens: see `AttentionSizes`.
    """

    def __init__(
        self,
        dit: Dit,
        attention: AttentionBackend = AttentionBackend.AUTO,
        ops: BlockOps | None = None,
        token_counts: tuple[int, ...] = (),
        usual_tokens: int = 0,
    ) -> None:
        self._dit = dit
        heads, head_dim = dit.config.heads, dit.config.head_dim
        sizes = AttentionSizes(heads, head_dim, token_counts, usual_tokens)
        self._attend = Attention(attention, dit.device, dit.dtype, sizes)
        self._ops = ops or fastest_block_ops(dit.device, dit.dtype)

    @property
    def attention(self) -> AttentionBackend:
        """The kernel that is really used, as readiness reports it."""
        return self._attend.backend

    @property
    def block_ops(self) -> str:
        """What is really used between the linear layers, as readiness reports it."""
        return self._ops.name

    def make_exact(self) -> bool:
        """See `chunk_loop.Models.make_exact`."""
        return self._attend.make_exact()

    @torch.inference_mode()
    def touch(self, frames: int, latent: tuple[int, int, int]) -> None:
        """Runs one block for a window of so many frames and a latent of this size, on noise: what
        the device prepares per size is then prepared."""
        dit, block = self._dit, self._dit.blocks[0]

        def noise(*shape: int) -> Tensor:
            return torch.randn(shape).to(dit.device)

        x, grid = dit.patches(noise(dit.patch_channels, *latent))
        _, time = dit.time_tokens(500.0)
        voice = noise(frames, dit.config.audio_window, AUDIO_LAYERS, AUDIO_WIDTH).to(dit.dtype)
        audio = dit.audio_projection(voice)
        shared = Shared(time, _positions(dit, grid), audio, self._attend, self._ops)
        text = block.cross_attn.text(dit.text_tokens(noise(1, dit.config.text_dim)))
        image = block.cross_attn.image(dit.image_tokens(noise(257, 1280)))
        block(x, text, image, shared)

    def condition(self, conditions: Conditions) -> NativeConditioned:
        """Computes the keys and values of prompt and portrait for all blocks; 0.6 GB per prompt in
        bf16."""
        if conditions.person_masks is not None:
            raise NotImplementedError("The native forward renders one person.")
        texts = {Text.PROMPT: conditions.prompt}
        if conditions.negative is not None:
            texts[Text.NEGATIVE] = conditions.negative
        image = self._dit.image_tokens(conditions.image)
        cache = _JobCache(
            anchor=conditions.anchor.to(self._dit.device),
            image=[block.cross_attn.image(image) for block in self._dit.blocks],
            texts={side: self._text_cache(embedding) for side, embedding in texts.items()},
        )
        return NativeConditioned(self._dit, self._attend, self._ops, cache)

    def _text_cache(self, embedding: Tensor) -> list[KeyValue]:
        tokens = self._dit.text_tokens(embedding)
        return [block.cross_attn.text(tokens) for block in self._dit.blocks]


class NativeConditioned:
    """`interfaces.ConditionedDenoiser`; holds the caches of a job."""

    def __init__(self, dit: Dit, attend: Attention, ops: BlockOps, cache: _JobCache) -> None:
        self._dit = dit
        self._attend = attend
        self._ops = ops
        self._cache = cache
        self._positions: dict[tuple[int, int, int], Rotation] = {}

    def embed_audio(self, voices: Tensor) -> Tensor:
        """See `interfaces.ConditionedDenoiser.embed_audio`."""
        if voices.shape[0] != 1:
            raise NotImplementedError("The native forward renders one person.")
        return self._dit.audio_projection(voices[0].to(self._dit.device, self._dit.dtype))

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        """See `interfaces.ConditionedDenoiser.predict`."""
        time, block_time = self._dit.time_tokens(timestep)
        x, grid = self._dit.patches(torch.cat((latent.to(self._dit.device), self._cache.anchor)))
        shared = Shared(block_time, self._positions_of(grid), audio, self._attend, self._ops)
        caches = zip(self._cache.texts[text], self._cache.image, strict=True)
        for block, (words, image) in zip(self._dit.blocks, caches, strict=True):
            x = block(x, words, image, shared)
        return self._dit.velocity(x, time, grid)

    def _positions_of(self, grid: tuple[int, int, int]) -> Rotation:
        if grid not in self._positions:
            self._positions[grid] = _positions(self._dit, grid)
        return self._positions[grid]


def _positions(dit: Dit, grid: tuple[int, int, int]) -> Rotation:
    is_exact = dit.device.type == "cpu" and dit.dtype == torch.float32
    precision = torch.float64 if is_exact else torch.float32
    return rotation(grid, dit.config.head_dim, dit.device, precision)
