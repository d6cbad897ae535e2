"""A broken chunk is noticed before any of its frames is delivered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.encoders.stored_voice import StoredVoice
from inference_sidecar.engines.infinitetalk.sampling.chunk_check import ChunkCheck, worst
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import (
    Models,
    RenderedChunk,
    RenderJob,
    render,
)
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Text
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Check, RenderSettings
from inference_sidecar.foundation.errors import RenderBroken
from stage.tiny_engine import Watched

SETTINGS = RenderSettings(frames=81, motion=9, steps=3, colour=0.0)
CHUNKS = 4


class GoodDenoiser:
    """Its velocity leads exactly to the portrait, in every frame.

    breaks: gives another velocity from the step `step` of the chunk `chunk` on.
    """

    def __init__(self, breaks: Callable[[Tensor], Tensor], chunk: int, step: int) -> None:
        self.breaks, self.from_forward = breaks, chunk * SETTINGS.steps + step
        self.forwards = 0
        self.is_exact = False
        self.target = torch.zeros(())

    def make_exact(self) -> bool:
        was_exact, self.is_exact = self.is_exact, True
        return not was_exact

    def condition(self, conditions: Conditions) -> GoodDenoiser:
        self.target = conditions.anchor[4:, :1]
        return self

    def embed_audio(self, voices: Tensor) -> Tensor:
        return voices.mean()

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        assert text is Text.PROMPT
        velocity = (latent - self.target) / (timestep / 1000) + 0 * audio
        self.forwards += 1
        is_broken = self.forwards > self.from_forward and not self.is_exact
        return self.breaks(velocity) if is_broken else velocity


class PlainCodec:
    """Every eighth pixel of every fourth frame, and back."""

    def encode(self, frames: Tensor) -> Tensor:
        return frames[:, ::4, ::8, ::8].repeat(6, 1, 1, 1)[:16]

    def decode(self, latent: Tensor) -> Tensor:
        grown = latent[:3].repeat_interleave(8, 2).repeat_interleave(8, 3)
        return grown.repeat_interleave(4, 1)[:, 3:].clamp(-1, 1)


class PlainImage:
    def embed(self, image: Tensor) -> Tensor:
        return image.mean().expand(257, 1280)


def a_job() -> RenderJob:
    frames = 81 + (CHUNKS - 1) * 72
    voice = StoredVoice(frames, 1, 1)
    voice.store(0, torch.zeros(frames, 1))
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij"
    )
    portrait = torch.stack((rows, columns, rows * columns)) * 0.8
    return RenderJob(portrait, torch.zeros(3, 8), None, (voice,), seed=7, frames=frames)


@dataclass
class Delivered:
    chunks: list[RenderedChunk] = field(default_factory=list[RenderedChunk])

    @property
    def frames(self) -> int:
        return sum(chunk.frames.shape[1] for chunk in self.chunks)

    def render(self, denoiser: GoodDenoiser, *, is_fast: bool, check: Check) -> None:
        make_exact = denoiser.make_exact if is_fast else lambda: False
        models = Models(denoiser, PlainCodec(), PlainImage(), make_exact)
        settings = dataclasses.replace(SETTINGS, check=check)
        watched = Watched()
        for chunk in render(models, a_job(), settings, watched):
            self.chunks.append(chunk)
        assert watched.fractions == sorted(watched.fractions)


def noise_like(velocity: Tensor) -> Tensor:
    return 0.5 * torch.randn(velocity.shape, generator=torch.Generator().manual_seed(1))


BREAKS = [
    (lambda velocity: velocity * torch.nan, "not a number"),
    (torch.zeros_like, "noise against the portrait"),
    (lambda velocity: torch.full_like(velocity, 9.0), "contrast in levels"),
    (noise_like, "noise against the portrait"),
]


@pytest.mark.parametrize(("breaks", "word"), BREAKS, ids=["NaN", "zeros", "constant", "noise"])
@pytest.mark.parametrize(("chunk", "step"), [(0, 0), (2, 1)])
def test_a_broken_chunk_ends_the_render_and_none_of_its_frames_is_delivered(
    breaks: Callable[[Tensor], Tensor], word: str, chunk: int, step: int
) -> None:
    delivered = Delivered()
    with pytest.raises(RenderBroken, match=f"Chunk {chunk + 1} of 4 cannot be right") as caught:
        delivered.render(GoodDenoiser(breaks, chunk, step), is_fast=False, check=Check.PICTURE)
    assert word in str(caught.value)
    assert caught.value.context["chunk"] == chunk
    if word == "not a number":
        assert caught.value.context["step"] == step + 1
    assert delivered.frames == (0 if chunk == 0 else chunk * 72 + 9)


def test_a_sound_render_delivers_all_frames_and_tells_the_measures() -> None:
    delivered = Delivered()
    delivered.render(GoodDenoiser(torch.zeros_like, 99, 0), is_fast=False, check=Check.PICTURE)
    assert delivered.frames == 81 + 3 * 72
    checks = delivered.chunks[-1].state.checks
    assert checks["contrastLevelsLeast"] > 10
    assert checks["changeLevelsMost"] < 1
    assert checks["clippedMost"] == 0


@pytest.mark.parametrize("breaks", [one for one, _ in BREAKS])
def test_a_chunk_that_a_fast_kernel_broke_is_rendered_again_exactly(
    breaks: Callable[[Tensor], Tensor],
) -> None:
    whole, delivered = Delivered(), Delivered()
    whole.render(GoodDenoiser(breaks, 99, 0), is_fast=False, check=Check.PICTURE)
    denoiser = GoodDenoiser(breaks, 2, 1)
    delivered.render(denoiser, is_fast=True, check=Check.PICTURE)
    assert [chunk.is_redone for chunk in delivered.chunks] == [False, False, True, False]
    for one, other in zip(delivered.chunks, whole.chunks, strict=True):
        assert torch.equal(one.frames, other.frames)
    # Its later renders are exact from the start.
    assert denoiser.is_exact


def test_what_exact_attention_does_not_mend_is_tried_only_once() -> None:
    class AlwaysBroken(GoodDenoiser):
        def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
            super().predict(latent, timestep, text, audio)
            return latent * torch.nan

    denoiser = AlwaysBroken(torch.zeros_like, 0, 0)
    with pytest.raises(RenderBroken):
        Delivered().render(denoiser, is_fast=True, check=Check.PICTURE)
    assert denoiser.forwards == 2 * SETTINGS.steps


def test_finite_looks_at_numbers_alone_and_off_at_nothing() -> None:
    for breaks, word in BREAKS:
        denoiser = GoodDenoiser(breaks, 0, 0)
        if word == "not a number":
            with pytest.raises(RenderBroken):
                Delivered().render(denoiser, is_fast=False, check=Check.FINITE)
        else:
            Delivered().render(denoiser, is_fast=False, check=Check.FINITE)
        Delivered().render(GoodDenoiser(breaks, 0, 0), is_fast=False, check=Check.OFF)


def frames_of(portrait: Tensor, frames: int = 5) -> Tensor:
    return portrait[:, None].repeat(1, frames, 1, 1)


def test_a_portrait_on_white_and_one_without_contrast_are_no_broken_pictures() -> None:
    white = torch.ones(3, 32, 32)
    white[:, 8:20, 8:20] = -0.2
    white[0, 12:16, 8:20] = 0.4
    grey = torch.full((3, 32, 32), 0.25)
    latent = torch.randn(16, 3, 4, 4)
    for portrait in (white, grey):
        check = ChunkCheck(portrait, Check.PICTURE)
        measures = check.measure(latent, frames_of(portrait))
        assert check.finding(measures, [True]) is None, measures


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda frames: frames * 0 - 1, "contrast"),
        (lambda frames: (frames * 99).clamp(-1, 1), "clipped share"),
        (
            lambda frames: frames * torch.tensor([1, -1, 1, -1, 1]).view(1, 5, 1, 1),
            "change between",
        ),
        (lambda frames: frames * torch.nan, "not a number"),
    ],
)
def test_frames_that_no_video_has_are_found(spoil: Callable[[Tensor], Tensor], word: str) -> None:
    portrait = a_job().portrait
    check = ChunkCheck(portrait, Check.PICTURE)
    latent = torch.randn(16, 3, 8, 8)
    found = check.finding(check.measure(latent, spoil(frames_of(portrait))), [True])
    assert word in str(found)


def test_the_worse_of_two_values_is_told() -> None:
    one, other = {"aLeast": 1.0, "bMost": 1.0}, {"aLeast": 2.0, "bMost": 2.0, "cMost": 3.0}
    assert worst(one, other) == {"aLeast": 1.0, "bMost": 2.0, "cMost": 3.0}
