"""Upstream's transformer behind our protocol: the reference for ours, and an operator's fallback.

It caches nothing between forwards and computes an attention map that one person does not need, so
it takes three times as long and more than twice the memory.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import TensorSource
from inference_sidecar.engines.infinitetalk.native.config import DitConfig
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Listeners, Text
from inference_sidecar.engines.infinitetalk.upstream.compatibility import import_upstream

FORWARD_MEMORY: Final = 2.5
"""Relative to the native forward: on an H100 at 832x480, 10.5 GiB compared with 4.3 GiB."""


@dataclass(frozen=True)
class UpstreamDenoiser:
    """`interfaces.Denoiser` over upstream's `WanModel`. device, dtype: those of the model."""

    model: Any
    device: torch.device
    dtype: torch.dtype

    def condition(self, conditions: Conditions) -> UpstreamConditioned:
        """See `interfaces.Denoiser.condition`."""
        self.model.disable_teacache()
        listeners = conditions.listeners
        if conditions.strength != 1.0 or (listeners is not None and listeners.is_gated):
            raise NotImplementedError("Upstream's transformer hears every voice at full strength.")
        return UpstreamConditioned(
            by=self,
            prompt=self.moved(conditions.prompt),
            negative=None if conditions.negative is None else self.moved(conditions.negative),
            image=self.moved(conditions.image)[None],
            anchor=self.moved(conditions.anchor)[None],
            masks=self.masks_of(listeners),
        )

    def masks_of(self, listeners: Listeners | None) -> Tensor | None:
        """Its own argument for who is where."""
        return None if listeners is None else listeners.masks.to(self.device)

    def moved(self, given: Tensor) -> Tensor:
        """A tensor on the model's device, in its dtype."""
        return given.to(self.device, self.dtype)


@dataclass(frozen=True)
class UpstreamConditioned:
    """`interfaces.ConditionedDenoiser`; the fields are arguments of `WanModel`."""

    by: UpstreamDenoiser
    prompt: Tensor
    negative: Tensor | None
    image: Tensor
    anchor: Tensor
    masks: Tensor | None

    def anchored(
        self, image: Tensor, anchor: Tensor, listeners: Listeners | None
    ) -> UpstreamConditioned:
        """See `interfaces.ConditionedDenoiser.anchored`."""
        return replace(
            self,
            image=self.by.moved(image)[None],
            anchor=self.by.moved(anchor)[None],
            masks=self.by.masks_of(listeners),
        )

    def embed_audio(self, voices: Tensor) -> Tensor:
        """The voices themselves: upstream computes audio tokens in each forward."""
        return self.by.moved(voices)

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        """See `interfaces.ConditionedDenoiser.predict`."""
        words = self.prompt if text is Text.PROMPT else self.negative
        if words is None:
            raise ValueError("Guidance needs a negative prompt, and the job has none.")
        latent = latent.to(self.by.device)
        masks = latent.new_ones(3, *latent.shape[2:]) if self.masks is None else self.masks
        with contextlib.redirect_stdout(io.StringIO()):  # The model prints.
            velocity = self.by.model(
                [latent],
                t=torch.tensor([timestep], device=self.by.device),
                context=[words],
                seq_len=latent[0].numel() // 4,
                clip_fea=self.image,
                y=self.anchor,
                audio=audio,
                ref_target_masks=masks,
            )
        return velocity[0]


def upstream_denoiser(
    code: Path, tensors: Mapping[str, Tensor], config: Mapping[str, object]
) -> UpstreamDenoiser:
    """Upstream's transformer over these tensors, on their device.

    code: upstream's checkout. tensors, config: as for `build_dit`, not quantised. The whole model
    has one dtype, that of its matrices, which are not copied. Raises `UpstreamUnusable`.
    """
    first = tensors["patch_embedding.weight"]
    device, dtype = first.device, first.dtype
    import_upstream(code, device)
    module = cast("Any", importlib.import_module("wan.modules.multitalk_model"))
    sizes = DitConfig.of(TensorSource(tensors), config)
    with torch.device("meta"):
        model = module.WanModel(
            model_type="i2v",
            text_len=sizes.text_tokens,
            in_dim=first.shape[1],
            dim=sizes.dim,
            ffn_dim=sizes.ffn_dim,
            freq_dim=sizes.frequency_dim,
            text_dim=sizes.text_dim,
            out_dim=sizes.out_channels,
            num_heads=sizes.heads,
            num_layers=sizes.layers,
            eps=sizes.epsilon,
            audio_window=sizes.audio_window,
            intermediate_dim=tensors["audio_proj.proj1.weight"].shape[0],
            output_dim=sizes.audio_dim,
            context_tokens=sizes.audio_tokens,
            weight_init=False,
        )
    model.load_state_dict({name: each.to(dtype) for name, each in tensors.items()}, assign=True)
    # The rotary frequencies are not among the weights and are still on the meta device.
    model.init_freqs()
    return UpstreamDenoiser(model.eval().requires_grad_(False), device, dtype)
