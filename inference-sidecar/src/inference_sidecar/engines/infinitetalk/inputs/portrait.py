"""Reads the portrait at generation size: scaled to cover the frame, then cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from inference_sidecar.engines.infinitetalk.inputs.cut import Cut
from inference_sidecar.foundation.errors import ImageUnreadable


def read_portrait(path: Path, cut: Cut, *, is_repaired: bool = True) -> Tensor:
    """The part of the picture that `cut` shows: `[3, H, W]` float32 in -1..1.

    Raises `ImageUnreadable`.

    is_repaired: applies the EXIF orientation and flattens transparency on white. Upstream does
    neither, and shows the hidden colour of transparent pixels.
    """
    try:
        with Image.open(path) as image:
            image.load()
            upright = _repaired(image) if is_repaired else image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError) as cause:
        raise ImageUnreadable(f"{path.name} is not a readable image.") from cause
    return picture_of(upright, cut)


def picture_of(image: Image.Image, cut: Cut) -> Tensor:
    """A part of an RGB image, like `read_portrait`: never a black edge, never another aspect."""
    scaled = image.resize(cut.scaled, resample=Image.Resampling.BILINEAR)
    right, bottom = cut.left + cut.size.width, cut.top + cut.size.height
    return _to_tensor(scaled.crop((cut.left, cut.top, right, bottom)))


def _repaired(image: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(image)
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    layer = turned.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _to_tensor(image: Image.Image) -> Tensor:
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return ((levels / 255) - 0.5) * 2
