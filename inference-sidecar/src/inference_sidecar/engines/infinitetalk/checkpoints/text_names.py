"""Maps the published umT5 encoder's tensor names to those of transformers, and reads its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import (
    TensorSource,
    count_layers,
)

_BLOCK: Final = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}


@dataclass(frozen=True)
class TextSizes:
    """The encoder's sizes, from its tensors."""

    vocabulary: int
    width: int
    inner: int
    heads: int
    layers: int
    buckets: int
    hidden: int

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> TextSizes:
        """The number of heads follows from the position embedding, which has one value per head."""
        source = TensorSource(tensors)
        vocabulary, width = source.peek_shape("token_embedding.weight")
        buckets, heads = source.peek_shape("blocks.0.pos_embedding.embedding.weight")
        return cls(
            vocabulary=vocabulary,
            width=width,
            inner=source.peek_shape("blocks.0.attn.q.weight")[0],
            heads=heads,
            layers=count_layers(source, "blocks.{}.norm1.weight"),
            buckets=buckets,
            hidden=source.peek_shape("blocks.0.ffn.gate.0.weight")[0],
        )


def text_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor under its name in `UMT5EncoderModel`. Raises `MissingTensor`, and `ValueError`
    for an unknown name."""
    source = TensorSource(tensors)
    vocabulary = source.take("token_embedding.weight")
    renamed = {
        "shared.weight": vocabulary,
        "encoder.embed_tokens.weight": vocabulary,
        "encoder.final_layer_norm.weight": source.take("norm.weight"),
    }
    for index in range(TextSizes.of(tensors).layers):
        for published, ours in _BLOCK.items():
            renamed[f"encoder.block.{index}.{ours}.weight"] = source.take(
                f"blocks.{index}.{published}.weight"
            )
    if unknown := source.leftovers():
        raise ValueError(f"The text encoder has no tensors named {', '.join(unknown[:5])}.")
    return renamed
