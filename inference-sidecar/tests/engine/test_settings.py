"""The engine's environment variables."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from inference_sidecar.engines.infinitetalk.recipes import RECIPES, RecipeName, SamplingRefused
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Grid
from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings


def test_the_defaults_suit_one_l40s() -> None:
    settings = InfiniteTalkSettings(model_storage_path=Path("/models"))
    how = settings.render_settings(RECIPES["lightx2v-4"])
    assert (settings.infinitetalk_size, settings.infinitetalk_precision) == ("480p", "fp8")
    assert (how.frames, how.motion, how.steps, how.shift) == (81, 9, 4, 5.0)
    assert (how.text_guide, how.audio_guide, how.colour) == (1.0, 2.0, 1.0)
    assert (how.grid, how.guided_steps) == (Grid.UNIFORM, 2)
    assert settings.infinitetalk_size_divisor == 1


def test_every_setting_has_a_description() -> None:
    fields = InfiniteTalkSettings.model_fields
    assert all(field.description for field in fields.values())
    own = {name for name in fields if name != "model_storage_path"}
    assert all(name.startswith("infinitetalk_") for name in own)


@pytest.mark.parametrize(
    "wrong",
    [
        {"infinitetalk_frames": 80},
        {"infinitetalk_motion_frames": 8},
        {"infinitetalk_motion_frames": 81},
        {"infinitetalk_steps": 0},
        {"infinitetalk_guided_steps": -1},
        {"infinitetalk_sampling": "none"},
        {"infinitetalk_color": 1.5},
        {"infinitetalk_size": "1080p"},
        {"infinitetalk_precision": "int8"},
        {"infinitetalk_prompt": ""},
        {"infinitetalk_upstream": "/code"},
        {
            "infinitetalk_upstream": "/code",
            "infinitetalk_precision": "bf16",
            "infinitetalk_attention": "flash",
        },
    ],
)
def test_settings_that_cannot_be_rendered_are_refused_at_start_up(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        InfiniteTalkSettings(model_storage_path=Path("/models"), **wrong)  # type: ignore[arg-type]


def test_upstreams_transformer_is_accepted_only_in_a_precision_that_it_supports() -> None:
    settings = InfiniteTalkSettings(
        model_storage_path=Path("/models"),
        infinitetalk_upstream=Path("code"),
        infinitetalk_precision="bf16",
    )
    assert settings.infinitetalk_upstream == Path("code").absolute()


def test_the_weights_folder_must_be_configured() -> None:
    with pytest.raises(ValidationError, match="model_storage_path"):
        InfiniteTalkSettings()  # pyright: ignore[reportCallIssue]


def settings_with(**changes: object) -> InfiniteTalkSettings:
    return InfiniteTalkSettings(model_storage_path=Path("/models"), **changes)  # type: ignore[arg-type]


def test_what_no_setting_says_comes_from_the_weights() -> None:
    found = {name: settings_with().render_settings(recipe) for name, recipe in RECIPES.items()}
    assert {
        name: (how.grid, how.steps, how.shift, how.text_guide, how.audio_guide, how.guided_steps)
        for name, how in found.items()
    } == {
        "lightx2v-4": (Grid.UNIFORM, 4, 5.0, 1.0, 2.0, 2),
        "fusionx": (Grid.UNIFORM, 7, 2.0, 1.0, 2.0, None),
        "undistilled": (Grid.UPSTREAM, 40, 7.0, 5.0, 4.0, None),
        "it-distilled": (Grid.UPSTREAM, 4, 7.0, 1.0, 1.0, None),
    }
    large = settings_with(infinitetalk_size="720p").render_settings(RECIPES["undistilled"])
    assert large.shift == 11.0


def test_a_setting_goes_before_the_recipe() -> None:
    how = settings_with(
        infinitetalk_steps=8, infinitetalk_shift=3.0, infinitetalk_audio_guide=3.0
    ).render_settings(RECIPES["lightx2v-4"])
    assert (how.steps, how.shift, how.audio_guide, how.guided_steps) == (8, 3.0, 3.0, 4)
    every = settings_with(infinitetalk_guided_steps=0).render_settings(RECIPES["lightx2v-4"])
    assert every.guided_steps == 0


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("undistilled", {"infinitetalk_steps": 4}),
        ("lightx2v-4", {"infinitetalk_text_guide": 5.0}),
        ("fusionx", {"infinitetalk_text_guide": 1.5}),
    ],
)
def test_a_contradiction_is_refused_unless_it_is_allowed(
    recipe: RecipeName, changes: dict[str, object]
) -> None:
    with pytest.raises(SamplingRefused) as caught:
        settings_with(**changes).objection(RECIPES[recipe])
    allowed = settings_with(**changes, infinitetalk_sampling="any").objection(RECIPES[recipe])
    assert str(caught.value) == f"{allowed}."
    assert settings_with().objection(RECIPES[recipe]) is None
