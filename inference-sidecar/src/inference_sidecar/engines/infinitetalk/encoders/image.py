"""Embeds the portrait, with the image half of CLIP from transformers."""

from __future__ import annotations

from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from inference_sidecar.engines.infinitetalk.checkpoints.image_names import (
    image_depth,
    image_weights,
)

_SIDE: Final = 224
_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_STD: Final = (0.26862954, 0.26130258, 0.27577711)
_HEADS: Final = 16
"""The tensors do not reveal this number."""


class ClipImage:
    """`interfaces.ImageEncoder`: the output of the penultimate layer."""

    def __init__(
        self,
        tensors: dict[str, Tensor],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = _build(tensors).to(device=torch.device(device), dtype=dtype)

    @torch.inference_mode()
    def embed(self, image: Tensor) -> Tensor:
        """See `interfaces.ImageEncoder.embed`. Resizes to a square, bicubic, without
        antialiasing."""
        square = functional.interpolate(
            image[None].to(self._model.device, torch.float32),
            size=(_SIDE, _SIDE),
            mode="bicubic",
            align_corners=False,
        )
        mean = square.new_tensor(_MEAN).view(1, 3, 1, 1)
        std = square.new_tensor(_STD).view(1, 3, 1, 1)
        pixels = (square.mul(0.5).add(0.5) - mean) / std
        output = self._model(pixel_values=pixels.to(self._model.dtype))
        return cast("Tensor", output.last_hidden_state)[0].float()


def _build(tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 - transformers is only partly typed
    width, _, patch, _ = tensors["visual.patch_embedding.weight"].shape
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=tensors["visual.transformer.0.mlp.0.weight"].shape[0],
        num_hidden_layers=image_depth(tensors),
        num_attention_heads=_HEADS,
        image_size=_SIDE,
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
    )
    # Built on the meta device: initialising weights that are replaced at once takes seconds.
    with torch.device("meta"):
        model = cast("Any", CLIPVisionModel)(config)
    # The final norm comes after the output that is used: any weights will do.
    unused = {
        name: torch.zeros(tensor.shape)
        for name, tensor in model.state_dict().items()
        if "post_layernorm" in name
    }
    model.load_state_dict(unused | image_weights(tensors), assign=True)
    for module in model.modules():
        if hasattr(module, "position_ids"):
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    return model.eval().requires_grad_(False)
