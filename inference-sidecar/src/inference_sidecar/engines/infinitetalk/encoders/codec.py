"""The video codec: frames to latents and back, with diffusers' Wan autoencoder."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.codec_names import base_width, codec_weights
from inference_sidecar.engines.infinitetalk.encoders.codec_layers import (
    put_channels_last,
    use_fused_layers,
)


class WanCodec:
    """`interfaces.VideoCodec`.

    dtype: float32 like upstream; bf16 takes a third of the time on a GPU.
    is_tiled: works on overlapping tiles, with a fraction of the memory and more arithmetic. The
    blended seams differ slightly from an untiled result.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        is_tiled: bool = False,
    ) -> None:
        self._device = torch.device(device)
        self._dtype = dtype
        # Built on the meta device: initialising weights that are replaced at once takes seconds.
        with torch.device("meta"):
            model = cast("Any", AutoencoderKLWan)(base_dim=base_width(tensors))
        model.load_state_dict(codec_weights(tensors), assign=True)
        self._model = model.eval().requires_grad_(False).to(self._device, dtype)
        self._layout = torch.contiguous_format
        if self._device.type == "cuda":
            # cuDNN's convolutions are faster with channels last.
            self._layout = torch.channels_last_3d
            put_channels_last(self._model)
            use_fused_layers(self._model, self._device)
        self.is_tiled = is_tiled
        mean, std = (
            torch.tensor(values, device=self._device).view(-1, 1, 1, 1)
            for values in (self._model.config.latents_mean, self._model.config.latents_std)
        )
        self._mean, self._inverse_std = mean, 1.0 / std

    @property
    def is_tiled(self) -> bool:
        """See the class; may be changed between calls."""
        return self._model.use_tiling

    @is_tiled.setter
    def is_tiled(self, wanted: bool) -> None:
        self._model.use_tiling = wanted

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """See `interfaces.VideoCodec.encode`. Takes the mean of the distribution, without
        sampling."""
        latent = self._model.encode(self._batch(frames)).latent_dist.mode()[0].float()
        return (latent - self._mean) * self._inverse_std

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> Tensor:
        """See `interfaces.VideoCodec.decode`."""
        plain = latent.to(self._device, torch.float32) / self._inverse_std + self._mean
        return self._model.decode(self._batch(plain)).sample[0].float()

    def _batch(self, x: Tensor) -> Tensor:
        return x.to(self._device, self._dtype)[None].contiguous(memory_format=self._layout)
