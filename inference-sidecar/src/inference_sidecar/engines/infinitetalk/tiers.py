"""What a job's quality means with these weights: a size class, and how it is rendered. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from inference_sidecar.engines.engine import QUALITIES, SIZE_CLASSES, Quality
from inference_sidecar.engines.infinitetalk.recipes import Recipe
from inference_sidecar.engines.infinitetalk.sampling.render_settings import RenderSettings
from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings

_DRAFT_SIZE = "432p"


@dataclass(frozen=True)
class Tier:
    """One quality."""

    quality: Quality
    size_class: str
    rendering: RenderSettings


def tiers_of(settings: InfiniteTalkSettings, recipe: Recipe) -> Mapping[str, Tier]:
    """The tier of each quality.

    What the operator set goes before the tier. Weights without a step-distilled LoRA have one tier,
    the best: fewer forwards would only be worse.
    """
    if not recipe.is_step_distilled:
        only = _standard(settings, recipe)
        return {quality: replace(only, quality="high") for quality in QUALITIES}
    return {
        "draft": _draft(settings, recipe),
        "standard": _standard(settings, recipe),
        "high": _high(settings, recipe),
    }


def _standard(settings: InfiniteTalkSettings, recipe: Recipe) -> Tier:
    size_class = settings.infinitetalk_size
    return Tier("standard", size_class, settings.render_settings(recipe, size_class))


def _draft(settings: InfiniteTalkSettings, recipe: Recipe) -> Tier:
    """Smaller, and not guided by the voice."""
    size_class = max(settings.infinitetalk_size, _DRAFT_SIZE, key=SIZE_CLASSES.index)
    rendering = settings.render_settings(recipe, size_class)
    if settings.infinitetalk_audio_guide is None:
        rendering = replace(rendering, audio_guide=1.0)
    return Tier("draft", size_class, rendering)


def _high(settings: InfiniteTalkSettings, recipe: Recipe) -> Tier:
    """A larger size where the operator chose one, otherwise more steps, all of them guided."""
    standard = settings.infinitetalk_size
    size_class = settings.infinitetalk_high_size or standard
    rendering = settings.render_settings(recipe, size_class)
    if size_class == standard and recipe.high_steps is not None:
        if settings.infinitetalk_steps is None:
            rendering = replace(rendering, steps=recipe.high_steps)
        if settings.infinitetalk_guided_steps is None:
            rendering = replace(rendering, guided_steps=None)
    return Tier("high", size_class, rendering)
