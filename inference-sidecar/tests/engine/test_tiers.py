"""What a job's quality means with weights of each recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from inference_sidecar.engines.engine import How, Size
from inference_sidecar.engines.infinitetalk.capacity.flops import FULL_SIZE
from inference_sidecar.engines.infinitetalk.engine import InfiniteTalkEngine
from inference_sidecar.engines.infinitetalk.loading.calibration import Pace
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.engines.infinitetalk.recipes import RECIPES, RecipeName
from inference_sidecar.engines.infinitetalk.sampling.guidance import Guidance
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Text
from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings
from inference_sidecar.engines.infinitetalk.tiers import tiers_of
from inference_sidecar.foundation.contracts import Sampling
from stage.tiny_engine import Watched, a_request, tiny_settings


def settings(**changes: Any) -> InfiniteTalkSettings:
    defaults: dict[str, Any] = {"model_storage_path": Path("/nowhere"), "infinitetalk_size": "480p"}
    return InfiniteTalkSettings(**(defaults | changes))


def told(recipe: RecipeName, **changes: Any) -> dict[str, tuple[str, int]]:
    """Size class and forwards of each quality."""
    tiers = tiers_of(settings(**changes), RECIPES[recipe])
    return {
        quality: (
            tier.size_class,
            Guidance.of(tier.rendering).forwards(tier.rendering.steps),
        )
        for quality, tier in tiers.items()
    }


def test_each_quality_has_its_size_and_its_forwards() -> None:
    assert told("lightx2v-4") == {
        "draft": ("432p", 4),
        "standard": ("480p", 6),
        "high": ("480p", 16),
    }
    larger = told("lightx2v-4", infinitetalk_high_size="720p")
    assert larger["high"] == ("720p", 6)
    assert told("fusionx", infinitetalk_high_size="720p") == {
        "draft": ("432p", 7),
        "standard": ("480p", 14),
        "high": ("720p", 14),
    }
    assert told("lightx2v-4", infinitetalk_size="352p")["draft"] == ("352p", 4)


def test_undistilled_weights_render_everything_at_their_best() -> None:
    assert set(told("undistilled").values()) == {("480p", 120)}
    tiers = tiers_of(settings(), RECIPES["undistilled"])
    assert {tier.quality for tier in tiers.values()} == {"high"}
    shifts = tiers_of(settings(infinitetalk_size="720p"), RECIPES["undistilled"])
    assert shifts["standard"].rendering.shift == 11.0


def test_what_the_operator_sets_goes_before_the_quality() -> None:
    fixed = told("lightx2v-4", infinitetalk_steps=5, infinitetalk_audio_guide=3.0)
    assert {forwards for _, forwards in fixed.values()} == {8, 10}
    assert fixed["draft"] == ("432p", 8)


@dataclass
class Counting:
    """Counts the forwards of a denoiser."""

    by: Any
    forwards: int = 0

    def condition(self, conditions: Conditions) -> Counted:
        return Counted(self, self.by.condition(conditions))


@dataclass
class Counted:
    counts: Counting
    by: Any

    def embed_audio(self, voices: Tensor) -> Tensor:
        return self.by.embed_audio(voices)

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        self.counts.forwards += 1
        return self.by.predict(latent, timestep, text, audio)


@pytest.mark.parametrize(("quality", "forwards"), [("draft", 4), ("standard", 6), ("high", 16)])
def test_the_estimate_counts_the_forwards_that_are_run(
    tiny_model: LoadedModel, tmp_path: Path, quality: str, forwards: int
) -> None:
    counting = Counting(tiny_model.models.denoiser)
    models = replace(tiny_model.models, denoiser=counting)
    recipe = {"infinitetalk_steps": None, "infinitetalk_audio_guide": None}
    engine = InfiniteTalkEngine(
        tiny_settings(**recipe), lambda *_: replace(tiny_model, models=models)
    )
    engine.load()
    request = a_request(tmp_path, 17, how=How(quality=quality))
    plan = engine.plan(request)
    counting.forwards = 0
    (chunk,) = engine.render(request, plan, Watched(), None)
    assert counting.forwards == forwards
    assert plan.sampling == Sampling(
        quality=quality,
        recipe="lightx2v-4",
        steps=8 if quality == "high" else 4,
        forwards=forwards,
    )
    assert chunk.details["quality"] == quality
    assert f"in {forwards} forwards" in chunk.details["steps"]
    size = Size(832, 480)
    rendering = tiers_of(settings(), tiny_model.recipe)[quality].rendering
    a_second_each = Pace(size, forward=1.0, decode=0.0)
    assert a_second_each.seconds_per_chunk(size, rendering, FULL_SIZE) == forwards
