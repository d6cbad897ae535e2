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
from pathlib import Path
from typing import Final, cast

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import Tensor

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.checkpoints.layout import VOICE
from inference_sidecar.engines.infinitetalk.inputs.portrait import read_portrait
from inference_sidecar.engines.infinitetalk.inputs.prepare_job import NEGATIVE_PROMPT
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import Models, RenderJob, render
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
    Uninterrupted,
    embed_speech,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.speech import upstream_voice
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
    """One render, run on both sides. `size` is height and width."""

    text_guide: float
    audio_guide: float
    size: tuple[int, int]
    colour: float
    is_clip: bool = False

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
        return f"{guides:<16} {height}x{width:<4} {mode:<9} colour {self.colour:<3g}"


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
        self.image, self.audio = folder / "portrait.png", folder / "voice.wav"
        write_portrait(self.image)
        write_voice(self.audio, _VOICE_FRAMES)
        self.ours: PublishedModels = load_published(self.weights)
        self._their_voice = upstream_voice(self.weights / VOICE, self.audio)
        self._our_voice, self._heard = embed_speech(self.ours.voice, self.audio, _WINDOW)
        self._texts = self.ours.text.embed([_PROMPT, NEGATIVE_PROMPT])

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
            image=self.image,
            voice=self._their_voice,
            height=height,
            width=width,
            prompt=_PROMPT,
            negative="",
            seed=7,
            max_frames=_WINDOW if case.is_clip else max_frames,
        )
        return self.upstream.generate(wanted, case.settings).cpu()

    def render_ours(
        self, case: Case, models: Models | None = None, frames: int | None = None
    ) -> Iterator[Tensor]:
        """The frames of each chunk, rendered by our chunk loop with our models or with `models`."""
        height, width = case.size
        prompt, negative = self._texts
        job = RenderJob(
            portrait=read_portrait(self.image, Size(width, height), is_repaired=False),
            prompt=prompt,
            negative=negative,
            voices=(self._our_voice,),
            seed=7,
            frames=_WINDOW if case.is_clip else frames or self._heard,
        )
        for chunk in render(models or self.ours.models, job, case.settings, Uninterrupted()):
            yield chunk.frames.cpu()


def write_portrait(path: Path) -> None:
    """Smooth random colours, in an aspect that must be cropped for both sizes."""
    colours = np.random.default_rng(0).integers(0, 255, (5, 4, 3)).astype(np.uint8)
    Image.fromarray(colours).resize((120, 150), Image.Resampling.BICUBIC).save(path)


def write_voice(path: Path, frames: int) -> None:
    """Tones of varying loudness, in stereo at 44.1 kHz, so that channels and rate are converted."""
    seconds = np.arange(int(44_100 * (frames + 0.5) / 25)) / 44_100
    tones = sum(np.sin(2 * np.pi * pitch * seconds) / pitch for pitch in (140, 410, 1730, 3100))
    loud = 20 * tones * (0.55 + 0.45 * np.sin(2 * np.pi * 1.7 * seconds))
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
        outcomes = [_shown(bench.run(case)) for case in CASES]
    apart = [outcome for outcome in outcomes if not outcome.is_equal]
    sys.stdout.write(f"\n{len(outcomes) - len(apart)} of {len(outcomes)} cases agree\n")
    return 1 if apart else 0


def _shown(outcome: Outcome) -> Outcome:
    sys.stdout.write(f"{outcome}\n")
    sys.stdout.flush()
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
