"""The native forward: what it depends on, and its precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.native.attention import Attention, AttentionBackend
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.native.dit import Dit, build_dit
from inference_sidecar.engines.infinitetalk.native.rope import rotate, rotation
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Text
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (
    random_tensors,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    audio_shapes,
    base_shapes,
)
from stage.noise import noise

TINY = TinySizes()
GRID = (5, 4, 6)
CPU = torch.device("cpu")


def a_transformer(dtype: torch.dtype = torch.float32) -> Dit:
    shapes = base_shapes(TINY) | audio_shapes(TINY)
    tensors = random_tensors(shapes, torch.Generator().manual_seed(1))
    weights = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    return build_dit(weights, {"num_heads": TINY.heads, "text_len": 24}, dtype=dtype)


def conditions(**changes: Tensor | None) -> Conditions:
    given: dict[str, Tensor | None] = {
        "prompt": noise(7, TINY.text_dim, seed=1),
        "negative": noise(9, TINY.text_dim, seed=2),
        "image": noise(257, 1280, seed=3),
        "anchor": noise(20, *GRID, seed=4),
    }
    return Conditions(**(given | changes))  # pyright: ignore[reportArgumentType]


def velocity(
    dit: Dit, told: Conditions, text: Text = Text.PROMPT, voice_seed: int = 5, time: float = 500.0
) -> Tensor:
    with torch.inference_mode():
        conditioned = NativeDenoiser(dit).condition(told)
        audio = conditioned.embed_audio(noise(1, 17, 5, 12, 768, seed=voice_seed))
        return conditioned.predict(noise(16, *GRID), time, text, audio)


def test_every_input_affects_the_velocity() -> None:
    dit = a_transformer()
    base = velocity(dit, conditions())
    assert base.shape == (16, *GRID)
    others = (
        velocity(dit, conditions(), Text.NEGATIVE),
        velocity(dit, conditions(), voice_seed=6),
        velocity(dit, conditions(), time=400.0),
        velocity(dit, conditions(image=noise(257, 1280, seed=9))),
        velocity(dit, conditions(anchor=noise(20, *GRID, seed=9))),
        velocity(dit, conditions(prompt=noise(7, TINY.text_dim, seed=9))),
    )
    for other in others:
        assert (other - base).abs().max() > 1e-3
    assert torch.equal(velocity(dit, conditions(negative=None)), base)


def test_a_latent_frame_depends_on_the_voice_of_its_four_frames_and_two_around_them() -> None:
    dit = a_transformer()
    voice = noise(17, 5, 12, 768, seed=5)
    tokens = dit.audio_projection(voice[None])
    assert tokens.shape == (5, TINY.audio_tokens, TINY.audio_dim)
    changed = voice.clone()
    # Frame 5 starts the second group: the past of its window counts, the future does not.
    changed[5, 3:] += 1
    assert torch.equal(dit.audio_projection(changed[None]), tokens)
    changed[5, 0] += 1
    differs = (dit.audio_projection(changed[None]) != tokens).flatten(1).any(dim=1)
    assert differs.tolist() == [False, False, True, False, False]


def test_bf16_stays_near_float32() -> None:
    exact = velocity(a_transformer(), conditions())
    rough = velocity(a_transformer(torch.bfloat16), conditions())
    assert rough.dtype == torch.float32
    assert ((rough - exact).norm() / exact.norm()) < 0.03


def test_rotary_embedding_preserves_the_length_of_pairs() -> None:
    by = rotation((2, 3, 4), 12, CPU, torch.float64)
    x = noise(24, 2, 12)
    turned = rotate(x, by)
    assert torch.equal(turned[0], x[0])
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    # Two pairs per axis; one step in width rotates only the last two pairs.
    assert torch.equal(turned[1, :, :8], x[1, :, :8])
    assert not torch.allclose(turned[1, :, 8:], x[1, :, 8:])


def test_missing_attention_kernels_are_refused_and_never_replaced() -> None:
    assert Attention(AttentionBackend.AUTO, CPU, torch.float32).backend is AttentionBackend.CPU
    for backend in (AttentionBackend.SAGE, AttentionBackend.CUDNN, AttentionBackend.FLASH):
        with pytest.raises(ValueError, match="needs a CUDA device"):
            Attention(backend, CPU, torch.bfloat16)
    cuda = torch.device("cuda")
    with pytest.raises(ValueError, match="needs bf16"):
        Attention(AttentionBackend.FLASH, cuda, torch.float32)
    with pytest.raises(ValueError, match="cannot run on"):
        Attention(AttentionBackend.CPU, cuda, torch.bfloat16)


def test_a_second_voice_needs_to_be_told_who_hears_it() -> None:
    conditioned = NativeDenoiser(a_transformer()).condition(conditions())
    with pytest.raises(ValueError, match="the second of 2 voices"):
        conditioned.embed_audio(noise(2, 17, 5, 12, 768))
