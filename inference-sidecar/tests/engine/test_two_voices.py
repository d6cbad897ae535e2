"""Two voices in the transformer: the map of who speaks, the gate, and what the branches hear."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.native.attention import Attention, AttentionBackend
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.native.dit import Dit, build_dit
from inference_sidecar.engines.infinitetalk.native.who import (
    explicit_map,
    fused_map,
    positions_of,
)
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    Conditions,
    Listeners,
    Text,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (
    random_tensors,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    audio_shapes,
    base_shapes,
)
from stage.noise import noise
from stage.tiny_engine import TINY

CPU = torch.device("cpu")
HEIGHT, WIDTH, LATENT_FRAMES = 4, 8, 3
CONFIG = {"num_heads": TINY.heads, "text_len": TINY.text_tokens}
LATENT = noise(16, LATENT_FRAMES, HEIGHT, WIDTH, seed=3)
VOICES = noise(2, 9, 5, 12, 768, seed=4)


@pytest.fixture(scope="module")
def dit() -> Dit:
    """With both branches."""
    single = random_tensors(base_shapes(TINY) | audio_shapes(TINY), torch.Generator())
    multi = random_tensors(audio_shapes(TINY), torch.Generator().manual_seed(1))
    return build_dit(single, CONFIG, multi=multi)


def halves(*, is_gated: bool = False) -> Listeners:
    masks = torch.zeros(3, HEIGHT, WIDTH)
    masks[0, :, :2] = masks[1, :, 4:6] = 1
    masks[2] = 1 - masks[:2].sum(dim=0)
    return Listeners(masks, is_gated)


def velocity(
    dit: Dit, voices: Tensor, listeners: Listeners | None = None, strength: float = 1.0
) -> Tensor:
    conditions = Conditions(
        prompt=noise(5, TINY.text_dim, seed=5),
        negative=None,
        image=noise(257, 1280, seed=6),
        anchor=noise(20, LATENT_FRAMES, HEIGHT, WIDTH, seed=7),
        listeners=listeners,
        strength=strength,
    )
    with torch.inference_mode():
        given = NativeDenoiser(dit).condition(conditions)
        return given.predict(LATENT, 500.0, Text.PROMPT, given.embed_audio(voices))


def test_who_is_where_may_change_with_the_picture(dit: Dit) -> None:
    there, here = halves(), halves()
    here = Listeners(here.masks[[1, 0, 2]])
    old, new = (noise(257, 1280, seed=seed) for seed in (6, 8))
    anchors = [noise(20, LATENT_FRAMES, HEIGHT, WIDTH, seed=seed) for seed in (7, 9)]
    prompt = noise(5, TINY.text_dim, seed=5)
    with torch.inference_mode():
        first = NativeDenoiser(dit).condition(Conditions(prompt, None, old, anchors[0], there))
        moved = first.anchored(new, anchors[1], here)
        anew = NativeDenoiser(dit).condition(Conditions(prompt, None, new, anchors[1], here))
        audio = first.embed_audio(VOICES)
        seen, wanted, stayed = (
            given.predict(LATENT, 500.0, Text.PROMPT, audio)
            for given in (moved, anew, first.anchored(new, anchors[1], there))
        )
    assert torch.equal(seen, wanted)
    assert not torch.equal(seen, stayed)


def test_the_fused_map_is_the_explicit_one_up_to_rounding() -> None:
    query, key = noise(24, 2, 24), noise(24, 2, 24, seed=1)
    masks = torch.zeros(3, 8)
    masks[0, :3] = masks[1, 4:6] = masks[2, 6:] = 1
    attend = Attention(AttentionBackend.CPU, CPU, torch.float32)
    explicit = explicit_map(query, key, masks)
    assert (fused_map(query, key, masks, attend) - explicit).abs().max() <= 1e-6
    assert explicit.std() > 1e-3


def test_each_token_is_placed_in_the_range_of_who_it_looks_at() -> None:
    found = torch.tensor([[0.9, 0.1, 0.2, 0.5], [0.1, 0.8, 0.2, 0.3], [0.2, 0.2, 0.9, 0.1]])
    places = positions_of(found, torch.ones(3, 4))
    assert places[0] == pytest.approx(4.0, abs=1e-5)
    assert places[1] == pytest.approx(24.0, abs=1e-5)
    assert places[2] == 12.0
    assert places[3] == pytest.approx(2.0, abs=1e-5)


def test_a_background_without_a_token_takes_no_part() -> None:
    found = torch.tensor([[0.9, 0.1], [0.1, 0.8], [float("nan"), float("nan")]])
    masks = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert positions_of(found, masks).tolist() == pytest.approx([4.0, 24.0], abs=1e-5)


def test_who_hears_what_decides_the_frames(dit: Dit) -> None:
    usual = velocity(dit, VOICES, halves())
    assert usual.isfinite().all()
    swapped = Listeners(halves().masks[[1, 0, 2]])
    for other in (
        velocity(dit, VOICES, swapped),
        velocity(dit, VOICES.flip(0), halves()),
        velocity(dit, VOICES.flip(0), swapped),
        velocity(dit, VOICES[:1].repeat(2, 1, 1, 1, 1), halves()),
    ):
        assert (other - usual).abs().max() > 1e-2


def test_two_voices_take_the_branch_of_two_and_one_voice_that_of_one(dit: Dit) -> None:
    single = random_tensors(base_shapes(TINY) | audio_shapes(TINY), torch.Generator())
    alone = build_dit(single, CONFIG)
    assert torch.equal(velocity(dit, VOICES[:1]), velocity(alone, VOICES[:1]))
    assert not torch.equal(velocity(dit, VOICES, halves()), velocity(alone, VOICES, halves()))


def test_a_gate_over_everything_is_no_gate_to_the_bit(dit: Dit) -> None:
    plain = velocity(dit, VOICES[:1])
    everything = Listeners(torch.ones(2, HEIGHT, WIDTH), is_gated=True)
    assert torch.equal(velocity(dit, VOICES, everything), plain)
    half = velocity(dit, VOICES, halves(is_gated=True))
    assert not torch.equal(half, plain)
    # Closed everywhere, it is the second voice alone.
    closed = Listeners(torch.zeros(2, HEIGHT, WIDTH), is_gated=True)
    assert torch.equal(velocity(dit, VOICES, closed), velocity(dit, VOICES[1:]))


def test_strength_scales_what_the_voice_adds(dit: Dit) -> None:
    usual, louder = velocity(dit, VOICES[:1]), velocity(dit, VOICES[:1], strength=1.5)
    assert torch.equal(velocity(dit, VOICES[:1], strength=1.0), usual)
    assert not torch.equal(louder, usual)
    # Without strength, no voice is heard at all.
    deaf = velocity(dit, VOICES[:1], strength=0.0)
    assert torch.equal(deaf, velocity(dit, VOICES[1:], strength=0.0))
