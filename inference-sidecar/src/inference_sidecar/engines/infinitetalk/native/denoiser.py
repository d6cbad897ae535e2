"""The native transformer behind the chunk loop's protocol: prepared once per job, then one forward
at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.native.attention import Attention, AttentionBackend
from inference_sidecar.engines.infinitetalk.native.attention_check import AttentionSizes
from inference_sidecar.engines.infinitetalk.native.block import Gated, KeyValue, Shared, Turned
from inference_sidecar.engines.infinitetalk.native.block_ops import BlockOps
from inference_sidecar.engines.infinitetalk.native.config import AUDIO_LAYERS, AUDIO_WIDTH
from inference_sidecar.engines.infinitetalk.native.dit import AudioBranch, Dit
from inference_sidecar.engines.infinitetalk.native.fastest_block_ops import fastest_block_ops
from inference_sidecar.engines.infinitetalk.native.rope import Rotation, rotation
from inference_sidecar.engines.infinitetalk.native.who import key_turn
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    Conditions,
    Listeners,
    Text,
)


@dataclass(frozen=True)
class _JobCache:
    """What the forwards of a job share; the lists hold the keys and values of each block.

    ears: the layers that hear, of each block; None takes the block's own.
    listeners: of two voices.
    """

    anchor: Tensor
    image: list[KeyValue]
    texts: dict[Text, list[KeyValue]]
    ears: AudioBranch | None = None
    listeners: Listeners | None = None
    strength: float = 1.0


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
        audio = dit.audio_projection(voice[None])
        shared = Shared(time, _positions(dit, grid), audio, self._attend, self._ops)
        text = block.cross_attn.text(dit.text_tokens(noise(1, dit.config.text_dim)))
        image = block.cross_attn.image(dit.image_tokens(noise(257, 1280)))
        block(x, text, image, shared)

    def condition(self, conditions: Conditions) -> NativeConditioned:
        """Computes the keys and values of prompt and portrait for all blocks; 0.6 GB per prompt in
        bf16."""
        texts = {Text.PROMPT: conditions.prompt}
        if conditions.negative is not None:
            texts[Text.NEGATIVE] = conditions.negative
        listeners = conditions.listeners
        has_two = listeners is not None and not listeners.is_gated
        cache = _JobCache(
            anchor=conditions.anchor.to(self._dit.device),
            image=image_cache(self._dit, conditions.image),
            texts={side: self._text_cache(embedding) for side, embedding in texts.items()},
            ears=self._dit.multi if has_two else None,
            listeners=listeners,
            strength=conditions.strength,
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
        self._turned: dict[tuple[int, int, int], Turned | Gated] = {}

    def anchored(
        self, image: Tensor, anchor: Tensor, listeners: Listeners | None
    ) -> NativeConditioned:
        """See `interfaces.ConditionedDenoiser.anchored`."""
        cache = replace(
            self._cache,
            image=image_cache(self._dit, image),
            anchor=anchor.to(self._dit.device),
            listeners=listeners,
        )
        return NativeConditioned(self._dit, self._attend, self._ops, cache)

    def embed_audio(self, voices: Tensor) -> Tensor:
        """See `interfaces.ConditionedDenoiser.embed_audio`."""
        given, ears = voices.to(self._dit.device, self._dit.dtype), self._cache.ears or self._dit
        listeners = self._cache.listeners
        if listeners is None and voices.shape[0] > 1:
            raise ValueError(f"Nobody is said to hear the second of {voices.shape[0]} voices.")
        if listeners is not None and listeners.is_gated:
            # One by one: a voice that all tokens hear is then equal, to the bit, to one alone.
            return torch.cat([ears.audio_projection(voice[None]) for voice in given], dim=1)
        return ears.audio_projection(given)

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        """See `interfaces.ConditionedDenoiser.predict`."""
        dit, cache = self._dit, self._cache
        time, block_time = dit.time_tokens(timestep)
        x, grid = dit.patches(torch.cat((latent.to(dit.device), cache.anchor)))
        shared = Shared(
            block_time,
            self._positions_of(grid),
            audio,
            self._attend,
            self._ops,
            self._listeners(grid, audio),
            cache.strength,
        )
        ears = [None] * len(dit.blocks) if cache.ears is None else cache.ears.layers
        caches = zip(cache.texts[text], cache.image, ears, strict=True)
        for block, (words, image, voice) in zip(dit.blocks, caches, strict=True):
            x = block(x, words, image, shared, voice)
        return dit.velocity(x, time, grid)

    def _listeners(self, grid: tuple[int, int, int], audio: Tensor) -> Turned | Gated | None:
        """Who hears which of two voices; a single one is heard by all."""
        listeners, config = self._cache.listeners, self._dit.config
        if listeners is None or audio.shape[1] == config.audio_tokens:
            return None
        if grid not in self._turned:
            masks = token_masks(listeners.masks, grid[1:]).to(self._dit.device)
            if listeners.is_gated:
                self._turned[grid] = Gated(masks[0] > 0)
            else:
                keys = key_turn(audio.shape[1], grid[0], config.head_dim, self._dit.device)
                self._turned[grid] = Turned(masks.to(self._dit.dtype), keys)
        return self._turned[grid]

    def _positions_of(self, grid: tuple[int, int, int]) -> Rotation:
        if grid not in self._positions:
            self._positions[grid] = _positions(self._dit, grid)
        return self._positions[grid]


def image_cache(dit: Dit, embedding: Tensor) -> list[KeyValue]:
    """Keys and values of a portrait in all blocks."""
    image = dit.image_tokens(embedding)
    return [block.cross_attn.image(image) for block in dit.blocks]


def token_masks(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """`[classes, H/8, W/8]` → `[classes, tokens of a frame]`: the pixel that is nearest."""
    return functional.interpolate(masks[None].float(), size=grid, mode="nearest")[0].flatten(1)


def _positions(dit: Dit, grid: tuple[int, int, int]) -> Rotation:
    is_exact = dit.device.type == "cpu" and dit.dtype == torch.float32
    precision = torch.float64 if is_exact else torch.float32
    return rotation(grid, dit.config.head_dim, dit.device, precision)
