"""Names and shapes of all tensors: transformer, audio branch, text encoder, CLIP and codec."""

from __future__ import annotations

from typing import Final

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
    shapes |= _layer("text_embedding.0", sizes.text_dim, dim)
    shapes |= _layer("text_embedding.2", dim, dim)
    shapes |= _layer("time_embedding.0", sizes.frequency_dim, dim)
    shapes |= _layer("time_embedding.2", dim, dim)
    shapes |= _layer("time_projection.1", dim, 6 * dim)
    shapes |= _norm("img_emb.proj.0", _IMAGE_WIDTH)
    shapes |= _layer("img_emb.proj.1", _IMAGE_WIDTH, _IMAGE_WIDTH)
    shapes |= _layer("img_emb.proj.3", _IMAGE_WIDTH, dim)
    shapes |= _norm("img_emb.proj.4", dim)
    shapes |= _layer("head.head", dim, 4 * _LATENT_CHANNELS)
    shapes["head.modulation"] = (1, 2, dim)
    for block in (f"blocks.{index}" for index in range(sizes.layers)):
        shapes[f"{block}.modulation"] = (1, 6, dim)
        shapes |= _norm(f"{block}.norm3", dim)
        for attention in ("self_attn", "cross_attn"):
            for layer in "qkvo":
                shapes |= _layer(f"{block}.{attention}.{layer}", dim, dim)
            shapes[f"{block}.{attention}.norm_q.weight"] = (dim,)
            shapes[f"{block}.{attention}.norm_k.weight"] = (dim,)
        shapes |= _layer(f"{block}.cross_attn.k_img", dim, dim)
        shapes |= _layer(f"{block}.cross_attn.v_img", dim, dim)
        shapes[f"{block}.cross_attn.norm_k_img.weight"] = (dim,)
        shapes |= _layer(f"{block}.ffn.0", dim, sizes.ffn)
        shapes |= _layer(f"{block}.ffn.2", sizes.ffn, dim)
    return shapes


def audio_shapes(sizes: TinySizes) -> Shapes:
    """The audio branch, which InfiniteTalk adds to the base transformer."""
    hidden = sizes.audio_hidden
    shapes = _layer("audio_proj.proj1", 5 * _AUDIO_INPUTS, hidden)
    shapes |= _layer("audio_proj.proj1_vf", 8 * _AUDIO_INPUTS, hidden)
    shapes |= _layer("audio_proj.proj2", hidden, hidden)
    shapes |= _layer("audio_proj.proj3", hidden, sizes.audio_tokens * sizes.audio_dim)
    shapes |= _norm("audio_proj.norm", sizes.audio_dim)
    for block in (f"blocks.{index}" for index in range(sizes.layers)):
        shapes |= _layer(f"{block}.audio_cross_attn.q_linear", sizes.dim, sizes.dim)
        shapes |= _layer(f"{block}.audio_cross_attn.kv_linear", sizes.audio_dim, 2 * sizes.dim)
        shapes |= _layer(f"{block}.audio_cross_attn.proj", sizes.dim, sizes.dim)
        shapes |= _norm(f"{block}.norm_x", sizes.dim)
    return shapes


def text_shapes(sizes: TinySizes) -> Shapes:
    """The umT5 encoder."""
    dim, hidden = sizes.text_dim, sizes.text_hidden
    shapes: Shapes = {
        "token_embedding.weight": (sizes.text_vocabulary, dim),
        "norm.weight": (dim,),
    }
    for block in (f"blocks.{index}" for index in range(sizes.text_layers)):
        shapes |= {f"{block}.norm{n}.weight": (dim,) for n in (1, 2)}
        shapes |= {f"{block}.attn.{layer}.weight": (dim, dim) for layer in "qkvo"}
        shapes[f"{block}.pos_embedding.embedding.weight"] = (32, sizes.text_heads)
        shapes[f"{block}.ffn.gate.0.weight"] = (hidden, dim)
        shapes[f"{block}.ffn.fc1.weight"] = (hidden, dim)
        shapes[f"{block}.ffn.fc2.weight"] = (dim, hidden)
    return shapes


