"""Colour matching, checked with known colours in CIE Lab."""

import pytest
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.colour_match import (
    ColourMatch,
    lab_from_rgb,
    rgb_from_lab,
)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1.0, 1.0, 1.0), (100.0, -0.0025, 0.0046)),
        ((1.0, 0.0, 0.0), (53.2406, 80.0923, 67.2028)),
        ((0.0, 0.0, 1.0), (32.2956, 79.1876, -107.8602)),
        ((0.02, 0.02, 0.02), (1.3982, 0.0, 0.0)),
    ],
)
def test_known_colours_have_their_published_lab_values(
    rgb: tuple[float, ...], lab: tuple[float, ...]
) -> None:
    pixel = torch.tensor(rgb).view(3, 1, 1, 1)
    assert lab_from_rgb(pixel).flatten().tolist() == pytest.approx(lab, abs=0.02)
    assert torch.allclose(rgb_from_lab(lab_from_rgb(pixel)), pixel, atol=1e-4)


def frames_with_a_cast() -> tuple[Tensor, Tensor]:
    portrait = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(1)) - 0.5
    cast = torch.tensor([0.3, 0.0, -0.2]).view(3, 1, 1, 1)
    return portrait, (0.6 * portrait[:, None].repeat(1, 3, 1, 1) + cast).clamp(-1, 1)


def test_frames_take_the_portraits_mean_and_deviation() -> None:
    portrait, frames = frames_with_a_cast()
    matched = ColourMatch(portrait, 1.0)(frames)
    wanted = lab_from_rgb(((portrait + 1) / 2)[:, None])
    found = lab_from_rgb((matched + 1) / 2)
    assert torch.allclose(found.mean((2, 3)), wanted.mean((2, 3)).expand(3, 3), atol=0.2)
    assert torch.allclose(found.std((2, 3)), wanted.std((2, 3)).expand(3, 3), rtol=0.03)


def test_strength_blends_and_zero_changes_nothing() -> None:
    portrait, frames = frames_with_a_cast()
    full, half = ColourMatch(portrait, 1.0)(frames), ColourMatch(portrait, 0.5)(frames)
    assert torch.allclose(half, (full + frames) / 2, atol=1e-5)
    assert ColourMatch(portrait, 0.0)(frames) is frames


def test_a_uniform_frame_becomes_the_portraits_mean_colour_without_nan() -> None:
    portrait, _ = frames_with_a_cast()
    matched = ColourMatch(portrait, 1.0)(torch.full((3, 1, 24, 32), 0.25))
    assert torch.isfinite(matched).all()
    assert (matched.amax((1, 2, 3)) - matched.amin((1, 2, 3))).max() < 1e-5
