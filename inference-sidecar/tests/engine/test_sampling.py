"""The schedule, the noise and the guidance."""

import pytest
import torch

from inference_sidecar.engines.infinitetalk.recipes import (
    RECIPES,
    RecipeUnknown,
    main,
    recipe_of,
    sigmas_of,
)
from inference_sidecar.engines.infinitetalk.sampling.guidance import Guidance
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Text
from inference_sidecar.engines.infinitetalk.sampling.noise import (
    PerChunkNoise,
    UpstreamNoise,
    make_noise,
)
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    Grid,
    RenderSettings,
    SeedPolicy,
)
from inference_sidecar.engines.infinitetalk.sampling.schedule import timesteps

SHAPE = (16, 5, 2, 4)


def test_timesteps_fall_from_pure_noise_to_zero_and_follow_the_shift() -> None:
    even = timesteps(4, shift=1.0, grid=Grid.UPSTREAM)
    assert even == pytest.approx([1000, 667, 334, 1, 0], abs=1e-3)
    bent = timesteps(4, shift=5.0, grid=Grid.UPSTREAM)
    assert bent == pytest.approx([5 * t / (1 + 4 * t / 1000) for t in even], rel=1e-6)
    assert bent[1] > even[1]


def test_the_four_steps_of_the_published_lora_are_the_noise_levels_it_was_distilled_at(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sigmas_of(RECIPES["lightx2v-4"]) == ["1", ".9375", ".8333", ".6250", "0"]
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "lightx2v-4: uniform grid, 4 steps, shift 5\n  1, .9375, .8333, .6250, 0\n" in printed
    assert all(f"{name}:" in printed for name in RECIPES)


def test_seven_uniform_steps_are_upstreams_eight_without_the_last_forward() -> None:
    uniform = timesteps(7, shift=2.0, grid=Grid.UNIFORM)
    upstream = timesteps(8, shift=2.0, grid=Grid.UPSTREAM)
    assert uniform[:-1] == pytest.approx(upstream[:7], abs=1.5)
    assert upstream[7] == pytest.approx(2, abs=0.01)


def test_the_noise_of_a_chunk_needs_no_other_chunk() -> None:
    noise = PerChunkNoise(7, SHAPE)
    later = noise.draw(3)
    assert torch.equal(PerChunkNoise(7, SHAPE).draw(3), later)
    assert not torch.equal(noise.draw(2), later)
    assert not torch.equal(PerChunkNoise(8, SHAPE).draw(3), later)
    assert later.mean().abs() < 0.2
    assert later.std() == pytest.approx(1, abs=0.1)


def test_upstreams_noise_is_one_stream_including_discarded_draws() -> None:
    settings = RenderSettings(frames=17, motion=5, steps=2, seeds=SeedPolicy.UPSTREAM)
    torch.manual_seed(7)
    first = torch.randn(SHAPE)
    second = torch.randn(SHAPE)
    for _ in range(1 + settings.steps):
        torch.randn(16, settings.motion_latent_frames, 2, 4)
    third = torch.randn(SHAPE)
    noise = make_noise(7, SHAPE, settings)
    for chunk, expected in enumerate((first, second, third)):
        assert torch.equal(noise.draw(chunk), expected)
    resumed = UpstreamNoise(7, SHAPE, settings)
    assert torch.equal(resumed.draw(2), third)
    with pytest.raises(ValueError, match="was drawn before"):
        resumed.draw(1)


@pytest.mark.parametrize(("text", "audio", "passes"), [(1, 1, 1), (1, 2, 2), (5, 1, 2), (5, 4, 3)])
def test_guidance_matches_upstreams_formula_without_unneeded_forwards(
    text: float, audio: float, passes: int
) -> None:
    guidance = Guidance(text, audio)
    assert len(guidance.passes) == passes
    assert guidance.needs_negative == (text != 1)
    seen = {(words, heard): torch.randn(4) for words in Text for heard in (True, False)}
    everything, no_text = seen[Text.PROMPT, True], seen[Text.NEGATIVE, True]
    no_audio, nothing = seen[Text.PROMPT, False], seen[Text.NEGATIVE, False]
    expected = (
        no_audio + audio * (everything - no_audio)
        if text == 1
        else nothing + text * (everything - no_text) + audio * (no_text - nothing)
    )
    combined = guidance.combine([seen[one.text, one.has_audio] for one in guidance.passes])
    assert torch.allclose(combined, expected, atol=1e-5)
    with pytest.raises(ValueError, match="velocities"):
        guidance.combine([everything] * 4)


@pytest.mark.parametrize(("guided", "forwards"), [(None, 8), (0, 4), (2, 6), (4, 8), (9, 8)])
def test_the_voice_guides_the_first_steps_only(guided: int | None, forwards: int) -> None:
    settings = RenderSettings(audio_guide=2.0, guided_steps=guided)
    guidance = Guidance.of(settings)
    assert guidance.forwards(settings.steps) == forwards
    everything, silent = torch.randn(4), torch.randn(4)
    for step in range(settings.steps):
        one = guidance.at(step)
        velocities = [everything, silent][: len(one.passes)]
        is_guided = guided is None or step < guided
        expected = silent + 2 * (everything - silent) if is_guided else everything
        assert torch.equal(one.combine(velocities), expected)


def test_a_step_without_the_voice_is_still_guided_by_the_text() -> None:
    guidance = Guidance(5.0, 4.0, guided_steps=1)
    assert [len(guidance.at(step).passes) for step in range(2)] == [3, 2]


def test_loras_decide_the_recipe_and_an_unknown_one_does_not() -> None:
    known = "8833bd4fd7c8eabebf0bc8ee5cfaf47f4f310ce116928a02c1adf8941dd4b0f1"
    assert recipe_of({}) == "undistilled"
    assert recipe_of({"rank64.safetensors": known}) == "lightx2v-4"
    with pytest.raises(RecipeUnknown, match=r"other\.safetensors"):
        recipe_of({"rank64.safetensors": known, "other.safetensors": "0" * 64})
