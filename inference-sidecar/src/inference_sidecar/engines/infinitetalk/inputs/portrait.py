"""The portrait at generation size: scaled until it covers the frame, then cut around the centre."""

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
    """`[3, H, W]` float32 in -1..1.

    is_repaired: turned upright by its EXIF orientation and flattened on white; upstream does
    neither, and shows whatever lies beneath a transparent pixel.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = _repaired(image) if is_repaired else image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as cause:
        raise ImageUnreadable(f"{path.name} is no image that can be read.") from cause
    return _to_tensor(_cover(upright, size))


def _repaired(image: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(image)
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    layer = turned.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _cover(image: Image.Image, size: Size) -> Image.Image:
    """Scaled up to whole pixels, then cut: never a black edge, never another aspect."""
    scale = max(size.height / image.height, size.width / image.width)
    scaled = image.resize(
        (math.ceil(scale * image.width), math.ceil(scale * image.height)),
        resample=Image.Resampling.BILINEAR,
    )
    # Where one pixel is left over, which side loses it follows torchvision's rounding.
    left = round((scaled.width - size.width) / 2.0)
    top = round((scaled.height - size.height) / 2.0)
    return scaled.crop((left, top, left + size.width, top + size.height))


def _to_tensor(image: Image.Image) -> Tensor:
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return ((levels / 255) - 0.5) * 2
