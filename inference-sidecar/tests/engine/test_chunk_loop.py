"""The chunk loop over models that cost nothing: state between chunks, calls and memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.encoders.stored_voice import StoredVoice
from inference_sidecar.engines.infinitetalk.sampling.anchors import VideoAnchors
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import (
    Models,
    RenderedChunk,
    RenderJob,
    RenderState,
    render,
)
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    Conditions,
    Listeners,
    Text,
)
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    Check,
    ColourTo,
    RenderSettings,
    SeedPolicy,
    Tail,
)
from inference_sidecar.engines.stages import Untimed
from inference_sidecar.foundation.errors import Cancelled, ResumeRefused

SETTINGS = RenderSettings(frames=17, motion=5, steps=2, colour=0.0)
THREE_CHUNKS = 41


@dataclass
class Asked:
    """The calls of the models, in order."""

    forwards: list[tuple[Text, bool]] = field(default_factory=list[tuple[Text, bool]])
    held: list[Tensor] = field(default_factory=list[Tensor])
    encoded: list[Tensor] = field(default_factory=list[Tensor])
    listeners: list[Listeners | None] = field(default_factory=list[Listeners | None])
    embedded: int = 0


class CheapDenoiser:
    """A denoiser whose velocity depends on latent, time, text, audio, portrait and anchor."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def condition(self, conditions: Conditions) -> CheapConditioned:
        return CheapConditioned(conditions, self._asked)


class CheapConditioned:
    def __init__(self, conditions: Conditions, asked: Asked) -> None:
        self._conditions = conditions
        self._asked = asked
        asked.listeners.append(conditions.listeners)

    def anchored(
        self, image: Tensor, anchor: Tensor, listeners: Listeners | None
    ) -> CheapConditioned:
        told = replace(self._conditions, image=image, anchor=anchor, listeners=listeners)
        return CheapConditioned(told, self._asked)

    def embed_audio(self, voices: Tensor) -> Tensor:
        return voices.mean(dim=(0, 2, 3, 4))[::4, None, None]

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        self._asked.forwards.append((text, bool(audio.any())))
        self._asked.held.append(latent[:, :2].clone())
        words = self._conditions.prompt if text is Text.PROMPT else self._conditions.negative
        assert words is not None
        seen = words.mean() + self._conditions.image.mean() + self._conditions.anchor[4:].mean()
        return 0.1 * latent + audio + seen + timestep / 1000


