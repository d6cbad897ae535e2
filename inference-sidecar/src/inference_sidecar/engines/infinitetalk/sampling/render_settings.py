"""The settings of a render. No torch: the engine plans with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class SeedPolicy(StrEnum):
    """How the noise of a chunk is drawn.

    PER_CHUNK: from seed and chunk index alone, so that a resumed chunk needs nothing else.
    UPSTREAM: from one random stream for the whole job, consumed like upstream's.
    """

    PER_CHUNK = "per-chunk"
    UPSTREAM = "upstream"


class Grid(StrEnum):
    """How the noise levels of the steps are spread, before they are shifted.

    UNIFORM: from 1 to 0 in steps of one length, as step-distilled weights are trained.
    UPSTREAM: from 1 to 0.001, and the last step from there to 0.
    """

    UNIFORM = "uniform"
    UPSTREAM = "upstream"


class ColourBy(StrEnum):
    """What is matched to the portrait at once: a whole chunk, or each frame like upstream."""

    CHUNK = "chunk"
    FRAME = "frame"


class ColourTo(StrEnum):
    """What colours are matched to, and chunks are checked against.

    ANCHOR: the picture that the chunk is anchored to. FIRST: the first of them, like upstream.
    """

    ANCHOR = "anchor"
    FIRST = "first"


class Others(StrEnum):
    """What the other faces of a picture hear while one person speaks.

    SILENT: silence, as the second person of weights for two voices; with weights for one voice, as
    GATE. GATE: silence, by choosing per token what it may hear. FREE: the voice, like upstream: the
    model decides who speaks.
    """

    SILENT = "silent"
    GATE = "gate"
    FREE = "free"


class Crop(StrEnum):
    """Which part of a picture of another aspect is shown.

    FACE: the whole head of who speaks, see `inputs.cut`. CENTRE: the middle, like upstream.
    """

    FACE = "face"
    CENTRE = "centre"


class AtCuts(StrEnum):
    """What happens at a cut of a source video.

    SCENE: a window begins that takes nothing from the one before. NOTHING: like upstream, a window
    that spans a cut goes on with what it starts with.
    """

    SCENE = "scene"
    NOTHING = "nothing"


class Tail(StrEnum):
    """What the last window hears after the end of the voice.

    SILENCE: the embedding of silence. MIRROR: the voice backwards, like upstream.
    """

    SILENCE = "silence"
    MIRROR = "mirror"


@dataclass(frozen=True)
class VoiceEnds:
    """What is heard before and after a voice, and in its pauses.

    lead_frames, tail_frames: of silence. tail: what follows in the last window after those. pauses:
    first and end frames of the voice that are heard as silence.
    """

    lead_frames: int = 0
    tail_frames: int = 0
    tail: Tail = Tail.MIRROR
    pauses: tuple[tuple[int, int], ...] = ()


class Check(StrEnum):
    """What is looked at before a chunk is delivered.

    OFF: nothing, like upstream. FINITE: that all values are numbers. PICTURE: also that the frames
    look like a picture at all; not for random weights, whose frames do not.
    """

    OFF = "off"
    FINITE = "finite"
    PICTURE = "picture"


@dataclass(frozen=True)
class RenderSettings:
    """How frames are rendered.

    frames: of one window, 4n + 1 (the video codec packs four frames into one latent frame).
    motion: frames of the previous window that the next one starts from, 4n + 1.
    steps: denoising steps. shift: above 1, more of them are spent at high noise.
    text_guide, audio_guide: guidance scales; at 1 the extra forward is not computed.
    guided_steps: the voice guides only so many of the first steps; None means all.
    colour: strength of colour matching, 0 to 1. colour_by: what is matched at once. colour_to: what
    it is matched to; of a portrait there is only one.
    tail: what the last window hears after the end of the voice. silent_pauses: whether pauses of
    the voice are heard as silence, without their noise. others: what other faces hear.
    check: what is looked at before a chunk is delivered. crop: which part of a picture is shown.
    at_cuts: what happens at a cut of a source video.
    skips_forwards: leaves out forwards that guidance cancels out. Upstream computes them, which
    changes only the last bit.
    """

    frames: int = 81
    motion: int = 9
    steps: int = 4
    shift: float = 5.0
    grid: Grid = Grid.UNIFORM
    text_guide: float = 1.0
    audio_guide: float = 1.0
    guided_steps: int | None = None
    colour: float = 1.0
    colour_by: ColourBy = ColourBy.CHUNK
    colour_to: ColourTo = ColourTo.ANCHOR
    tail: Tail = Tail.SILENCE
    silent_pauses: bool = False
    others: Others = Others.SILENT
    seeds: SeedPolicy = SeedPolicy.PER_CHUNK
    check: Check = Check.PICTURE
    crop: Crop = Crop.FACE
    at_cuts: AtCuts = AtCuts.SCENE
    skips_forwards: bool = True

    def __post_init__(self) -> None:
        if self.frames < 5 or self.frames % 4 != 1:
            raise ValueError(f"A window has 4n + 1 frames, at least 5, not {self.frames}.")
        if self.motion % 4 != 1 or not 1 <= self.motion < self.frames:
            raise ValueError(
                f"The motion is 4n + 1 frames, fewer than the window's, not {self.motion}."
            )
        if self.steps < 1:
            raise ValueError(f"A render needs at least one step, not {self.steps}.")
        if self.guided_steps is not None and self.guided_steps < 0:
            raise ValueError(f"The guided steps are a number from 0 on, not {self.guided_steps}.")
        if not 0.0 <= self.colour <= 1.0:
            raise ValueError(f"The colour strength is between 0 and 1, not {self.colour}.")
        if not all(math.isfinite(x) for x in (self.shift, self.text_guide, self.audio_guide)):
            raise ValueError("Shift and guidance scales are finite numbers.")

    @property
    def latent_frames(self) -> int:
        """Latent frames of one window."""
        return (self.frames - 1) // 4 + 1

    @property
    def motion_latent_frames(self) -> int:
        """Latent frames of the motion frames."""
        return (self.motion - 1) // 4 + 1


UPSTREAM: Final = RenderSettings(
    steps=40,
    shift=7.0,
    grid=Grid.UPSTREAM,
    text_guide=5.0,
    audio_guide=4.0,
    colour_by=ColourBy.FRAME,
    colour_to=ColourTo.FIRST,
    tail=Tail.MIRROR,
    others=Others.FREE,
    seeds=SeedPolicy.UPSTREAM,
    check=Check.OFF,
    crop=Crop.CENTRE,
    at_cuts=AtCuts.NOTHING,
    skips_forwards=False,
)
"""Upstream's own behaviour in every respect, with the numbers of its command line at 480p. What is
compared with upstream starts from it, whatever the product's defaults are."""
