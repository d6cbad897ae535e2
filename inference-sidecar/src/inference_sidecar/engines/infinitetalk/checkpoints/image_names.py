"""Maps the tensor names of the published CLIP's image half to those of transformers.

The encoder needs the output of the penultimate layer, so the last layer is never built. The text
half, the head and the final norm are not needed either; their names are listed so that an unknown
tensor is still noticed.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import (
    TensorSource,
    count_layers,
)

_BLOCK: Final = {
    "norm1": "layer_norm1",
    "attn.proj": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_UNUSED: Final = ("textual.", "log_scale", "visual.head", "visual.post_norm.")


def image_depth(tensors: dict[str, Tensor]) -> int:
    """The number of layers that are used: all but the last."""
    depth = count_layers(tensors, "visual.transformer.{}.norm1.weight")
    if depth < 2:
        raise ValueError("The image encoder needs at least two layers.")
    return depth - 1


def image_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every used tensor under its name in `CLIPVisionModel`. Raises `MissingTensor`, and
    `ValueError` for an unknown name."""
    source = TensorSource(tensors)
    depth = image_depth(tensors)
    renamed = {
        "embeddings.class_embedding": source.take("visual.cls_embedding").flatten(),
        "embeddings.patch_embedding.weight": source.take("visual.patch_embedding.weight"),
        "embeddings.position_embedding.weight": source.take("visual.pos_embedding")[0],
        "pre_layrnorm.weight": source.take("visual.pre_norm.weight"),
        "pre_layrnorm.bias": source.take("visual.pre_norm.bias"),
    }
    for index in range(depth):
        published, ours = f"visual.transformer.{index}", f"encoder.layers.{index}"
        for part in ("weight", "bias"):
            for theirs, name in _BLOCK.items():
                renamed[f"{ours}.{name}.{part}"] = source.take(f"{published}.{theirs}.{part}")
            query, key, value = source.take(f"{published}.attn.to_qkv.{part}").chunk(3)
            renamed[f"{ours}.self_attn.q_proj.{part}"] = query
            renamed[f"{ours}.self_attn.k_proj.{part}"] = key
            renamed[f"{ours}.self_attn.v_proj.{part}"] = value
    unused = (*_UNUSED, f"visual.transformer.{depth}.")
    if unknown := [name for name in source.leftovers() if not name.startswith(unused)]:
        raise ValueError(f"The image encoder has no tensors named {', '.join(unknown[:5])}.")
    return renamed
