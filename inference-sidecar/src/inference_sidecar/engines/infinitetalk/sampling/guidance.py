"""Classifier-free guidance: which forwards a step needs, and how they combine to one velocity.

With the guidance scales A (text) and B (audio), upstream computes

    nothing + A * (all - no text) + B * (no text - nothing)        if A is not 1
    no audio + B * (all - no audio)                                if A is 1

Terms that cancel out need no forward: one forward is enough if both scales are 1, and two if one of
them is. A step that the voice does not guide is computed with a B of 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from torch import Tensor

from inference_sidecar.engines.infinitetalk.sampling.interfaces import Text
from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings


@dataclass(frozen=True)
class Pass:
    """The conditions of one forward of a step."""

    text: Text
    has_audio: bool


_ALL: Final = Pass(Text.PROMPT, has_audio=True)
_NO_TEXT: Final = Pass(Text.NEGATIVE, has_audio=True)
_NO_AUDIO: Final = Pass(Text.PROMPT, has_audio=False)
_NOTHING: Final = Pass(Text.NEGATIVE, has_audio=False)


@dataclass(frozen=True)
class Guidance:
    """The forwards of every step, in order, and their combination.

    guided_steps: see `RenderSettings`.
    """

    text_guide: float
    audio_guide: float
    skips_forwards: bool = True
    guided_steps: int | None = None

    @classmethod
    def of(cls, settings: RenderSettings) -> Guidance:
        """The guidance of a render."""
        return cls(
            settings.text_guide,
            settings.audio_guide,
            settings.skips_forwards,
            settings.guided_steps,
        )

    def at(self, step: int) -> Guidance:
        """The guidance of one step, which counts from 0."""
        if self.guided_steps is None or step < self.guided_steps:
            return self
        return replace(self, audio_guide=1.0, guided_steps=None)

    def forwards(self, steps: int) -> int:
        """The forwards of a chunk of so many steps."""
        return sum(len(self.at(step).passes) for step in range(steps))

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The conditions of each forward of a step that is guided."""
        has_text = not math.isclose(self.text_guide, 1.0)
        has_audio = not (self.skips_forwards and math.isclose(self.audio_guide, 1.0))
        if has_text:
            return (_ALL, _NO_TEXT, _NOTHING) if has_audio else (_ALL, _NO_TEXT)
        return (_ALL, _NO_AUDIO) if has_audio else (_ALL,)

    @property
    def needs_negative(self) -> bool:
        """Whether any forward uses the negative prompt."""
        return any(one.text is Text.NEGATIVE for one in self.passes)

    def combine(self, velocities: Sequence[Tensor]) -> Tensor:
        """Combines the velocities of `passes`, given in their order."""
        match self.passes, velocities:
            case (_,), (everything,):
                return everything
            case (_, second), (everything, other):
                guide = self.audio_guide if second is _NO_AUDIO else self.text_guide
                return other + guide * (everything - other)
            case _, (everything, no_text, nothing):
                return (
                    nothing
                    + self.text_guide * (everything - no_text)
                    + self.audio_guide * (no_text - nothing)
                )
            case _:
                raise ValueError(f"{len(velocities)} velocities for {len(self.passes)} passes.")