class CheapCodec:
    """A codec that takes every eighth pixel of every fourth frame in five copies, and back."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def encode(self, frames: Tensor) -> Tensor:
        self._asked.encoded.append(frames)
        return frames[:, ::4, ::8, ::8].repeat(6, 1, 1, 1)[:16]

    def decode(self, latent: Tensor) -> Tensor:
        grown = latent[:3].repeat_interleave(8, 2).repeat_interleave(8, 3)
        return grown.repeat_interleave(4, 1)[:, 3:].tanh()


class CheapImage:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def embed(self, image: Tensor) -> Tensor:
        self._asked.embedded += 1
        return image.mean().expand(257, 1280)


@dataclass
class Watched(Untimed):
    """Records progress, and cancels at a given check."""

    looks_left: int = 1_000_000
    fractions: list[float] = field(default_factory=list[float])
    looks: int = 0

    def check(self) -> None:
        self.looks += 1
        if self.looks > self.looks_left:
            raise Cancelled

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


def a_job(frames: int = THREE_CHUNKS, seed: int = 7) -> RenderJob:
    voice = StoredVoice(max(frames, 17), 12, 4)
    for layer in range(12):
        voice.store(layer, torch.sin(torch.arange(max(frames, 17)) + layer)[:, None].expand(-1, 4))
    return RenderJob(
        portrait=torch.linspace(-1, 1, 3 * 16 * 32).view(3, 16, 32),
        prompt=torch.full((3, 8), 0.2),
        negative=torch.full((3, 8), -0.4),
        voices=(voice,),
        seed=seed,
        frames=frames,
    )


def rendered(
    job: RenderJob,
    settings: RenderSettings = SETTINGS,
    control: Watched | None = None,
    resume: RenderState | None = None,
    asked: Asked | None = None,
) -> list[RenderedChunk]:
    told = asked or Asked()
    # Cheap models render no picture.
    settings = replace(settings, check=Check.FINITE)
    models = Models(CheapDenoiser(told), CheapCodec(told), CheapImage(told))
    return list(render(models, job, settings, control or Watched(), resume))


def test_three_chunks_add_up_and_constant_work_runs_once() -> None:
    asked = Asked()
    chunks = rendered(a_job(), asked=asked)
    assert [chunk.frames.shape for chunk in chunks] == [(3, n, 16, 32) for n in (17, 12, 12)]
    assert [chunk.index for chunk in chunks] == [0, 1, 2]
    assert asked.embedded == 1
    # The portrait followed by black, then the motion frames of two chunks; none after the last.
    assert [frames.shape[1] for frames in asked.encoded] == [17, 5, 5]
    assert (asked.encoded[0][:, 1:] == 0).all()


def test_a_new_picture_is_embedded_and_encoded_once_and_colours_follow_it() -> None:
    asked = Asked()
    pictures = [torch.full((3, 16, 32), level) for level in (-0.5, 0.5)]
    anchors = VideoAnchors(lambda index: pictures[index > 0], 15)
    job = replace(a_job(), anchors=anchors, portrait=pictures[0])
    chunks = rendered(job, replace(SETTINGS, colour=1.0), asked=asked)
    # Windows start at 0, 12 and 24; the video has 15 frames, so the last two show 12 and 14.
    assert asked.embedded == 3
    assert [frames.shape[1] for frames in asked.encoded] == [17, 5, 17, 5, 17]
    means = [float(chunk.frames[:, -1].mean()) for chunk in chunks]
    assert means[0] < means[1]
    first = replace(SETTINGS, colour=1.0, colour_to=ColourTo.FIRST)
    anchors = VideoAnchors(lambda index: pictures[index > 0], 15)
    as_upstream = rendered(replace(job, anchors=anchors), first)
    assert not torch.equal(as_upstream[1].frames, chunks[1].frames)


def test_who_is_where_follows_the_pictures_that_say_so() -> None:
    asked = Asked()
    moved = Listeners(torch.ones(3, 2, 4))
    anchors = VideoAnchors(lambda _: torch.zeros(3, 16, 32), 15, listeners={12: moved})
    rendered(replace(a_job(), anchors=anchors), asked=asked)
    # The last window shows frame 14, of which nothing is said: the job's own, which are none.
    assert asked.listeners == [None, moved, None]


def test_the_first_latent_frames_stay_at_the_motion_latent_of_the_previous_chunk() -> None:
    asked = Asked()
    chunks = rendered(a_job(), asked=asked)
    for forward in (2, 3):
        expected = chunks[0].frames[:, -5::4, ::8, ::8].repeat(6, 1, 1, 1)[:16]
        assert torch.equal(asked.held[forward], expected)
    portrait = asked.encoded[0][:, :1, ::8, ::8].repeat(6, 1, 1, 1)[:16]
    assert torch.equal(asked.held[0][:, :1], portrait)
    assert not torch.equal(asked.held[0][:, 1:], asked.held[1][:, 1:])


@pytest.mark.parametrize(
    ("text", "audio", "expected"),
    [
        (1.0, 1.0, [(Text.PROMPT, True)]),
        (1.0, 3.0, [(Text.PROMPT, True), (Text.PROMPT, False)]),
        (5.0, 4.0, [(Text.PROMPT, True), (Text.NEGATIVE, True), (Text.NEGATIVE, False)]),
    ],
)
def test_every_step_runs_the_forwards_that_guidance_needs(
    text: float, audio: float, expected: list[tuple[Text, bool]]
) -> None:
    asked = Asked()
    settings = RenderSettings(
        frames=17, motion=5, steps=2, text_guide=text, audio_guide=audio, colour=0.0
    )
    rendered(a_job(17), settings, asked=asked)
    assert asked.forwards == expected * 2


@pytest.mark.parametrize("seeds", list(SeedPolicy))
@pytest.mark.parametrize("at", [1, 2])
def test_a_resumed_render_gives_the_same_bits(seeds: SeedPolicy, at: int) -> None:
    settings = RenderSettings(frames=17, motion=5, steps=2, colour=0.5, seeds=seeds)
    whole = rendered(a_job(), settings)
    state = RenderState.from_bytes(at, whole[at - 1].state.to_bytes())
    control = Watched()
    rest = rendered(a_job(), settings, control, state)
    assert [chunk.index for chunk in rest] == list(range(at, 3))
    for resumed, unbroken in zip(rest, whole[at:], strict=True):
        assert torch.equal(resumed.frames, unbroken.frames)
        assert resumed.state.checks == unbroken.state.checks
    assert control.fractions[0] == pytest.approx(at / 3)


def scenes(first: float) -> RenderJob:
    """Two scenes of 20 and 21 frames. first: the level of the first one's picture."""
    pictures = torch.full((3, 16, 32), first), torch.full((3, 16, 32), 0.5)
    anchors = VideoAnchors(lambda index: pictures[index >= 20], 41)
    return replace(a_job(), portrait=pictures[0], anchors=anchors, cuts=(20,))


