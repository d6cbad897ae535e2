"""Compares our rendering with upstream's own code, with the same random weights on both sides.

    python -m inference_sidecar.engines.infinitetalk.upstream_checks.parity --upstream DIR

DIR is a checkout of upstream (the submodule). Runs `generate_infinitetalk` unmodified, on the CPU
in float32, and our chunk loop with upstream's random numbers. Prints for every case the largest
difference between the frames (-1..1) of each chunk, and exits non-zero if one exceeds its bound.

The bounds are about twice the rounding noise of float32: with another number of threads, upstream
differs from itself by half of them. They detect an epsilon of 1e-5 instead of 1e-6.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.checkpoints.layout import VOICE
from inference_sidecar.engines.infinitetalk.inputs.prepare_job import NEGATIVE_PROMPT
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import Models, RenderJob, render
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Listeners
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    UPSTREAM,
    RenderSettings,
)
from inference_sidecar.engines.infinitetalk.upstream.compatibility import UpstreamUnusable
from inference_sidecar.engines.infinitetalk.upstream_checks.published_models import (
    PublishedModels,
    load_published,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.replay import (
    Box4,
    Uninterrupted,
    embed_voices,
    read_scene,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.speech import (
    upstream_voice,
    upstream_voices,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (
    write_tiny_weights,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes
from inference_sidecar.engines.infinitetalk.upstream_checks.upstream_pipeline import (
    Upstream,
    UpstreamInput,
)

BOUND: Final = 1e-5
"""For frames in -1..1 as decoded by the codec."""
COLOUR_BOUND: Final = 5e-4
"""With colour matching, which divides by the standard deviation of a channel."""
_PROMPT: Final = "A woman is talking to the camera"
_WINDOW: Final = 17
_MOTION: Final = 5
_STEPS: Final = 3
_VOICE_FRAMES: Final = 34


@dataclass(frozen=True)
class Case:
    """One render, run on both sides. `size` is height and width.

    voices: two take the audio branch for two voices. boxes, in_turn, silent: see `replay.Replay`.
    video_frames: of a source video; 0 for a portrait. has_gate: ours lets every token choose
    between the voice and silence, and all of them hear the voice.
    """

    text_guide: float
    audio_guide: float
    size: tuple[int, int]
    colour: float
    is_clip: bool = False
    voices: int = 1
    boxes: tuple[Box4, ...] | None = None
    in_turn: bool = False
    silent: int | None = None
    video_frames: int = 0
    has_gate: bool = False

    @property
    def settings(self) -> RenderSettings:
        """The settings of both sides."""
        return replace(
            UPSTREAM,
            frames=_WINDOW,
            motion=_MOTION,
            steps=_STEPS,
            shift=5.0,
            text_guide=self.text_guide,
            audio_guide=self.audio_guide,
            colour=self.colour,
            skips_forwards=True,
        )

    @property
    def bound(self) -> float:
        """The largest allowed difference between frames."""
        return COLOUR_BOUND if self.colour else BOUND

    def __str__(self) -> str:
        mode = "clip" if self.is_clip else "streaming"
        height, width = self.size
        guides = f"text {self.text_guide:g} audio {self.audio_guide:g}"
        parts = [f"{guides:<16} {height}x{width:<4} {mode:<9} colour {self.colour:<3g}"]
        if self.voices > 1:
            parts.append("two voices" + (" in turn" if self.in_turn else ""))
            parts.append("boxes" if self.boxes else "halves")
        if self.silent is not None:
            parts.append(f"person {self.silent} silent")
        if self.video_frames:
            parts.append(f"video of {self.video_frames} frames")
        if self.has_gate:
            parts.append("open gate")
        return " ".join(parts)


_GUIDES: Final = ((1.0, 1.0), (1.0, 2.0), (5.0, 1.0), (5.0, 4.0))
_SIZES: Final = ((64, 48), (48, 80))
CASES: Final = (
    *(
        Case(text, audio, size, colour)
        for text, audio in _GUIDES
        for size in _SIZES
        for colour in (0.0, 1.0)
    ),
    Case(1.0, 1.0, (64, 48), 0.0, is_clip=True),
    Case(5.0, 4.0, (48, 80), 0.6, is_clip=True),
)
"""One, two and three passes, two sizes, with and without colour matching, both modes."""
_BOXES: Final[tuple[Box4, ...]] = ((20, 8, 120, 52), (45, 66, 140, 110))
"""In rows and columns of `write_portrait`'s picture: not symmetric, and of different heights."""
_DRAWN: Final = np.random.default_rng(49)


def _drawn_size() -> tuple[int, int]:
    height, width = _DRAWN.integers(3, 6, 2)
    return 16 * int(height), 16 * int(width)


