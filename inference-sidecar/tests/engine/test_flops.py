"""The arithmetic behind estimates and floors, compared with figures computed by hand."""

import pytest

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.capacity.flops import (
    decode_flops,
    forward_flops,
    tokens_of,
)


@pytest.mark.parametrize(
    ("size", "tokens", "petaflops"),
    [
        (Size(640, 352), 18_480, 0.812),
        (Size(768, 432), 27_216, 1.390),
        (Size(832, 480), 32_760, 1.822),
        (Size(640, 640), 33_600, 1.892),
        (Size(1280, 720), 75_600, 6.857),
    ],
)
def test_a_forward_of_the_published_model_takes_the_known_flops(
    size: Size, tokens: int, petaflops: float
) -> None:
    assert tokens_of(size, 81) == tokens
    assert forward_flops(size, 81).total / 1e15 == pytest.approx(petaflops, rel=1e-3)


def test_attention_grows_quadratically_with_tokens_and_linear_layers_linearly() -> None:
    small, large = (forward_flops(size, 81) for size in (Size(640, 352), Size(1280, 704)))
    assert large.linear / small.linear == pytest.approx(4, rel=0.01)
    assert large.attention / small.attention == pytest.approx(16, rel=0.2)


def test_decoding_is_proportional_to_pixels_and_frames() -> None:
    assert decode_flops(Size(1280, 720), 81) / 1e15 == pytest.approx(0.639, rel=0.01)
