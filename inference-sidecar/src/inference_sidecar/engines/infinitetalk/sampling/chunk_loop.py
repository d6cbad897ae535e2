"""The chunk loop: denoises and decodes a video window by window, in constant memory.

Only the motion latent passes from one window to the next. It is encoded from the last frames of a
window after colour matching, and is all that a resumed render needs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference_sidecar.engines.engine import Control
from inference_sidecar.engines.infinitetalk.sampling.anchors import Anchor, Anchors, StillAnchor
from inference_sidecar.engines.infinitetalk.sampling.chunk_check import (
    ChunkCheck,
    Finding,
    Measures,
    worst,
)
from inference_sidecar.engines.infinitetalk.sampling.chunk_colour import ChunkColourMatch
from inference_sidecar.engines.infinitetalk.sampling.colour_match import ColourMatch
from inference_sidecar.engines.infinitetalk.sampling.drift import Drift
from inference_sidecar.engines.infinitetalk.sampling.guidance import Guidance
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    ConditionedDenoiser,
    Conditions,
    Denoiser,
    ImageEncoder,
    Listeners,
    VideoCodec,
    VoiceTrack,
)
from inference_sidecar.engines.infinitetalk.sampling.noise import Noise, make_noise
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    Check,
    ColourBy,
    ColourTo,
    RenderSettings,
    Tail,
)
from inference_sidecar.engines.infinitetalk.sampling.schedule import TRAIN_TIMESTEPS, timesteps
from inference_sidecar.engines.infinitetalk.sampling.windows import Window, plan_windows
from inference_sidecar.foundation.errors import RenderBroken, RenderFailed, ResumeRefused

_log = logging.getLogger("avatar")

_LATENT_CHANNELS: Final = 16
_PIXELS_PER_LATENT: Final = 8


@dataclass(frozen=True)
class Models:
    """The models that the loop drives. Text and voices are embedded before it starts.

    make_exact: has the denoiser compute exactly from now on, in every later render too; returns
    False if it did already.
    """

    denoiser: Denoiser
    codec: VideoCodec
    image_encoder: ImageEncoder
    make_exact: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class RenderJob:
    """One video to render.

    portrait: `[3, H, W]` in -1..1 at generation size, both sides multiples of 16.
    prompt, negative: text embeddings; the negative may be None if guidance does not use it.
    voices: one per speaking person, each at least one window long unless silence follows it.
    frames: number of frames to deliver.
    listeners, strength: see `Conditions`. anchors: give each window its picture; None takes the
    portrait for all of them. cuts: where scenes begin, see `plan_windows`.
    """

    portrait: Tensor
    prompt: Tensor
    negative: Tensor | None
    voices: tuple[VoiceTrack, ...]
    seed: int
    frames: int
    listeners: Listeners | None = None
    strength: float = 1.0
    anchors: Anchors | None = None
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True)
class RenderState:
    """All that `next_chunk` needs from earlier chunks.

    motion: the motion latent. colour: see `ChunkColourMatch`. drift: see `Drift`. All float32 on
    the CPU. checks: the worst of all chunks so far.
    """

    next_chunk: int
    motion: Tensor | None
    colour: Tensor | None = None
    drift: Drift | None = None
    checks: Mapping[str, float] = field(default_factory=dict[str, float])

    def to_bytes(self) -> bytes:
        """A safetensors file of about a megabyte."""
        drift = self.drift
        parts = {
            "motion": self.motion,
            "colour": self.colour,
            "first": None if drift is None else drift.first,
            "last": None if drift is None else drift.last,
        }
        tensors = {name: x.contiguous() for name, x in parts.items() if x is not None}
        facts = {"next_chunk": str(self.next_chunk), "checks": json.dumps(dict(self.checks))}
        return safetensors.torch.save(tensors, facts)

    @classmethod
    def from_bytes(cls, next_chunk: int, content: bytes) -> RenderState:
        """Reads what `to_bytes` wrote. Raises `ResumeRefused` for anything else."""
        try:
            tensors = safetensors.torch.load(content)
            length = int.from_bytes(content[:8], "little")
            facts = json.loads(content[8 : 8 + length])["__metadata__"]
            checks = {
                str(name): float(found) for name, found in json.loads(facts["checks"]).items()
            }
            drift = Drift(tensors["first"], tensors["last"]) if "first" in tensors else None
        except Exception as cause:
            raise ResumeRefused("The state of the render cannot be read.") from cause
        return cls(next_chunk, tensors.get("motion"), tensors.get("colour"), drift, checks)


@dataclass(frozen=True)
class RenderedChunk:
    """The frames that a window adds: `[3, T, H, W]` in -1..1, float32, on the codec's device.

    is_redone: they were broken at first, and exact attention rendered them.
    """

    index: int
    frames: Tensor
    state: RenderState
    is_redone: bool = False

    def to_uint8(self) -> NDArray[np.uint8]:
        """`[T, H, W, 3]` on the host, rounded to the nearest level. Converts before the copy, which
        is then a quarter of the size."""
        levels = self.frames.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
        return levels.permute(1, 2, 3, 0).contiguous().cpu().numpy()


@torch.inference_mode()
def render(
    models: Models,
    job: RenderJob,
    settings: RenderSettings,
    control: Control,
    resume: RenderState | None = None,
) -> Iterator[RenderedChunk]:
    """Yields the chunks of a job in order, starting at `resume.next_chunk` if given.

    Calls `control.check` before every forward, encode and decode, and `control.progress` after
    every forward and chunk. Raises `RenderBroken` instead of yielding a chunk that cannot be right.
    With the same models, job and settings, a resumed render yields the same bits as an
    uninterrupted one.
    """
    loop = _Loop(models, job, settings, control)
    yield from loop.run(resume or RenderState(0, None))


@dataclass(frozen=True)
class _Frames:
    """All frames of a window, and what the check found in them.

    colour: what the next window's colours are matched with.
    """

    pixels: Tensor
    colour: Tensor | None
    measures: Measures | None = None
    finding: Finding | None = None


class _Loop:
    """One render: what is constant during a job, and the steps of a window."""

    def __init__(
        self, models: Models, job: RenderJob, settings: RenderSettings, control: Control
    ) -> None:
        _require_usable(job, settings)
        self._models = models
        self._job = job
        self._settings = settings
        self._control = control
        self._guidance = Guidance.of(settings)
        self._timesteps = timesteps(settings.steps, settings.shift, settings.grid)
        self._windows = plan_windows(job.frames, settings, job.cuts)
        self._anchors = job.anchors or StillAnchor(job.portrait)
        self._match_colours = _colour_match(job.portrait, settings)
        self._check = _chunk_check(job.portrait, settings)
        self._noise = self._make_noise()
        self._done = 0.0

    def run(self, state: RenderState) -> Iterator[RenderedChunk]:
        """Renders the windows from `state` on."""
        self._report(state.next_chunk, 0)
        windows = self._windows[state.next_chunk :]
        with self._control.stage("prepare"):
            shown = self._anchors.at(windows[0])
            anchor = self._anchor(shown.picture)
            denoiser = self._condition(shown, anchor)
            self._judge_by(shown.picture)
        for window in windows:
            steps = self._settings.steps
            with self._control.stage("chunk", chunk=window.index, steps=steps, frames=window.keep):
                if window is not windows[0]:
                    shown = self._anchors.at(window)
                    if shown.is_new:
                        anchor = self._anchor(shown.picture)
                        denoiser = self._anchored(denoiser, shown, anchor)
                        self._judge_by(shown.picture)
                motion = _motion_of(window, anchor, state)
                frames, is_redone = self._sound_frames(denoiser, window, motion, state)
                new = frames.pixels[:, window.drop : window.drop + window.keep]
                state = self._state_after(window, frames, new, state)
            self._report(window.index + 1, 0)
            yield RenderedChunk(window.index, new, state, is_redone)

    def _make_noise(self) -> Noise:
        _, height, width = self._job.portrait.shape
        shape = (
            _LATENT_CHANNELS,
            self._settings.latent_frames,
            height // _PIXELS_PER_LATENT,
            width // _PIXELS_PER_LATENT,
        )
        return make_noise(self._job.seed, shape, self._settings)

    def _judge_by(self, picture: Tensor) -> None:
        """Matches and checks the next chunks against this picture, if the settings want that."""
        if self._settings.colour_to is ColourTo.ANCHOR:
            self._match_colours = _colour_match(picture, self._settings)
            self._check = _chunk_check(picture, self._settings)

    def _anchored(
        self, denoiser: ConditionedDenoiser, shown: Anchor, anchor: Tensor
    ) -> ConditionedDenoiser:
        """The job's denoiser with another picture: all that depends on the prompts is kept."""
        self._control.check()
        image = self._models.image_encoder.embed(shown.picture)
        return denoiser.anchored(image, anchor, shown.listeners or self._job.listeners)

    def _condition(self, shown: Anchor, anchor: Tensor) -> ConditionedDenoiser:
        """Prepares the denoiser once per job."""
        self._control.check()
        image = self._models.image_encoder.embed(shown.picture)
        conditions = Conditions(
            prompt=self._job.prompt,
            negative=self._job.negative if self._guidance.needs_negative else None,
            image=image,
            anchor=anchor,
            listeners=shown.listeners or self._job.listeners,
            strength=self._job.strength,
        )
        try:
            return self._models.denoiser.condition(conditions)
        except NotImplementedError as cause:
            raise RenderFailed(f"{cause}") from cause

    def _anchor(self, picture: Tensor) -> Tensor:
        """The latent of a window whose first frame is the picture and the rest black, with the
        mask of the given frame."""
        portrait = picture[:, None]
        black = portrait.new_zeros(3, self._settings.frames - 1, *portrait.shape[2:])
        latent = self._encode(torch.cat((portrait, black), dim=1))
        mask = latent.new_zeros(4, *latent.shape[1:])
        mask[:, 0] = 1
        return torch.cat((mask, latent))

    def _sound_frames(
        self, denoiser: ConditionedDenoiser, window: Window, motion: Tensor, state: RenderState
    ) -> tuple[_Frames, bool]:
        """The frames of a window, and whether they are the second ones.

        If the first ones are broken, they are rendered once more with exact attention, which later
        chunks and renders then keep. Raises `RenderBroken` if that is broken too, or changes
        nothing because attention was exact.
        """
        frames = self._frames(denoiser, window, motion, state)
        is_redone = frames.finding is not None and self._models.make_exact()
        if is_redone:
            _log.warning(
                "Chunk %d was broken (%s): attention is exact from now on.",
                window.index + 1,
                frames.finding,
            )
            frames = self._frames(denoiser, window, motion, state)
        if frames.finding is not None:
            raise RenderBroken(
                f"Chunk {window.index + 1} of {len(self._windows)} cannot be right: "
                f"{frames.finding}.",
                context={"chunk": window.index, **asdict(frames.finding)},
            )
        return frames, is_redone

    def _frames(
        self, denoiser: ConditionedDenoiser, window: Window, motion: Tensor, state: RenderState
    ) -> _Frames:
        """The frames of a window, and what is wrong with them."""
        latent, are_finite = self._denoise(denoiser, window, motion)
        self._control.check()
        decoded = self._models.codec.decode(latent)
        frames, colour = self._match_colours(decoded, window.drop, state.colour)
        del decoded
        if self._check is None:
            return _Frames(frames, colour)
        measures = self._check.measure(latent, frames)
        if measures.is_doubtful:
            _log.warning(
                "Chunk %d is %.1f times as sharp as the portrait.",
                window.index + 1,
                measures.sharpness,
            )
        finding = self._check.finding(measures, torch.stack(are_finite).tolist())
        return _Frames(frames, colour, measures, finding)

    def _state_after(
        self, window: Window, frames: _Frames, new: Tensor, before: RenderState
    ) -> RenderState:
        """What the next window needs. new: the frames that this one delivers."""
        motion = self._motion_after(window, frames.pixels)
        measures = frames.measures
        if measures is None:
            return RenderState(window.index + 1, motion, frames.colour)
        # A scene is as far from the one before as it likes.
        compared = None if window.is_first_of_scene else before.drift
        drift, told = Drift.after(new, measures.sharpness, compared)
        checks = worst(worst(before.checks, measures.told()), told)
        return RenderState(window.index + 1, motion, frames.colour, drift, checks)

    def _denoise(
        self, denoiser: ConditionedDenoiser, window: Window, motion: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """All denoising steps of a window, and of each whether it was a number. The first latent
        frames stay fixed at the motion latent."""
        latent = self._noise.draw(window.index).to(motion.device)
        fixed = motion.shape[1]
        audio = self._embed_audio(denoiser, window)
        latent[:, :fixed] = motion
        are_finite: list[Tensor] = []
        done = 0
        for step, (now, after) in enumerate(pairwise(self._timesteps)):
            guidance = self._guidance.at(step)
            velocities: list[Tensor] = []
            for one in guidance.passes:
                self._control.check()
                velocities.append(denoiser.predict(latent, now, one.text, audio[one.has_audio]))
                done += 1
                self._report(window.index, done)
            velocity = guidance.combine(velocities)
            are_finite.append(velocity.isfinite().all())
            latent = latent - velocity * _length(now, after)
            latent[:, :fixed] = motion
        return latent, are_finite

    @property
    def _is_ever_silent(self) -> bool:
        steps = range(self._settings.steps)
        return any(not one.has_audio for at in steps for one in self._guidance.at(at).passes)

    def _embed_audio(self, denoiser: ConditionedDenoiser, window: Window) -> dict[bool, Tensor]:
        """Audio tokens of the window by `Pass.has_audio`; those of silence only if guidance uses
        them."""
        voices = torch.stack(
            [
                voice.window(window.start, self._settings.frames, is_last=window.is_last)
                for voice in self._job.voices
            ]
        )
        tokens = {True: denoiser.embed_audio(voices)}
        if self._is_ever_silent:
            tokens[False] = denoiser.embed_audio(torch.zeros_like(voices[-1:]))
        return tokens

    def _motion_after(self, window: Window, frames: Tensor) -> Tensor | None:
        """The motion latent that the next window starts from; None after the last window of a
        scene.

        Either way the device has finished the window when it returns.
        """
        following = self._windows[window.index + 1 : window.index + 2]
        if not following or following[0].is_first_of_scene:
            # Its frames are fetched next, which waits as this does: a stage ends with its work.
            frames[:, -1:, :1, :1].cpu()
            return None
        return self._encode(frames[:, -self._settings.motion :]).float().cpu()

    def _encode(self, frames: Tensor) -> Tensor:
        self._control.check()
        return self._models.codec.encode(frames)

    def _report(self, chunk: int, forwards: int) -> None:
        """Reports progress. Decoding counts as one forward, so a chunk is done when its frames
        are. A chunk that is rendered again reports nothing until it is as far as before."""
        of_chunk = 1 + self._guidance.forwards(self._settings.steps)
        done = (chunk + forwards / of_chunk) / len(self._windows)
        self._done = max(self._done, done)
        self._control.progress(self._done)


def _motion_of(window: Window, anchor: Tensor, state: RenderState) -> Tensor:
    """The motion latent that a window starts from. The codec is causal, so the first latent frame
    of an anchor encodes its picture alone."""
    if window.is_first_of_scene or state.motion is None:
        return anchor[4:, :1]
    return state.motion.to(anchor.device)


def _chunk_check(picture: Tensor, settings: RenderSettings) -> ChunkCheck | None:
    return None if settings.check is Check.OFF else ChunkCheck(picture, settings.check)


def _colour_match(
    portrait: Tensor, settings: RenderSettings
) -> Callable[[Tensor, int, Tensor | None], tuple[Tensor, Tensor | None]]:
    """See `ChunkColourMatch`; of frames that are matched one by one, nothing is passed on."""
    if settings.colour_by is ColourBy.CHUNK:
        return ChunkColourMatch(portrait, settings.colour, settings.motion)
    match = ColourMatch(portrait, settings.colour)
    return lambda frames, _drop, _before: (match(frames), None)


def _length(now: float, after: float) -> float:
    """The length of an Euler step, in float32 as upstream computes it."""
    return float((np.float32(now) - np.float32(after)) / np.float32(TRAIN_TIMESTEPS))


def _require_usable(job: RenderJob, settings: RenderSettings) -> None:
    """Raises `ValueError` for mistakes that would otherwise show much later, or never."""
    _, height, width = job.portrait.shape
    if height % 16 or width % 16:
        raise ValueError(f"Width and height are multiples of 16, not {width}x{height}.")
    if not job.voices:
        raise ValueError("A job needs at least one voice.")
    if (len(job.voices) == 2) is (job.listeners is None) or len(job.voices) > 2:
        raise ValueError("Two voices, and only two, need listeners.")
    shortest = min(voice.frames for voice in job.voices)
    if settings.tail is Tail.MIRROR and shortest < settings.frames:
        raise ValueError(f"A voice of {shortest} frames is shorter than a window; pad it.")
    if Guidance.of(settings).needs_negative and job.negative is None:
        raise ValueError("Guidance by text needs a negative prompt.")
