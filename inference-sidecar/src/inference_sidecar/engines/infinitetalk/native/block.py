"""One transformer block: self-attention, cross-attention to prompt and portrait, cross-attention to
the voice, feed-forward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import (
    LinearFactory,
    TensorSource,
)
from inference_sidecar.engines.infinitetalk.native.attention import Attention
from inference_sidecar.engines.infinitetalk.native.block_ops import BlockOps, LinearInput
from inference_sidecar.engines.infinitetalk.native.config import DitConfig
from inference_sidecar.engines.infinitetalk.native.layers import (
    LayerNorm,
    Modulation,
    RmsNorm,
    float_weight,
)
from inference_sidecar.engines.infinitetalk.native.linear import takes_rows
from inference_sidecar.engines.infinitetalk.native.rope import Rotation
from inference_sidecar.engines.infinitetalk.native.who import explicit_map, fused_map, query_turn


class KeyValue(NamedTuple):
    """Keys and values, `[1, tokens, heads, head_dim]` each."""

    key: Tensor
    value: Tensor


class Turned(NamedTuple):
    """Two voices, each heard by the tokens whose own person speaks; see `who`.

    masks: the tokens of a latent frame that belong to each person, then the background,
    `[3, tokens of a frame]`. keys: how the keys of the voices are turned.
    """

    masks: Tensor
    keys: Rotation


class Gated(NamedTuple):
    """Two voices, of which the first is heard by some tokens and the second by all others.

    is_first: `[tokens of a frame]`.
    """

    is_first: Tensor


class Shared(NamedTuple):
    """The inputs that all blocks of a forward share.

    time: modulation from the timestep, `[1, 6, dim]` float32. audio: `[latent frames, audio tokens,
    audio_dim]`. attend, ops: the kernels to compute with. strength: of what the voice adds.
    listeners: who hears which of two voices; None if there is one.
    """

    time: Tensor
    positions: Rotation
    audio: Tensor
    attend: Attention
    ops: BlockOps
    listeners: Turned | Gated | None = None
    strength: float = 1.0


class _TokenAttention(nn.Module):
    """The layers that self-attention and prompt attention have in common."""

    def __init__(
        self, source: TensorSource, prefix: str, config: DitConfig, linear: LinearFactory
    ) -> None:
        super().__init__()
        self._heads = config.heads
        self.q = linear(source, f"{prefix}.q")
        self.k = linear(source, f"{prefix}.k")
        self.v = linear(source, f"{prefix}.v")
        self.o = linear(source, f"{prefix}.o")
        self.norm_q = RmsNorm(source, f"{prefix}.norm_q", config.epsilon)
        self.norm_k = RmsNorm(source, f"{prefix}.norm_k", config.epsilon)


class SelfAttention(_TokenAttention):
    """Every token of the window attends to every other."""

    def forward(self, x: LinearInput, shared: Shared) -> tuple[Tensor, Rotation | None]:
        """`[tokens, dim]` → the same shape, and how the queries of two voices are turned."""
        ops, positions = shared.ops, shared.positions
        query = ops.heads(self.q(x), self.norm_q, self._heads, positions)
        key = ops.heads(self.k(x), self.norm_k, self._heads, positions)
        value = _heads(self.v(x), self._heads)
        attended = shared.attend(query[None], key[None], value[None])[0].flatten(1)
        del value
        turn = _query_turn(query, key, shared)
        del query, key
        return self.o(ops.rows(attended, as_rows=takes_rows(self.o, attended.dtype))), turn


def _query_turn(query: Tensor, key: Tensor, shared: Shared) -> Rotation | None:
    """From where each token looks in the first latent frame."""
    if not isinstance(shared.listeners, Turned):
        return None
    masks = shared.listeners.masks
    if query.device.type == "cpu" and query.dtype == torch.float32:
        found = explicit_map(query, key, masks)
    else:
        found = fused_map(query, key, masks, shared.attend.exactly)
    return query_turn(found, masks, query.shape[-1])


class PromptAttention(_TokenAttention):
    """Every token attends to the prompt and to the portrait, whose keys and values are cached."""

    def __init__(
        self, source: TensorSource, prefix: str, config: DitConfig, linear: LinearFactory
    ) -> None:
        super().__init__(source, prefix, config, linear)
        self.k_img = linear(source, f"{prefix}.k_img")
        self.v_img = linear(source, f"{prefix}.v_img")
        self.norm_k_img = RmsNorm(source, f"{prefix}.norm_k_img", config.epsilon)

    def text(self, tokens: Tensor) -> KeyValue:
        """Keys and values of a prompt, `[tokens, dim]`."""
        key = _heads(self.norm_k(self.k(tokens)), self._heads)
        return KeyValue(key[None], _heads(self.v(tokens), self._heads)[None])

    def image(self, tokens: Tensor) -> KeyValue:
        """Keys and values of the portrait, `[tokens, dim]`."""
        key = _heads(self.norm_k_img(self.k_img(tokens)), self._heads)
        return KeyValue(key[None], _heads(self.v_img(tokens), self._heads)[None])

    def forward(self, x: LinearInput, text: KeyValue, image: KeyValue, shared: Shared) -> Tensor:
        """`[tokens, dim]` → the same shape."""
        query = shared.ops.heads(self.q(x), self.norm_q, self._heads, None)[None]
        as_rows = takes_rows(self.o, query.dtype)
        attended = (shared.attend(query, *one)[0].flatten(1) for one in (text, image))
        return self.o(shared.ops.sum(*attended, as_rows=as_rows))


class VoiceAttention(nn.Module):
    """The tokens of each latent frame attend to the audio tokens of that frame alone."""

    def __init__(
        self, source: TensorSource, prefix: str, config: DitConfig, linear: LinearFactory
    ) -> None:
        super().__init__()
        self._heads = config.heads
        self.q_linear = linear(source, f"{prefix}.q_linear")
        self.kv_linear = linear(source, f"{prefix}.kv_linear")
        self.proj = linear(source, f"{prefix}.proj")

    def forward(self, x: LinearInput, shared: Shared, turn: Rotation | None = None) -> Tensor:
        """`[tokens, dim]` → the same shape. turn: of the queries, where the keys are turned too."""
        latent_frames = shared.audio.shape[0]
        query = _heads(self.q_linear(x), self._heads)
        if turn is not None:
            query = shared.ops.turn(query, turn)
        query = query.unflatten(0, (latent_frames, -1))
        if isinstance(shared.listeners, Gated):
            first, second = (
                self._attended(query, voice, shared) for voice in shared.audio.chunk(2, dim=1)
            )
            is_first = shared.listeners.is_first[None, :, None, None]
            attended = torch.where(is_first, first, second)
            del first, second
        else:
            attended = self._attended(query, shared.audio, shared)
        del query
        rows = attended.flatten(2).flatten(0, 1)
        del attended
        return self.proj(shared.ops.rows(rows, as_rows=takes_rows(self.proj, rows.dtype)))

    def _attended(self, query: Tensor, audio: Tensor, shared: Shared) -> Tensor:
        key, value = (_heads(one, self._heads) for one in self.kv_linear(audio).chunk(2, dim=-1))
        if isinstance(shared.listeners, Turned):
            turned = shared.ops.turn(key.flatten(0, 1), shared.listeners.keys)
            key = turned.unflatten(0, key.shape[:2])
        return shared.attend(query, key, value)


class VoiceLayers(nn.Module):
    """What a block hears the voice with, and the norm before it, with the published names."""

    def __init__(
        self, source: TensorSource, prefix: str, config: DitConfig, linear: LinearFactory
    ) -> None:
        super().__init__()
        self.norm_x = _optional_norm(source, f"{prefix}.norm_x", config.epsilon)
        self.audio_cross_attn = VoiceAttention(source, f"{prefix}.audio_cross_attn", config, linear)


class Block(nn.Module):
    """A block of the transformer, with the published names."""

    def __init__(
        self, source: TensorSource, prefix: str, config: DitConfig, linear: LinearFactory
    ) -> None:
        super().__init__()
        self._epsilon = config.epsilon
        self.modulation = float_weight(source, f"{prefix}.modulation")
        self.self_attn = SelfAttention(source, f"{prefix}.self_attn", config, linear)
        self.norm3 = _optional_norm(source, f"{prefix}.norm3", config.epsilon)
        self.cross_attn = PromptAttention(source, f"{prefix}.cross_attn", config, linear)
        self.voice = VoiceLayers(source, prefix, config, linear)
        self.ffn_in = linear(source, f"{prefix}.ffn.0")
        self.ffn_out = linear(source, f"{prefix}.ffn.2")

    def forward(
        self,
        x: Tensor,
        text: KeyValue,
        image: KeyValue,
        shared: Shared,
        voice: VoiceLayers | None = None,
    ) -> Tensor:
        """`[tokens, dim]` → the same shape. voice: heard with these layers instead of its own."""
        ops, dtype, ears = shared.ops, x.dtype, voice or self.voice
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation + shared.time)[0]

        modulation = Modulation(shift, scale, self._epsilon)
        normed = ops.norm(x, modulation, as_rows=takes_rows(self.self_attn.q, dtype))

        # An update is as large as x and must be freed once it is added.
        as_rows = takes_rows(self.cross_attn.q, dtype)
        update, turn = self.self_attn(normed, shared)
        x, normed = ops.sum_norm(x, update, gate, self.norm3, as_rows=as_rows)
        del update
        as_rows = takes_rows(ears.audio_cross_attn.q_linear, dtype)
        x, normed = ops.sum_norm(
            x, self.cross_attn(normed, text, image, shared), None, ears.norm_x, as_rows=as_rows
        )
        modulation = Modulation(ffn_shift, ffn_scale, self._epsilon)
        as_rows = takes_rows(self.ffn_in, dtype)
        x, normed = ops.sum_norm(
            x, _heard(ears, normed, shared, turn), None, modulation, as_rows=as_rows
        )
        hidden = self.ffn_in(normed)
        del normed
        hidden = ops.gelu(hidden, as_rows=takes_rows(self.ffn_out, dtype))
        return ops.gated_sum(x, self.ffn_out(hidden), ffn_gate)


def _heard(ears: VoiceLayers, normed: LinearInput, shared: Shared, turn: Rotation | None) -> Tensor:
    """What the voices add, as strongly as wanted."""
    update = ears.audio_cross_attn(normed, shared, turn)
    return update if shared.strength == 1.0 else update * shared.strength


def _optional_norm(source: TensorSource, prefix: str, epsilon: float) -> LayerNorm | None:
    """The published models have this norm; the architecture allows leaving it out."""
    has_norm = f"{prefix}.weight" in source
    return LayerNorm(source, prefix, epsilon) if has_norm else None


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1))
