"""Names and shapes of the tensors of the text encoder and of CLIP."""

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

_IMAGE_WIDTH: Final = 1280


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
    shapes |= norm("visual.pre_norm", width) | norm("visual.post_norm", width)
    shapes |= norm("textual.norm", text)
    for block in (f"visual.transformer.{index}" for index in range(sizes.image_layers)):
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.attn.to_qkv", width, 3 * width)
        shapes |= linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.0", width, sizes.image_hidden)
        shapes |= linear(f"{block}.mlp.2", sizes.image_hidden, width)
    block = "textual.blocks.0"
    shapes |= norm(f"{block}.norm1", text) | norm(f"{block}.norm2", text)
    for layer in "qkvo":
        shapes |= linear(f"{block}.attn.{layer}", text, text)
    shapes |= linear(f"{block}.ffn.0", text, 4 * text)
    shapes |= linear(f"{block}.ffn.2", 4 * text, text)
    return shapes
