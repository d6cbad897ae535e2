"""One transformer block: self-attention, prompt and portrait, voice, feed-forward."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from inference_sidecar.infinitetalk.native.attention import Attention
from inference_sidecar.infinitetalk.native.config import DitConfig
from inference_sidecar.infinitetalk.native.layers import (
    LayerNorm,
    RmsNorm,
    float_weight,
    gated_sum,
    modulated_norm,
)
from inference_sidecar.infinitetalk.native.rope import Rotation, rotate
from inference_sidecar.infinitetalk.native.tensors import LinearFactory, TensorSource


class KeyValue(NamedTuple):
    """What is attended to, `[1, tokens, heads, head_dim]` each."""

    key: Tensor
    value: Tensor


class SelfAttention(nn.Module):
    """Every token of the window with every other."""

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

    def forward(self, x: Tensor, positions: Rotation, attend: Attention) -> Tensor:
        """`[tokens, dim]` → the same."""
        query = rotate(_heads(self.norm_q(self.q(x)), self._heads), positions)
        key = rotate(_heads(self.norm_k(self.k(x)), self._heads), positions)
        value = _heads(self.v(x), self._heads)
        return self.o(attend(query[None], key[None], value[None])[0].flatten(1))


class PromptAttention(nn.Module):
    """Every token with the prompt and with the portrait. Their keys and values last a job."""

    def __init__(
        self, source: TensorSource, prefix: str, config: DitConfig, linear: LinearFactory
    ) -> None:
        super().__init__()
        self._heads = config.heads
        self.q = linear(source, f"{prefix}.q")
        self.k = linear(source, f"{prefix}.k")
        self.v = linear(source, f"{prefix}.v")
        self.k_img = linear(source, f"{prefix}.k_img")
        self.v_img = linear(source, f"{prefix}.v_img")
        self.o = linear(source, f"{prefix}.o")
        self.norm_q = RmsNorm(source, f"{prefix}.norm_q", config.epsilon)
        self.norm_k = RmsNorm(source, f"{prefix}.norm_k", config.epsilon)
        self.norm_k_img = RmsNorm(source, f"{prefix}.norm_k_img", config.epsilon)

    def text(self, tokens: Tensor) -> KeyValue:
        """Keys and values of a prompt, `[tokens, dim]`."""
        key = _heads(self.norm_k(self.k(tokens)), self._heads)
        return KeyValue(key[None], _heads(self.v(tokens), self._heads)[None])

    def image(self, tokens: Tensor) -> KeyValue:
        """Keys and values of the portrait, `[tokens, dim]`."""
        key = _heads(self.norm_k_img(self.k_img(tokens)), self._heads)
        return KeyValue(key[None], _heads(self.v_img(tokens), self._heads)[None])

    def forward(self, x: Tensor, text: KeyValue, image: KeyValue, attend: Attention) -> Tensor:
        """`[tokens, dim]` → the same."""
        query = _heads(self.norm_q(self.q(x)), self._heads)[None]
        attended = attend(query, *text) + attend(query, *image)
        return self.o(attended[0].flatten(1))


class VoiceAttention(nn.Module):
    """The tokens of each latent frame with what that frame hears, and nothing else."""

    def __init__(
        self, source: TensorSource, prefix: str, config: DitConfig, linear: LinearFactory
    ) -> None:
        super().__init__()
        self._heads = config.heads
        self.q_linear = linear(source, f"{prefix}.q_linear")
        self.kv_linear = linear(source, f"{prefix}.kv_linear")
        self.proj = linear(source, f"{prefix}.proj")

    def forward(self, x: Tensor, audio: Tensor, attend: Attention) -> Tensor:
        """`[tokens, dim]` and `[latent frames, audio tokens, audio_dim]` → `[tokens, dim]`."""
        query = self.q_linear(x).unflatten(0, (audio.shape[0], -1))
        key, value = self.kv_linear(audio).chunk(2, dim=-1)
        attended = attend(*(_heads(one, self._heads) for one in (query, key, value)))
        return self.proj(attended.reshape(x.shape))


class Block(nn.Module):
    """A block of the transformer, under the published names."""

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

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        positions: Rotation,
        text: KeyValue,
        image: KeyValue,
        audio: Tensor,
        attend: Attention,
    ) -> Tensor:
        """`[tokens, dim]` → the same. `time` is `[1, 6, dim]` float32."""
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation + time)[0]
        update = self.self_attn(modulated_norm(x, shift, scale, self._epsilon), positions, attend)
        x = gated_sum(x, update, gate)
        x = x + self.cross_attn(self.norm3(x), text, image, attend)
        x = x + self.audio_cross_attn(self.norm_x(x), audio, attend)
        hidden = self.ffn_in(modulated_norm(x, ffn_shift, ffn_scale, self._epsilon))
        return gated_sum(x, self.ffn_out(functional.gelu(hidden, approximate="tanh")), ffn_gate)


def _optional_norm(source: TensorSource, prefix: str, epsilon: float) -> nn.Module:
    """Published models have it; the architecture allows one without."""
    has_norm = f"{prefix}.weight" in source
    return LayerNorm(source, prefix, epsilon) if has_norm else nn.Identity()


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1))