def _two(text: float, audio: float, **changes: Any) -> Case:  # noqa: ANN401 - fields of a case
    return replace(Case(text, audio, _drawn_size(), 0.0, voices=2), **changes)


SPEAKER_CASES: Final = (
    *(
        _two(text, audio, **changes)
        for text, audio in ((1.0, 2.0), (5.0, 4.0))
        for changes in ({}, {"boxes": _BOXES}, {"in_turn": True}, {"silent": 2})
    ),
    _two(5.0, 4.0, size=(48, 80)),
    _two(5.0, 4.0, boxes=_BOXES, colour=1.0),
)
"""Two voices: halves, boxes, one after the other, one of them silent; colours matched."""
VIDEO_CASES: Final = (
    Case(1.0, 2.0, _drawn_size(), 0.0, video_frames=60),
    Case(5.0, 4.0, _drawn_size(), 0.0, video_frames=15),
    _two(5.0, 4.0, video_frames=60),
    Case(1.0, 2.0, _drawn_size(), 1.0, video_frames=60),
)
"""A source video that is longer than the voice, one that is shorter, two voices, colours."""
GATE_CASES: Final = (
    Case(1.0, 2.0, _drawn_size(), 0.0, has_gate=True),
    Case(5.0, 4.0, _drawn_size(), 0.0, has_gate=True),
)
"""One voice through the gate that keeps it from other faces, which shuts nobody out here."""
ALL_CASES: Final = (*CASES, *SPEAKER_CASES, *VIDEO_CASES, *GATE_CASES)


@dataclass(frozen=True)
class Outcome:
    """The largest difference between the frames of each chunk."""

    case: Case
    differences: tuple[float, ...]

    @property
    def is_equal(self) -> bool:
        """Whether all chunks are within the bound. A missing chunk is not."""
        return bool(self.differences) and max(self.differences) <= self.case.bound

    def __str__(self) -> str:
        chunks = "  ".join(f"{difference:.1e}" for difference in self.differences)
        verdict = "ok" if self.is_equal else "TOO FAR APART"
        return f"{self.case}  {chunks:<38} bound {self.case.bound:.0e}  {verdict}"