def test_a_scene_takes_nothing_from_the_one_before() -> None:
    asked = Asked()
    settings = replace(SETTINGS, colour=1.0)
    chunks = rendered(scenes(-0.5), settings, asked=asked)
    assert [chunk.frames.shape[1] for chunk in chunks] == [17, 3, 17, 4]
    # Nothing is passed on at the end of a scene: each has its picture, and motion frames within.
    assert [frames.shape[1] for frames in asked.encoded] == [17, 5, 17, 17, 5, 17]
    assert chunks[1].state.motion is None
    begins = asked.encoded[3][:, :1, ::8, ::8].repeat(6, 1, 1, 1)[:16]
    assert torch.equal(asked.held[4][:, :1], begins)
    others = rendered(scenes(0.9), settings)
    assert not torch.equal(chunks[0].frames, others[0].frames)
    for chunk, other in zip(chunks[2:], others[2:], strict=True):
        assert torch.equal(chunk.frames, other.frames)
    whole = rendered(replace(scenes(-0.5), cuts=()), settings)
    assert not torch.equal(whole[-1].frames[:, -1], chunks[-1].frames[:, -1])


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_render_of_scenes_resumes_to_the_bit(at: int) -> None:
    settings = replace(SETTINGS, colour=1.0)
    whole = rendered(scenes(-0.5), settings)
    state = RenderState.from_bytes(at, whole[at - 1].state.to_bytes())
    rest = rendered(scenes(-0.5), settings, resume=state)
    assert [chunk.index for chunk in rest] == list(range(at, 4))
    for resumed, unbroken in zip(rest, whole[at:], strict=True):
        assert torch.equal(resumed.frames, unbroken.frames)
        assert resumed.state.checks == unbroken.state.checks


def test_an_invalid_resume_state_is_refused() -> None:
    with pytest.raises(ResumeRefused):
        RenderState.from_bytes(1, b"no tensors")


def test_noise_depends_on_the_seed_and_differs_between_chunks() -> None:
    first, again, other = (rendered(a_job(seed=seed)) for seed in (7, 7, 8))
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].frames, other[0].frames)
    assert not torch.equal(first[1].frames, first[2].frames)


def test_it_can_be_cancelled_before_every_forward_and_reports_progress() -> None:
    control = Watched()
    rendered(a_job(), control=control)
    assert control.fractions == sorted(control.fractions)
    assert control.fractions[0] == 0
    assert control.fractions[-1] == 1
    assert len(set(control.fractions)) == 1 + 3 * (2 + 1)
    # Anchor, conditions, then per chunk two forwards, a decode and, except after the last, an
    # encode.
    assert control.looks == 2 + 3 * 3 + 2
    for looks in range(control.looks):
        asked = Asked()
        with pytest.raises(Cancelled):
            rendered(a_job(), control=Watched(looks), asked=asked)
        assert len(asked.forwards) <= max(0, looks - 2)


def test_progress_and_forwards_follow_the_steps_that_the_voice_guides() -> None:
    asked, control = Asked(), Watched()
    settings = RenderSettings(
        frames=17, motion=5, steps=4, audio_guide=2.0, guided_steps=2, colour=0.0
    )
    rendered(a_job(17), settings, control, asked=asked)
    heard = [(Text.PROMPT, True), (Text.PROMPT, False)]
    assert asked.forwards == [*heard, *heard, heard[0], heard[0]]
    assert len(set(control.fractions)) == 1 + 6 + 1


def test_a_short_video_is_a_single_window_cut_to_length() -> None:
    chunks = rendered(a_job(6))
    assert [chunk.frames.shape[1] for chunk in chunks] == [6]


def test_frames_are_delivered_as_rounded_bytes() -> None:
    chunk = RenderedChunk(0, torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1), RenderState(1, None))
    levels = chunk.to_uint8()
    assert levels.dtype == np.uint8
    assert levels.shape == (1, 1, 1, 3)
    assert levels.flatten().tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda job: {"portrait": job.portrait[:, :15]}, "multiples of 16"),
        (lambda _job: {"voices": ()}, "at least one voice"),
        (lambda job: {"voices": job.voices * 2}, "need listeners"),
        (lambda _job: {"listeners": Listeners(torch.ones(3, 2, 4))}, "need listeners"),
        (lambda _job: {"voices": (StoredVoice(16, 1, 1),)}, "shorter than a window"),
        (lambda _job: {"negative": None}, "negative prompt"),
    ],
)
def test_a_job_that_cannot_be_rendered_is_refused_at_once(
    change: Callable[[RenderJob], dict[str, object]], complaint: str
) -> None:
    job = a_job()
    broken = RenderJob(**(job.__dict__ | change(job)))
    guided = RenderSettings(frames=17, motion=5, text_guide=5.0, tail=Tail.MIRROR)
    with pytest.raises(ValueError, match=complaint):
        rendered(broken, guided)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_between_10_and_500_chunks() -> None:
    asked = Asked()
    models = Models(CheapDenoiser(Asked()), CheapCodec(asked), CheapImage(asked))
    settings = RenderSettings(frames=17, motion=5, steps=1, colour=0.0, check=Check.FINITE)
    job = a_job(17 + 499 * 12)
    at_ten = 0
    chunks = 0
    for chunk in render(models, job, settings, Watched()):
        asked.encoded.clear()
        chunks += 1
        if chunk.index in {10, 499}:
            gc.collect()
            grown = resident_bytes() - at_ten
            at_ten = at_ten or grown
    assert chunks == 500
    frames_bytes = 3 * 17 * 16 * 32 * 4
    assert grown < 40 * frames_bytes
