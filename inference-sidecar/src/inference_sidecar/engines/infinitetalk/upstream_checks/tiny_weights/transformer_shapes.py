"""Names and shapes of the transformer's tensors: the base model and InfiniteTalk's audio branch."""

from __future__ import annotations

from typing import Final

from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.layer_shapes import (
    linear,
    norm,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import (
    Shapes,
    TinySizes,
)

_AUDIO_INPUTS: Final = 12 * 768
_IMAGE_WIDTH: Final = 1280
_LATENT_CHANNELS: Final = 16


def base_shapes(sizes: TinySizes) -> Shapes:
    """The base transformer."""
    dim = sizes.dim
    shapes: Shapes = {"patch_embedding.weight": (dim, 36, 1, 2, 2), "patch_embedding.bias": (dim,)}
    shapes |= linear("text_embedding.0", sizes.text_dim, dim)
    shapes |= linear("text_embedding.2", dim, dim)
    shapes |= linear("time_embedding.0", sizes.frequency_dim, dim)
    shapes |= linear("time_embedding.2", dim, dim)
    shapes |= linear("time_projection.1", dim, 6 * dim)
    shapes |= norm("img_emb.proj.0", _IMAGE_WIDTH)
    shapes |= linear("img_emb.proj.1", _IMAGE_WIDTH, _IMAGE_WIDTH)
    shapes |= linear("img_emb.proj.3", _IMAGE_WIDTH, dim)
    shapes |= norm("img_emb.proj.4", dim)
    shapes |= linear("head.head", dim, 4 * _LATENT_CHANNELS)
    shapes["head.modulation"] = (1, 2, dim)
    for block in (f"blocks.{index}" for index in range(sizes.layers)):
        shapes[f"{block}.modulation"] = (1, 6, dim)
        shapes |= norm(f"{block}.norm3", dim)
        for attention in ("self_attn", "cross_attn"):
            for layer in "qkvo":
                shapes |= linear(f"{block}.{attention}.{layer}", dim, dim)
            shapes[f"{block}.{attention}.norm_q.weight"] = (dim,)
            shapes[f"{block}.{attention}.norm_k.weight"] = (dim,)
        shapes |= linear(f"{block}.cross_attn.k_img", dim, dim)
        shapes |= linear(f"{block}.cross_attn.v_img", dim, dim)
        shapes[f"{block}.cross_attn.norm_k_img.weight"] = (dim,)
        shapes |= linear(f"{block}.ffn.0", dim, sizes.ffn)
        shapes |= linear(f"{block}.ffn.2", sizes.ffn, dim)
    return shapes


def audio_shapes(sizes: TinySizes) -> Shapes:
    """The audio branch, which InfiniteTalk adds to the base transformer."""
    hidden = sizes.audio_hidden
    shapes = linear("audio_proj.proj1", 5 * _AUDIO_INPUTS, hidden)
    shapes |= linear("audio_proj.proj1_vf", 8 * _AUDIO_INPUTS, hidden)
    shapes |= linear("audio_proj.proj2", hidden, hidden)
    shapes |= linear("audio_proj.proj3", hidden, sizes.audio_tokens * sizes.audio_dim)
    shapes |= norm("audio_proj.norm", sizes.audio_dim)
    for block in (f"blocks.{index}" for index in range(sizes.layers)):
        shapes |= linear(f"{block}.audio_cross_attn.q_linear", sizes.dim, sizes.dim)
        shapes |= linear(f"{block}.audio_cross_attn.kv_linear", sizes.audio_dim, 2 * sizes.dim)
        shapes |= linear(f"{block}.audio_cross_attn.proj", sizes.dim, sizes.dim)
        shapes |= norm(f"{block}.norm_x", sizes.dim)
    return shapes
