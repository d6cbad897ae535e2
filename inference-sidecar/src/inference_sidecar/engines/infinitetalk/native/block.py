"""One transformer block: self-attention, cross-attention to prompt and portrait, cross-attention to
the voice, feed-forward."""

from __future__ import annotations

from typing import NamedTuple

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


class KeyValue(NamedTuple):
    """Keys and values, `[1, tokens, heads, head_dim]` each."""

    key: Tensor
    value: Tensor


class Shared(NamedTuple):
    """The inputs that all blocks of a forward share.

    time: modulation from the timestep, `[1, 6, dim]` float32. audio: `[latent frames, audio tokens,
    audio_dim]`. attend, ops: the kernels to compute with.
    """

    time: Tensor
    positions: Rotation
    audio: Tensor
    attend: Attention
    ops: BlockOps


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

    def forward(self, x: LinearInput, shared: Shared) -> Tensor:
        """`[tokens, dim]` → the same shape."""
        ops, positions = shared.ops, shared.positions
        query = ops.heads(self.q(x), self.norm_q, self._heads, positions)
        key = ops.heads(self.k(x), self.norm_k, self._heads, positions)
        value = _heads(self.v(x), self._heads)
        attended = shared.attend(query[None], key[None], value[None])[0].flatten(1)
        return self.o(ops.rows(attended, as_rows=takes_rows(self.o, attended.dtype)))


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

    def forward(self, x: LinearInput, shared: Shared) -> Tensor:
        """`[tokens, dim]` → the same shape."""
        audio = shared.audio
        query = self.q_linear(x).unflatten(0, (audio.shape[0], -1))
        key, value = self.kv_linear(audio).chunk(2, dim=-1)
        heads = (_heads(one, self._heads) for one in (query, key, value))
        attended = shared.attend(*heads).flatten(2).flatten(0, 1)
        return self.proj(shared.ops.rows(attended, as_rows=takes_rows(self.proj, attended.dtype)))


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
        self.norm_x = _optional_norm(source, f"{prefix}.norm_x", config.epsilon)
        self.audio_cross_attn = VoiceAttention(source, f"{prefix}.audio_cross_attn", config, linear)
        self.ffn_in = linear(source, f"{prefix}.ffn.0")
        self.ffn_out = linear(source, f"{prefix}.ffn.2")

    def forward(self, x: Tensor, text: KeyValue, image: KeyValue, shared: Shared) -> Tensor:
        """`[tokens, dim]` → the same shape."""
        ops, dtype = shared.ops, x.dtype
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation + shared.time)[0]

        modulation = Modulation(shift, scale, self._epsilon)
        normed = ops.norm(x, modulation, as_rows=takes_rows(self.self_attn.q, dtype))

        # Updates are never bound to a name: each is as large as x and must be freed once it is
        # added.
        as_rows = takes_rows(self.cross_attn.q, dtype)
        x, normed = ops.sum_norm(
            x, self.self_attn(normed, shared), gate, self.norm3, as_rows=as_rows
        )
        as_rows = takes_rows(self.audio_cross_attn.q_linear, dtype)
        x, normed = ops.sum_norm(
            x, self.cross_attn(normed, text, image, shared), None, self.norm_x, as_rows=as_rows
        )
        modulation = Modulation(ffn_shift, ffn_scale, self._epsilon)
        as_rows = takes_rows(self.ffn_in, dtype)
        x, normed = ops.sum_norm(
            x, self.audio_cross_attn(normed, shared), None, modulation, as_rows=as_rows
        )
        hidden = self.ffn_in(normed)
        del normed
        hidden = ops.gelu(hidden, as_rows=takes_rows(self.ffn_out, dtype))
        return ops.gated_sum(x, self.ffn_out(hidden), ffn_gate)


def _optional_norm(source: TensorSource, prefix: str, epsilon: float) -> LayerNorm | None:
    """The published models have this norm; the architecture allows leaving it out."""
    has_norm = f"{prefix}.weight" in source
    return LayerNorm(source, prefix, epsilon) if has_norm else None


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1))
