"""The video codec's replaced layers give the same pixels and latents as diffusers' own."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanCausalConv3d,
    WanRMS_norm,
)
from torch import Tensor

from inference_sidecar.engines.infinitetalk.encoders import codec_layers
from inference_sidecar.engines.infinitetalk.encoders.codec_layers import (
    ChannelNorm,
    channel_norm,
    fastest_channel_norm,
    put_channels_last,
    use_fused_layers,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> AutoencoderKLWan:
    torch.manual_seed(1)
    made = cast("Any", AutoencoderKLWan)(base_dim=8)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            # Published norm weights are not ones, and a lost bias must show.
            if name.endswith("gamma"):
                weight.normal_(1, 0.2)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)
    return made.eval().requires_grad_(False)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def fused() -> ChannelNorm:
    pytest.importorskip("triton", reason="run npm run setup -- --with kernels")
    from inference_sidecar.engines.infinitetalk.kernels.codec_norm import (  # noqa: PLC0415 - may be absent
        fused_channel_norm,
    )

    return fused_channel_norm


def both_ways(model: AutoencoderKLWan) -> tuple[Tensor, Tensor]:
    """Decodes three latent frames and encodes nine, so that the causal caches are filled and
    used."""
    codec = cast("Any", model)
    with torch.inference_mode():
        decoded = codec.decode(noise(1, 16, 3, 4, 4)).sample
        return decoded, codec.encode(noise(1, 3, 9, 32, 32)).latent_dist.mode()


@pytest.mark.parametrize("is_fused", [False, True])
def test_replaced_layers_give_the_same_pixels_and_latents(
    model: AutoencoderKLWan, monkeypatch: pytest.MonkeyPatch, *, is_fused: bool
) -> None:
    norm = fused() if is_fused else channel_norm
    monkeypatch.setattr(codec_layers, "fastest_channel_norm", lambda _device: norm)
    quick = copy.deepcopy(model)
    put_channels_last(quick)
    use_fused_layers(quick, CPU)
    assert not any(isinstance(one, WanCausalConv3d | WanRMS_norm) for one in quick.modules())
    for mine, theirs in zip(both_ways(quick), both_ways(model), strict=True):
        assert float(theirs.std()) > 0.05
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_channels_last_converts_2d_and_3d_convolutions(model: AutoencoderKLWan) -> None:
    quick = copy.deepcopy(model)
    put_channels_last(quick)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    ranks = {one.ndim for one in quick.parameters()}
    assert set(formats) <= ranks
    assert all(
        one.is_contiguous(memory_format=formats[one.ndim])
        for one in quick.parameters()
        if one.ndim in formats
    )


@pytest.mark.parametrize("shape", [(1, 12, 2, 3, 5), (2, 12, 3, 5)])
@pytest.mark.parametrize("is_activated", [True, False])
def test_the_fused_norm_matches_torch(shape: tuple[int, ...], *, is_activated: bool) -> None:
    x, weight = noise(*shape), noise(12)
    x[0, :, 0] = 0
    mine, theirs = (norm(x, weight, is_activated) for norm in (fused(), channel_norm))
    assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_norm_with_wrong_results_is_detected() -> None:
    def wrong(x: Tensor, weight: Tensor, is_activated: bool) -> Tensor:  # noqa: FBT001
        return channel_norm(x, weight * 1.05, is_activated)

    assert codec_layers.agrees(channel_norm, CPU)
    assert not codec_layers.agrees(wrong, CPU)
    assert fastest_channel_norm(CPU) is channel_norm
    assert fastest_channel_norm(torch.device("cuda", 99)) is channel_norm
