"""Upstream's transformer as it is, over the benchmark's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from gpu_bench.scale import Scale
from inference_sidecar.infinitetalk.interfaces import Text
from inference_sidecar.infinitetalk.reference.forward import reference_denoiser
from inference_sidecar.infinitetalk.reference.remedies import UpstreamUnusable

if TYPE_CHECKING:
    from gpu_bench.forwards import Inputs

__all__ = ["UpstreamForward", "UpstreamUnusable"]


class UpstreamForward:
    """`WanModel` of upstream. Its tensors are ours, so that both fit into the memory."""

    def __init__(self, root: Path, scale: Scale, weights: dict[str, Tensor]) -> None:
        config = {"num_heads": scale.weights.heads, "text_len": scale.weights.text_tokens}
        try:
            self._denoiser = reference_denoiser(root, weights, config)
        except ImportError as error:
            raise UpstreamUnusable(f"it cannot be imported: {error}") from error

    def prepare(self, inputs: Inputs) -> Callable[[], object]:
        """One forward, called as upstream's pipeline calls it for one person."""
        conditioned = self._denoiser.condition(inputs.conditions)
        return lambda: conditioned.predict(inputs.latent, 500.0, Text.PROMPT, inputs.voices)
