"""Who is where in the picture: regions of the source become masks at the size of latents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.engine import Box, Size
from inference_sidecar.engines.faces.face_finder import Face
from inference_sidecar.engines.infinitetalk.inputs.cut import Cut
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Listeners
from inference_sidecar.foundation.errors import SpeakerNotFound

_INSET: Final = 0.05
"""Of a strip's width, and of the picture's height, on each side; upstream's halves have it too."""
_PIXELS_PER_LATENT: Final = 8


class Region(NamedTuple):
    """Rows and columns of the source, in pixels; the ends are outside."""

    top: int
    left: int
    bottom: int
    right: int


def upstream_regions(
    source: Size, boxes: Sequence[tuple[int, int, int, int]] | None
) -> tuple[Region, ...]:
    """The regions that upstream makes: boxes of rows and columns, or the two halves.

    boxes: (first row, first column, end row, end column) of each person. Upstream calls them x and
    y, and uses the first as a row.
    """
    if boxes is None:
        middle = source.width // 2
        return strips(source, (0, middle, 2 * middle))
    return tuple(Region(top, left, bottom, right) for top, left, bottom, right in boxes)


def strips(source: Size, edges: Sequence[int]) -> tuple[Region, ...]:
    """A strip between each two neighbouring columns, inset on all sides."""
    top, bottom = int(source.height * _INSET), int(source.height * (1 - _INSET))
    return tuple(
        Region(
            top,
            int((right - left) * _INSET + left),
            bottom,
            int((right - left) * (1 - _INSET) + left),
        )
        for left, right in itertools.pairwise(edges)
    )


def strips_of_faces(source: Size, faces: Sequence[Face]) -> tuple[Region, ...]:
    """A strip for each face, in their order, that reaches halfway to its neighbours."""
    centres = [float(np.mean(face.landmarks[:, 0])) for face in faces]
    order = sorted(range(len(faces)), key=lambda index: centres[index])
    middles = [
        round((centres[left] + centres[right]) / 2) for left, right in itertools.pairwise(order)
    ]
    sorted_strips = strips(source, (0, *middles, source.width))
    return tuple(sorted_strips[order.index(index)] for index in range(len(faces)))


def region_of(source: Size, box: Box) -> Region:
    """The region of a box that is given in shares of the picture."""
    return Region(
        math.floor(box.top * source.height),
        math.floor(box.left * source.width),
        math.ceil(box.bottom * source.height),
        math.ceil(box.right * source.width),
    )


def listeners_of(
    cut: Cut, persons: Sequence[Sequence[Region]], *, is_gated: bool = False
) -> Listeners:
    """The masks of each person's regions in the frame, and the background.

    A person between two tokens gets the nearest one. Raises `SpeakerNotFound` for one who is
    outside the frame.
    """
    drawn = torch.zeros(len(persons), cut.source.height, cut.source.width)
    for mask, regions in zip(drawn, persons, strict=True):
        for top, left, bottom, right in regions:
            mask[top:bottom, left:right] = 1
    background = (drawn.sum(dim=0) == 0).float()
    masks = _at_latent_size(torch.cat((drawn, background[None])), cut)
    for person, regions in enumerate(persons):
        # The nearest pixel of four stands for a token.
        if not masks[person, ::2, ::2].any():
            row, column = _middle_token(cut, regions)
            masks[:, row : row + 2, column : column + 2] = 0
            masks[person, row : row + 2, column : column + 2] = 1
    return Listeners(masks, is_gated)


def _at_latent_size(masks: Tensor, cut: Cut) -> Tensor:
    """Scaled and cut like the portrait, but by the nearest pixel, and then to latent pixels."""
    width, height = cut.size
    scaled = functional.interpolate(
        masks[None], size=(cut.scaled.height, cut.scaled.width), mode="nearest"
    )
    shown = scaled[:, :, cut.top : cut.top + height, cut.left : cut.left + width]
    latent = (height // _PIXELS_PER_LATENT, width // _PIXELS_PER_LATENT)
    return (functional.interpolate(shown, size=latent, mode="nearest")[0] > 0).float()


def is_shown(cut: Cut, region: Region) -> bool:
    """Whether a part of a region is in the frame."""
    return bool(_places(cut, [region]))


def _middle_token(cut: Cut, regions: Sequence[Region]) -> tuple[int, int]:
    """The latent pixel at which the token in the middle of the largest region begins."""
    places = _places(cut, regions)
    if not places:
        raise SpeakerNotFound(
            "A speaker is outside the part of the picture that the video shows; name one who is"
            " nearer to the others, choose a wider aspect, or crop the picture."
        )
    _, row, column = max(places)
    token = 2 * _PIXELS_PER_LATENT
    return (
        2 * min(int(row) // token, cut.size.height // token - 1),
        2 * min(int(column) // token, cut.size.width // token - 1),
    )


def _places(cut: Cut, regions: Sequence[Region]) -> list[tuple[float, float, float]]:
    """Area, middle row and middle column in the frame, of the regions that are in it."""
    scale = cut.scale
    places: list[tuple[float, float, float]] = []
    for region in regions:
        rows = _within(region.top * scale - cut.top, region.bottom * scale - cut.top, cut.size[1])
        columns = _within(
            region.left * scale - cut.left, region.right * scale - cut.left, cut.size[0]
        )
        if rows and columns:
            area = (rows[1] - rows[0]) * (columns[1] - columns[0])
            places.append((area, sum(rows) / 2, sum(columns) / 2))
    return places


def _within(start: float, end: float, length: int) -> tuple[float, float] | None:
    start, end = max(start, 0.0), min(end, float(length))
    return (start, end) if start < end else None
