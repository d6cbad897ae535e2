"""Upstream's transformer as it is, over the benchmark's weights."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from gpu_bench.measure import Device
from gpu_bench.scale import Scale
from inference_sidecar.infinitetalk.reference.remedies import UpstreamUnusable, import_upstream

if TYPE_CHECKING:
    from gpu_bench.forwards import Inputs

__all__ = ["UpstreamForward", "UpstreamUnusable"]


class UpstreamForward:
    """`WanModel` of upstream. Its tensors are ours, so that both fit into the memory."""

    def __init__(
        self, root: Path, device: Device, scale: Scale, weights: dict[str, Tensor]
    ) -> None:
        self._device = device
        try:
            import_upstream(root, device.torch)
            module = cast("Any", importlib.import_module("wan.modules.multitalk_model"))
        except ImportError as error:
            raise UpstreamUnusable(f"it cannot be imported: {error}") from error
        sizes = scale.weights
        with torch.device("meta"):
            model = module.WanModel(
                model_type="i2v",
                text_len=sizes.text_tokens,
                in_dim=36,
                dim=sizes.dim,
                ffn_dim=sizes.ffn,
                freq_dim=sizes.frequency_dim,
                text_dim=sizes.text_dim,
                num_heads=sizes.heads,
                num_layers=sizes.layers,
                intermediate_dim=sizes.audio_hidden,
                output_dim=sizes.audio_dim,
                context_tokens=sizes.audio_tokens,
                weight_init=False,
            )
        model.load_state_dict(weights, assign=True)
        model.init_freqs()
        model.disable_teacache()
        self._model = model.eval().requires_grad_(False)
        self._dtype = next(iter(weights.values())).dtype

    def prepare(self, inputs: Inputs) -> Callable[[], object]:
        """One forward, called as upstream's pipeline calls it for one person."""
        height, width = inputs.latent.shape[2:]
        arguments = {
            "t": torch.tensor([500.0], device=self._device.torch),
            "context": [inputs.prompt.to(self._dtype)],
            "seq_len": inputs.latent.shape[1] * height * width // 4,
            "clip_fea": inputs.image[None].to(self._dtype),
            "y": inputs.anchor[None].to(self._dtype),
            "audio": inputs.voices.to(self._dtype),
            "ref_target_masks": torch.ones(3, height, width, device=self._device.torch),
        }

        def forward() -> object:
            # It prints.
            with contextlib.redirect_stdout(io.StringIO()):
                return self._model([inputs.latent.to(self._dtype)], **arguments)

        return forward