def image_shapes(sizes: TinySizes) -> Shapes:
    """CLIP: the image half, and a text half of one tiny layer, because upstream loads that too."""
    width, text = _IMAGE_WIDTH, 32
    shapes: Shapes = {
        "log_scale": (),
        "visual.cls_embedding": (1, 1, width),
        "visual.pos_embedding": (1, 257, width),
        "visual.patch_embedding.weight": (width, 3, 14, 14),
        "visual.head": (width, text),
        "textual.token_embedding.weight": (sizes.text_vocabulary, text),
        "textual.type_embedding.weight": (1, text),
        "textual.pos_embedding.weight": (514, text),
        "textual.head.0.weight": (text, text),
        "textual.head.2.weight": (text, text),
    }
    shapes |= _norm("visual.pre_norm", width) | _norm("visual.post_norm", width)
    shapes |= _norm("textual.norm", text)
    for block in (f"visual.transformer.{index}" for index in range(sizes.image_layers)):
        shapes |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
        shapes |= _layer(f"{block}.attn.to_qkv", width, 3 * width)
        shapes |= _layer(f"{block}.attn.proj", width, width)
        shapes |= _layer(f"{block}.mlp.0", width, sizes.image_hidden)
        shapes |= _layer(f"{block}.mlp.2", sizes.image_hidden, width)
    block = "textual.blocks.0"
    shapes |= _norm(f"{block}.norm1", text) | _norm(f"{block}.norm2", text)
    for layer in "qkvo":
        shapes |= _layer(f"{block}.attn.{layer}", text, text)
    shapes |= _layer(f"{block}.ffn.0", text, 4 * text)
    shapes |= _layer(f"{block}.ffn.2", 4 * text, text)
    return shapes


def codec_shapes(sizes: TinySizes) -> Shapes:
    """The video autoencoder: four levels of one, two, four and four times the width."""
    width = sizes.codec_width
    top, latent = 4 * width, _LATENT_CHANNELS
    shapes = _layer("conv1", 2 * latent, 2 * latent, 1, 1, 1) | _layer(
        "conv2", latent, latent, 1, 1, 1
    )
    shapes |= _layer("encoder.conv1", 3, width, 3, 3, 3) | _layer(
        "decoder.conv1", latent, top, 3, 3, 3
    )
    shapes |= _codec_encoder_levels(width) | _codec_decoder_levels(width)
    for half, channels, outputs in (("encoder", top, 2 * latent), ("decoder", width, 3)):
        shapes |= _residual(f"{half}.middle.0", top, top) | _residual(f"{half}.middle.2", top, top)
        shapes[f"{half}.middle.1.norm.gamma"] = (top, 1, 1)
        shapes |= _layer(f"{half}.middle.1.to_qkv", top, 3 * top, 1, 1)
        shapes |= _layer(f"{half}.middle.1.proj", top, top, 1, 1)
        shapes[f"{half}.head.0.gamma"] = (channels, 1, 1, 1)
        shapes |= _layer(f"{half}.head.2", channels, outputs, 3, 3, 3)
    return shapes


def _codec_encoder_levels(width: int) -> Shapes:
    shapes: Shapes = {}
    inputs, index = width, 0
    for level, factor in enumerate((1, 2, 4, 4)):
        outputs = factor * width
        for _ in range(2):
            shapes |= _residual(f"encoder.downsamples.{index}", inputs, outputs)
            inputs, index = outputs, index + 1
        if level < 3:
            block = f"encoder.downsamples.{index}"
            shapes |= _layer(f"{block}.resample.1", outputs, outputs, 3, 3)
            if level > 0:
                shapes |= _layer(f"{block}.time_conv", outputs, outputs, 3, 1, 1)
            index += 1
    return shapes


def _codec_decoder_levels(width: int) -> Shapes:
    shapes: Shapes = {}
    inputs, index = 4 * width, 0
    for level, factor in enumerate((4, 4, 2, 1)):
        outputs = factor * width
        for _ in range(3):
            shapes |= _residual(f"decoder.upsamples.{index}", inputs, outputs)
            inputs, index = outputs, index + 1
        if level < 3:
            block = f"decoder.upsamples.{index}"
            shapes |= _layer(f"{block}.resample.1", outputs, outputs // 2, 3, 3)
            if level < 2:
                shapes |= _layer(f"{block}.time_conv", outputs, 2 * outputs, 3, 1, 1)
            inputs, index = outputs // 2, index + 1
    return shapes


def _residual(prefix: str, inputs: int, outputs: int) -> Shapes:
    shapes: Shapes = {
        f"{prefix}.residual.0.gamma": (inputs, 1, 1, 1),
        f"{prefix}.residual.3.gamma": (outputs, 1, 1, 1),
    }
    shapes |= _layer(f"{prefix}.residual.2", inputs, outputs, 3, 3, 3)
    shapes |= _layer(f"{prefix}.residual.6", outputs, outputs, 3, 3, 3)
    if inputs != outputs:
        shapes |= _layer(f"{prefix}.shortcut", inputs, outputs, 1, 1, 1)
    return shapes


def _norm(prefix: str, width: int) -> Shapes:
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def _layer(prefix: str, inputs: int, outputs: int, *kernel: int) -> Shapes:
    """A linear layer, or with a kernel a convolution."""
    return {f"{prefix}.weight": (outputs, inputs, *kernel), f"{prefix}.bias": (outputs,)}
