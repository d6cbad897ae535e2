"""How weights want to be sampled: a recipe belongs to what was merged into them.

A step-distilled LoRA was trained at a few noise levels and is only right at those. So the levels,
the number of steps, the shift and the guidance come from the weights, and a setting that
contradicts them stops the start. No torch.

    python -m inference_sidecar.engines.infinitetalk.recipes

prints the noise levels of every recipe.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from inference_sidecar.engines.infinitetalk.sampling.render_settings import Grid
from inference_sidecar.foundation.errors import SidecarError

RecipeName = Literal["lightx2v-4", "fusionx", "undistilled", "it-distilled"]
RECIPE_NAMES: Final[tuple[RecipeName, ...]] = get_args(RecipeName)

_LEAST_UNDISTILLED_STEPS: Final = 20


class SamplingRefused(SidecarError):
    """The settings contradict the recipe of the weights; says in one sentence how."""


@dataclass(frozen=True)
class Recipe:
    """The sampling that weights were made for.

    shift_720p: replaces `shift` for the size class 720p. is_step_distilled: whether few steps are
    right. is_text_distilled: whether guidance by text is part of the weights and must not be taken
    twice. guided_share: the share of the steps that the voice guides, the first ones. high_steps:
    of the quality `high`, all of them guided; None for as many as usual.
    """

    name: RecipeName
    grid: Grid
    steps: int
    shift: float
    text_guide: float
    audio_guide: float
    shift_720p: float | None = None
    guided_share: float = 1.0
    high_steps: int | None = None
    is_step_distilled: bool = True
    is_text_distilled: bool = True

    def shift_at(self, size_class: str) -> float:
        """The shift for a size class."""
        return self.shift_720p if size_class == "720p" and self.shift_720p else self.shift

    def guided_steps(self, steps: int) -> int | None:
        """See `RenderSettings.guided_steps`."""
        return None if self.guided_share >= 1 else math.ceil(steps * self.guided_share)

    def objection(self, steps: int, text_guide: float) -> str | None:
        """What contradicts these weights, in one sentence; None for nothing."""
        if not self.is_step_distilled and steps < _LEAST_UNDISTILLED_STEPS:
            return (
                f"INFINITETALK_STEPS={steps} is too few for weights without a step-distilled LoRA"
                f" (recipe {self.name}): take {_LEAST_UNDISTILLED_STEPS} or more, prepare with a"
                " LoRA, or set INFINITETALK_SAMPLING=any"
            )
        if self.is_text_distilled and not math.isclose(text_guide, 1.0):
            return (
                f"INFINITETALK_TEXT_GUIDE={text_guide:g} blurs weights that guidance by text was"
                f" distilled into (recipe {self.name}): leave it out, or set"
                " INFINITETALK_SAMPLING=any"
            )
        return None


RECIPES: Final[Mapping[RecipeName, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe("lightx2v-4", Grid.UNIFORM, 4, 5.0, 1.0, 2.0, guided_share=0.5, high_steps=8),
        Recipe("fusionx", Grid.UNIFORM, 7, 2.0, 1.0, 2.0),
        Recipe(
            "undistilled",
            Grid.UPSTREAM,
            40,
            7.0,
            5.0,
            4.0,
            shift_720p=11.0,
            is_step_distilled=False,
            is_text_distilled=False,
        ),
        Recipe("it-distilled", Grid.UPSTREAM, 4, 7.0, 1.0, 1.0),
    )
}

_OF_LORAS: Final[Mapping[str, RecipeName]] = {
    "8833bd4fd7c8eabebf0bc8ee5cfaf47f4f310ce116928a02c1adf8941dd4b0f1": "lightx2v-4",
}
"""By the SHA-256 of the LoRA's file. It stands here rather than in the manifest, because the engine
needs it as well as `prepare`: files that older versions prepared name their LoRAs and no recipe."""


class RecipeUnknown(ValueError):
    """A LoRA is not in the table, or two LoRAs are of different recipes."""


def recipe_of(loras: Mapping[str, str]) -> RecipeName:
    """The recipe of weights with these LoRAs merged, given as SHA-256 by file name.

    Raises `RecipeUnknown` with the names of those that decide nothing.
    """
    if not loras:
        return "undistilled"
    if unknown := [name for name, sha256 in loras.items() if sha256 not in _OF_LORAS]:
        raise RecipeUnknown(f"it is not known how to sample with {', '.join(sorted(unknown))}")
    found: set[RecipeName] = {_OF_LORAS[sha256] for sha256 in loras.values()}
    if len(found) > 1:
        raise RecipeUnknown(f"its LoRAs are to be sampled differently: {', '.join(sorted(found))}")
    return found.pop()


def sigmas_of(recipe: Recipe) -> list[str]:
    """The noise levels of a recipe, 1 to 0, each with four digits."""
    # numpy is not installed beside a worker's parent process, which reads this module too.
    from inference_sidecar.engines.infinitetalk.sampling.schedule import (  # noqa: PLC0415
        TRAIN_TIMESTEPS,
        timesteps,
    )

    levels = timesteps(recipe.steps, recipe.shift, recipe.grid)
    return [_four_digits(level / TRAIN_TIMESTEPS) for level in levels]


def _four_digits(level: float) -> str:
    return f"{level:.0f}" if level in {0.0, 1.0} else f"{level:.4f}".lstrip("0")


def main(_arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    for recipe in RECIPES.values():
        about = f"{recipe.name}: {recipe.grid} grid, {recipe.steps} steps, shift {recipe.shift:g}"
        sys.stdout.write(f"{about}\n  {', '.join(sigmas_of(recipe))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
