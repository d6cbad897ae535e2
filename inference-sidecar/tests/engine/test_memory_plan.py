"""The memory plan, compared with what a render really allocates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import FULL_SIZE, TransformerShape
from inference_sidecar.engines.infinitetalk.capacity.memory_plan import (
    GIB,
    MemoryPlan,
    cached_bytes,
    codec_bytes,
    forward_bytes,
)
from inference_sidecar.engines.infinitetalk.encoders.codec import WanCodec
from inference_sidecar.engines.infinitetalk.settings import Precision

L40S_BYTES = round(44.4 * GIB)
"""What torch reports for a card sold with 48 GB."""
WEIGHTS: dict[Precision, int] = {
    "fp8": round((18.1 + 1.2 + 0.25 + 0.4) * GIB),
    "bf16": round((35.2 + 1.2 + 0.25 + 0.4) * GIB),
}


def plan(precision: Precision = "fp8", **changes: float) -> MemoryPlan:
    given = {"frames": 81, "prompts": 1, "codec_bytes_per_value": 2} | changes
    return MemoryPlan(precision=precision, shape=FULL_SIZE, **given)


@pytest.mark.parametrize(
    ("precision", "size", "is_tiled"),
    [
        ("fp8", Size(768, 432), False),
        ("fp8", Size(832, 480), False),
        ("fp8", Size(1280, 720), False),
        ("bf16", Size(640, 352), False),
        ("bf16", Size(768, 432), False),
        ("bf16", Size(1280, 720), None),
    ],
)
def test_known_sizes_fit_or_do_not_fit_on_an_l40s(
    precision: Precision,
    size: Size,
    is_tiled: bool | None,  # noqa: FBT001 - a column of the table above
) -> None:
    need = plan(precision).fit(size, L40S_BYTES - WEIGHTS[precision])
    assert (need.is_tiled if need else None) == is_tiled


def test_tiling_is_chosen_only_where_it_makes_the_render_fit() -> None:
    size = Size(1280, 720)
    whole, tiled = (plan().need(size, is_tiled=is_tiled) for is_tiled in (False, True))
    assert tiled.codec < whole.codec / 10
    roomy = plan().fit(size, whole.total)
    tight = plan().fit(size, whole.total - 1)
    assert roomy
    assert not roomy.is_tiled
    assert tight
    assert tight.is_tiled
    assert plan().fit(size, tiled.total - 1) is None


def test_a_second_prompt_and_a_float32_codec_are_counted() -> None:
    size = Size(832, 480)
    one, two = (plan(prompts=count).need(size, is_tiled=False) for count in (1, 2))
    assert two.cached - one.cached == 2 * 40 * 512 * 5120 * 2
    exact = plan(codec_bytes_per_value=4).need(size, is_tiled=False)
    assert exact.codec > 1.5 * one.codec


def test_the_forward_memory_of_another_transformer_is_counted() -> None:
    size = Size(832, 480)
    ours, theirs = (plan(forward_memory=factor).need(size, is_tiled=True) for factor in (1.0, 2.5))
    assert theirs.forward == pytest.approx(2.5 * ours.forward)
    assert theirs.total - ours.total == theirs.forward - ours.forward


def test_the_plan_matches_published_measurements() -> None:
    """Published measurements: 7.6 GiB to decode 640x640 in float32, 4.5 GiB for 832x480 in bf16."""
    assert codec_bytes(Size(640, 640), 4, is_tiled=False) / GIB == pytest.approx(7.6, rel=0.1)
    assert codec_bytes(Size(832, 480), 2, is_tiled=False) / GIB == pytest.approx(4.5, rel=0.15)
    assert cached_bytes("bf16", FULL_SIZE, 1) / 1e9 == pytest.approx(0.63, rel=0.01)


def peak_bytes(work: Callable[[], object]) -> int:
    """The peak of allocated memory during a call, according to torch's profiler."""
    with (
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched,
        torch.inference_mode(),
    ):
        work()
    events = [
        event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_forward_allocates_what_the_plan_predicts(
    precision: Precision,
    forward_of: Callable[..., Callable[[], object]],
) -> None:
    shape = TransformerShape(
        dim=512, ffn_dim=1382, layers=2, heads=4, text_tokens=64, audio_tokens=32, audio_dim=768
    )
    size, frames = Size(384, 256), 17
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    work = forward_of(shape, dtype, size, frames)
    work()
    measured = peak_bytes(work)
    planned = forward_bytes(size, frames, precision, shape)
    assert measured <= planned <= 1.5 * measured


def test_a_second_voice_takes_hardly_more_memory(
    forward_of: Callable[..., Callable[[], object]],
) -> None:
    shape = TransformerShape(
        dim=512, ffn_dim=1382, layers=2, heads=4, text_tokens=64, audio_tokens=32, audio_dim=768
    )
    one, two = (forward_of(shape, torch.bfloat16, Size(384, 256), 17, voices) for voices in (1, 2))
    one()
    two()
    assert peak_bytes(two) <= 1.06 * peak_bytes(one)


@pytest.mark.parametrize(
    ("dtype", "bytes_per_value"),
    [
        (torch.float32, 4),
        pytest.param(
            *(torch.bfloat16, 2),
            marks=pytest.mark.skipif(
                torch.backends.cpu.get_cpu_capability() != "AVX512",
                reason="without AVX-512 torch convolves bfloat16 by copies of its own",
            ),
        ),
    ],
)
def test_decoding_allocates_what_the_plan_predicts(
    codec_of_width: Callable[[int, torch.dtype], WanCodec],
    dtype: torch.dtype,
    bytes_per_value: int,
) -> None:
    """Uses a narrower codec than the published one, whose 96 channels the plan assumes."""
    width, size = 64, Size(64, 64)
    codec = codec_of_width(width, dtype)
    latent = torch.randn(16, 3, size.height // 8, size.width // 8)
    measured = peak_bytes(lambda: codec.decode(latent))
    planned = codec_bytes(size, bytes_per_value, is_tiled=False) * width / 96
    assert planned == pytest.approx(measured, rel=0.15)
