"""A chunk's colours are matched as a whole, and chunks meet without a step."""

from __future__ import annotations

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.chunk_colour import ChunkColourMatch
from inference_sidecar.engines.infinitetalk.sampling.colour_match import (
    ColourMatch,
    lab_from_rgb,
    rgb_from_lab,
)
from inference_sidecar.engines.infinitetalk.sampling.drift import Drift

MOTION = 9


def a_portrait() -> Tensor:
    side = torch.linspace(-0.6, 0.6, 48)
    rows, columns = torch.meshgrid(side, side, indexing="ij")
    return torch.stack((rows, columns, 0.5 * rows * columns + 0.1))


def still(portrait: Tensor, frames: int) -> Tensor:
    return portrait[:, None].repeat(1, frames, 1, 1)


def lab(frames: Tensor) -> Tensor:
    return lab_from_rgb(frames.add(1).div(2))


def brighter(frames: Tensor, by: Tensor | float) -> Tensor:
    """By so many units of Lab's lightness."""
    shift = torch.zeros(3, 1, 1, 1)
    shift = shift.repeat(1, frames.shape[1], 1, 1)
    shift[0] += torch.as_tensor(by).reshape(-1, 1, 1)
    return rgb_from_lab(lab(frames) + shift).mul(2).sub(1)


def levels(frames: Tensor) -> Tensor:
    return frames.add(1).mul(127.5)


def test_a_cast_over_a_whole_chunk_is_removed() -> None:
    portrait = a_portrait()
    match = ChunkColourMatch(portrait, 1.0, MOTION)
    matched, _ = match(brighter(still(portrait, 21), 4.0), 0, None)
    left = (lab(matched) - lab(still(portrait, 21)))[0].abs().mean()
    assert left <= 0.4


def test_an_object_that_comes_into_the_frame_does_not_change_the_rest() -> None:
    portrait = a_portrait()
    frames = still(portrait, 24)
    frames[:, 12:, 24:, :] = -0.9
    by_chunk, _ = ChunkColourMatch(portrait, 1.0, MOTION)(frames, 0, None)
    by_frame = ColourMatch(portrait, 1.0)(frames)

    def moved(matched: Tensor) -> float:
        rest = levels(matched)[:, :, :24]
        return float((rest[:, -1] - rest[:, 0]).abs().mean())

    assert moved(by_chunk) <= 0.5
    assert moved(by_frame) > 3


def drifting(portrait: Tensor, *, start: float, end: float) -> Tensor:
    """A chunk whose lightness wanders after the frames that it was given."""
    wander = torch.cat((torch.full((MOTION,), start), torch.linspace(start, end, 72)))
    return brighter(still(portrait, MOTION + 72), wander)


def changes_from_the_join(*, cast: float, drift: float) -> Tensor:
    """Of the mean level from frame to frame, from the first chunk's last one on."""
    portrait = a_portrait()
    match = ChunkColourMatch(portrait, 1.0, MOTION)
    first, before = match(brighter(still(portrait, 81), cast), 0, None)
    second, _ = match(drifting(portrait, start=cast, end=cast + drift), MOTION, before)
    means = levels(torch.cat((first[:, -1:], second[:, MOTION:]), dim=1)).mean(dim=(0, 2, 3))
    return means.diff().abs()


def test_two_chunks_meet_without_a_step() -> None:
    # A codec that brightens everything alike, and a model that wanders from where it was.
    for cast, drift in ((0.0, 0.0), (4.0, 0.0), (0.0, 4.0), (4.0, -3.0)):
        changes = changes_from_the_join(cast=cast, drift=drift)
        assert changes[0] <= 0.3, (cast, drift)
        assert changes.amax() <= 0.6, (cast, drift)


def test_the_correction_is_held_where_a_chunk_shows_something_else() -> None:
    portrait = a_portrait()
    flat = still(0.2 * portrait, 5)
    matched, _ = ChunkColourMatch(portrait, 1.0, MOTION)(flat, 0, None)
    stretched = lab(matched)[0].std() / lab(flat)[0].std()
    assert 1.05 < stretched < 1.15
    uniform, _ = ChunkColourMatch(portrait, 1.0, MOTION)(torch.full((3, 5, 48, 48), 0.2), 0, None)
    assert uniform.isfinite().all()


def test_strength_blends_and_zero_changes_nothing() -> None:
    portrait = a_portrait()
    frames = brighter(still(portrait, 5), 4.0)
    full, _ = ChunkColourMatch(portrait, 1.0, MOTION)(frames, 0, None)
    half, _ = ChunkColourMatch(portrait, 0.5, MOTION)(frames, 0, None)
    assert torch.allclose(half, (full + frames) / 2, atol=1e-5)
    assert ChunkColourMatch(portrait, 0.0, MOTION)(frames, 0, None) == (frames, None)


def test_drift_is_told_against_the_first_chunk_and_a_join_against_the_changes_around_it() -> None:
    portrait = a_portrait()
    first, told = Drift.after(still(portrait, 81), 1.0, None)
    assert told == {}
    _, same = Drift.after(still(portrait, 72), 1.0, first)
    assert same["driftLabMost"] < 1e-3
    assert abs(same["joinMost"]) < 0.1
    after, moved = Drift.after(brighter(still(portrait, 72), 5.0), 0.5, first)
    assert 4.5 < moved["driftLabMost"] < 5.5
    assert moved["driftSharpnessLeast"] == 0.5
    assert moved["joinMost"] > 10
    assert torch.equal(after.first, first.first)
