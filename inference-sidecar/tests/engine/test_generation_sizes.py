"""Generated sizes, and the smaller ones that follow when memory runs out."""

import pytest

from inference_sidecar.engines.engine import DELIVERY_SIZES, SIZE_CLASSES, Size, next_smaller
from inference_sidecar.engines.infinitetalk.capacity.generation_sizes import (
    GENERATION_SIZES,
    PIXELS_PER_TOKEN,
    GenerationSizes,
    tokens_per_latent_frame,
)

LANDSCAPE, PORTRAIT, SQUARE = DELIVERY_SIZES[:3]


@pytest.mark.parametrize(
    ("size_class", "delivery", "expected"),
    [
        ("432p", LANDSCAPE, (768, 432)),
        ("432p", PORTRAIT, (432, 768)),
        ("432p", SQUARE, (576, 576)),
        ("720p", LANDSCAPE, (1280, 704)),
        ("720p", PORTRAIT, (704, 1280)),
        ("720p", SQUARE, (960, 960)),
        ("480p", LANDSCAPE, (832, 480)),
        ("352p", LANDSCAPE, (640, 352)),
        ("352p", PORTRAIT, (352, 640)),
        ("480p", Size(1120, 896), (704, 576)),
        ("480p", Size(896, 1120), (576, 704)),
        ("720p", Size(1152, 768), (1152, 768)),
        ("432p", Size(768, 1152), (464, 704)),
    ],
)
def test_the_delivered_aspect_selects_the_generated_size(
    size_class: str, delivery: Size, expected: tuple[int, int]
) -> None:
    assert GenerationSizes().of(size_class, delivery) == expected


def test_every_class_has_a_size_for_every_aspect_that_the_model_can_cut_into_tokens() -> None:
    assert set(GENERATION_SIZES) == set(SIZE_CLASSES)
    for size_class in GENERATION_SIZES:
        for delivery in DELIVERY_SIZES:
            size = GenerationSizes().of(size_class, delivery)
            assert size.width % PIXELS_PER_TOKEN == size.height % PIXELS_PER_TOKEN == 0


def test_all_aspects_of_a_class_cost_about_the_same() -> None:
    for landscape, *others in GENERATION_SIZES.values():
        for size in others:
            tokens = tokens_per_latent_frame(size)
            assert tokens == pytest.approx(tokens_per_latent_frame(landscape), rel=0.03)
    landscape, square, *_ = GENERATION_SIZES["432p"]
    assert tokens_per_latent_frame(square) == tokens_per_latent_frame(landscape)


@pytest.mark.parametrize("size_class", SIZE_CLASSES)
@pytest.mark.parametrize("delivery", DELIVERY_SIZES)
def test_little_is_cut_away_for_delivery(size_class: str, delivery: Size) -> None:
    size = GenerationSizes().of(size_class, delivery)
    ratio = (size.width / size.height) / (delivery.width / delivery.height)
    assert min(ratio, 1 / ratio) >= 0.955


@pytest.mark.parametrize("delivery", DELIVERY_SIZES)
def test_the_next_smaller_class_saves_a_quarter_or_more(delivery: Size) -> None:
    sizes = GenerationSizes()
    for size_class in SIZE_CLASSES:
        smaller = next_smaller(size_class)
        if smaller is not None:
            before, after = (
                tokens_per_latent_frame(sizes.of(name, delivery)) for name in (size_class, smaller)
            )
            assert after <= 0.75 * before


def test_tiny_sizes_stay_multiples_of_a_token_and_keep_their_order() -> None:
    sizes = GenerationSizes(16)
    assert sizes.of("432p", LANDSCAPE) == (48, 32)
    assert sizes.of("432p", SQUARE) == (32, 32)
    assert sizes.of("352p", LANDSCAPE) == (32, 16)
    assert GenerationSizes(32).of("352p", PORTRAIT) == (16, 16)
