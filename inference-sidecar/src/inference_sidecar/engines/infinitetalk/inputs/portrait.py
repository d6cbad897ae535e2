"""Reads the portrait at generation size: scaled to cover the frame, then cropped at the centre."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from inference_sidecar.engines.engine import Size
from inference_sidecar.foundation.errors import ImageUnreadable


def read_portrait(path: Path, size: Size, *, is_repaired: bool = True) -> Tensor:
    """`[3, H, W]` float32 in -1..1. Raises `ImageUnreadable`.

    is_repaired: applies the EXIF orientation and flattens transparency on white. Upstream does
    neither, and shows the hidden colour of transparent pixels.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = _repaired(image) if is_repaired else image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as cause:
        raise ImageUnreadable(f"{path.name} is not a readable image.") from cause
    return picture_of(upright, size)


def picture_of(image: Image.Image, size: Size) -> Tensor:
    """An RGB image at generation size, like `read_portrait`."""
    return _to_tensor(_cover(image, size))


def _repaired(image: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(image)
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    layer = turned.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _cover(image: Image.Image, size: Size) -> Image.Image:
    """Scales, rounding up to whole pixels, and crops: never a black edge, never another aspect."""
    scale = max(size.height / image.height, size.width / image.width)
    scaled = image.resize(
        (math.ceil(scale * image.width), math.ceil(scale * image.height)),
        resample=Image.Resampling.BILINEAR,
    )
    # torchvision's rounding decides which side loses an odd pixel.
    left = round((scaled.width - size.width) / 2.0)
    top = round((scaled.height - size.height) / 2.0)
    return scaled.crop((left, top, left + size.width, top + size.height))


def _to_tensor(image: Image.Image) -> Tensor:
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return ((levels / 255) - 0.5) * 2
