"""The engine's environment variables."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings


def test_the_defaults_suit_one_l40s() -> None:
    settings = InfiniteTalkSettings(model_storage_path=Path("/models"))
    how = settings.render_settings()
    assert (settings.infinitetalk_size, settings.infinitetalk_precision) == ("432p", "fp8")
    assert (how.frames, how.motion, how.steps, how.shift) == (81, 9, 4, 5.0)
    assert (how.text_guide, how.audio_guide, how.colour) == (1.0, 1.0, 1.0)
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