class Bench:
    """Both sides, loaded once with the same tiny weights, and the input of all cases.

    device: upstream's; ours is the CPU.
    """

    def __init__(
        self,
        code: Path,
        folder: Path,
        sizes: TinySizes | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.weights = folder / "weights"
        if not self.weights.exists():
            write_tiny_weights(self.weights, sizes or TinySizes())
        self.upstream = Upstream(code, self.weights, device)
        self._make_multi = partial(Upstream, code, self.weights, device, is_multi=True)
        self._folder = folder
        self.image, self.audio = folder / "portrait.png", folder / "voice.wav"
        write_portrait(self.image)
        write_voice(self.audio, _VOICE_FRAMES)
        self.audio2 = folder / "voice2.wav"
        write_voice(self.audio2, _VOICE_FRAMES, pitch=1.4)
        self.ours: PublishedModels = load_published(self.weights)
        self._texts = self.ours.text.embed([_PROMPT, NEGATIVE_PROMPT])

    @cached_property
    def upstream_multi(self) -> Upstream:
        """Upstream with the audio branch for two voices."""
        return self._make_multi()

    @cached_property
    def ours_multi(self) -> PublishedModels:
        """Ours with it."""
        return load_published(self.weights, is_multi=True)

    def source(self, case: Case) -> Path:
        """The portrait, or frames of a video of the same size."""
        if not case.video_frames:
            return self.image
        path = self._folder / f"video-{case.video_frames}.npy"
        if not path.exists():
            write_video(path, case.video_frames)
        return path

    def _audios(self, case: Case) -> list[Path]:
        """In turn, both are shorter: the video is as long as their sum."""
        if case.in_turn:
            short = [self._folder / f"turn-{number}.wav" for number in (1, 2)]
            for path, frames, pitch in zip(short, (18, 20), (1.0, 1.4), strict=True):
                if not path.exists():
                    write_voice(path, frames, pitch=pitch)
            return short
        return [self.audio, self.audio2] if case.voices > 1 and not case.silent else [self.audio]

    @cache  # noqa: B019 - a bench lives as long as its cases
    def _their_voices(self, case: Case) -> tuple[Tensor, ...]:
        audios = self._audios(case)
        if case.voices == 1:
            return (upstream_voice(self.weights / VOICE, audios[0]),)
        folder = self.weights / VOICE
        return upstream_voices(folder, audios, in_turn=case.in_turn, silent=case.silent)

    def run(self, case: Case) -> Outcome:
        """Renders the case on both sides, from files to frames."""
        theirs = self.render_upstream(case)
        differences = []
        at = 0
        for frames in self.render_ours(case):
            after = at + frames.shape[1]
            differences.append(_furthest(frames, theirs[:, at:after]))
            at = after
        if at != theirs.shape[1]:
            differences.append(float("inf"))
        return Outcome(case, tuple(differences))

    def render_upstream(self, case: Case, max_frames: int = 1000) -> Tensor:
        """`generate_infinitetalk`, with the voice embedded by upstream's own class."""
        height, width = case.size
        wanted = UpstreamInput(
            image=self.source(case),
            voices=self._their_voices(case),
            height=height,
            width=width,
            prompt=_PROMPT,
            negative="",
            seed=7,
            max_frames=_WINDOW if case.is_clip else max_frames,
            boxes=case.boxes,
        )
        upstream = self.upstream if case.voices == 1 else self.upstream_multi
        return upstream.generate(wanted, case.settings).cpu()

    def render_ours(
        self, case: Case, models: Models | None = None, frames: int | None = None
    ) -> Iterator[Tensor]:
        """The frames of each chunk, rendered by our chunk loop with our models or with `models`."""
        height, width = case.size
        prompt, negative = self._texts
        ours = self.ours if case.voices == 1 else self.ours_multi
        voices, heard = embed_voices(
            ours.voice, self._audios(case), _WINDOW, in_turn=case.in_turn, silent=case.silent
        )
        length = _WINDOW if case.is_clip else frames or heard
        size = Size(width, height)
        scene = read_scene(self.source(case), size, case.settings, length, self._folder)
        listeners = scene.listeners(case.boxes) if case.voices > 1 else None
        if case.has_gate:
            voices = (*voices, ours.voice.silent(voices[0].frames))
            listeners = Listeners(torch.ones(2, height // 8, width // 8), is_gated=True)
        job = RenderJob(
            portrait=scene.portrait,
            prompt=prompt,
            negative=negative,
            voices=voices,
            seed=7,
            frames=length,
            listeners=listeners,
            anchors=scene.anchors,
        )
        for chunk in render(models or ours.models, job, case.settings, Uninterrupted()):
            yield chunk.frames.cpu()


def write_portrait(path: Path) -> None:
    """Smooth random colours, in an aspect that must be cropped for both sizes."""
    colours = np.random.default_rng(0).integers(0, 255, (5, 4, 3)).astype(np.uint8)
    Image.fromarray(colours).resize((120, 150), Image.Resampling.BICUBIC).save(path)


def write_video(path: Path, frames: int) -> None:
    """Colours like the portrait's, which move from frame to frame."""
    drawn = np.random.default_rng(1)
    first, last = (
        Image.fromarray(drawn.integers(0, 255, (5, 4, 3)).astype(np.uint8)).resize(
            (120, 150), Image.Resampling.BICUBIC
        )
        for _ in range(2)
    )
    parts = [Image.blend(first, last, index / frames) for index in range(frames)]
    np.save(path, np.stack([np.array(part) for part in parts]))


def write_voice(path: Path, frames: int, pitch: float = 1.0) -> None:
    """Tones of varying loudness, in stereo at 44.1 kHz, so that channels and rate are converted."""
    seconds = np.arange(int(44_100 * (frames + 0.5) / 25)) / 44_100
    tones = sum(
        np.sin(2 * np.pi * pitch * tone * seconds) / tone for tone in (140, 410, 1730, 3100)
    )
    loud = 20 * tones * (0.55 + 0.45 * np.sin(2 * np.pi * 1.7 * pitch * seconds))
    soundfile.write(path, np.stack((loud, 0.7 * loud[::-1]), axis=1), 44_100)


def _furthest(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    difference = (ours - theirs).abs().max().item()
    return difference if np.isfinite(difference) else float("inf")


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    summary = cast("str", __doc__).splitlines()[0]
    parser = argparse.ArgumentParser("parity", description=summary)
    parser.add_argument("--upstream", type=Path, required=True, help="a checkout of upstream")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            bench = Bench(options.upstream.resolve(), Path(folder))
        except UpstreamUnusable as problem:
            sys.stderr.write(f"parity: {problem}\n")
            return 2
        outcomes = [_shown(bench.run(case)) for case in ALL_CASES]
    apart = [outcome for outcome in outcomes if not outcome.is_equal]
    sys.stdout.write(f"\n{len(outcomes) - len(apart)} of {len(outcomes)} cases agree\n")
    return 1 if apart else 0


def _shown(outcome: Outcome) -> Outcome:
    sys.stdout.write(f"{outcome}\n")
    sys.stdout.flush()
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
