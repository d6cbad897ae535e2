"""Which part of a picture the video shows: it is scaled to cover the frame, and cut around heads.

The cut never leaves the picture. It keeps the whole heads if the frame is large enough, then puts
the eyes at two fifths of its height and the face in the middle, as far as the picture reaches. No
torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from inference_sidecar.engines.engine import Box, Size
from inference_sidecar.engines.faces.face_finder import Face
from inference_sidecar.engines.faces.face_mesh import CHIN, FOREHEAD

_EYES: Final = (33, 263)
_EYE_LINE: Final = 0.4
"""Height of the eyes, from the top of the frame; in a box that is said to hold a head, too."""
_HAIR_ABOVE_FACE: Final = 0.45
_ROOM_BELOW_CHIN: Final = 0.15
"""How far a head reaches beyond its face, in face heights."""
_ROOM_BESIDE_FACE: Final = 0.1
"""On each side, in face widths."""
_ROOM_ABOVE_EYES: Final = 0.1
"""In face heights, where not even the face fits."""
_PARTS: Final = 3
SAME_PERSON: Final = 2.0
"""Head heights that a head may move from one window to the next."""


class Cut(NamedTuple):
    """source: size of the picture. size: of the frame. left, top: corner of the frame, in pixels of
    the scaled picture."""

    source: Size
    size: Size
    left: int
    top: int

    @property
    def scale(self) -> float:
        """The picture covers the frame with it."""
        return max(self.size.height / self.source.height, self.size.width / self.source.width)

    @property
    def scaled(self) -> Size:
        """The scaled picture, rounded up to whole pixels."""
        return Size(
            math.ceil(self.scale * self.source.width), math.ceil(self.scale * self.source.height)
        )

    def shows(self, x: float, y: float) -> bool:
        """Whether a point of the picture is in the frame."""
        across, down = x * self.scale - self.left, y * self.scale - self.top
        return 0 <= across < self.size.width and 0 <= down < self.size.height


class Span(NamedTuple):
    """From a pixel of the picture to another one, along a side."""

    start: float
    end: float


class Head(NamedTuple):
    """Where a head is. Lengths are in pixels of the picture, and may reach beyond it.

    columns, rows: what is to be shown along each side, the most first: the head, the face, and from
    the eyes to the chin. eyes: their middle.
    """

    columns: tuple[Span, ...]
    rows: tuple[Span, ...]
    eyes: tuple[float, float]

    @classmethod
    def of(cls, face: Face) -> Head:
        """The head around a face, whichever way up it is."""
        points = face.landmarks
        down = points[CHIN] - points[FOREHEAD]
        crown = points[FOREHEAD] - _HAIR_ABOVE_FACE * down
        neck = points[CHIN] + _ROOM_BELOW_CHIN * down
        eyes = points[list(_EYES)].mean(axis=0)
        beside = np.array([_ROOM_BESIDE_FACE * np.ptp(points[:, 0]), 0])
        head = np.stack([*(points - beside), *(points + beside), crown, neck])
        parts = (head, points, np.stack([eyes - _ROOM_ABOVE_EYES * down, points[CHIN]]))
        columns, rows = (
            tuple(Span(float(part[:, axis].min()), float(part[:, axis].max())) for part in parts)
            for axis in (0, 1)
        )
        return cls(columns, rows, (float(eyes[0]), float(eyes[1])))

    @classmethod
    def within(cls, source: Size, box: Box) -> Head:
        """The head that a caller's box holds, where no face was found."""
        columns = Span(box.left * source.width, box.right * source.width)
        rows = Span(box.top * source.height, box.bottom * source.height)
        eyes = (
            (columns.start + columns.end) / 2,
            rows.start + _EYE_LINE * (rows.end - rows.start),
        )
        return cls((columns,) * _PARTS, (rows,) * _PARTS, eyes)

    def distance(self, face: Face) -> float:
        """From the eyes to the middle of a face, in head heights."""
        whole = self.rows[0]
        apart = np.hypot(*(face.landmarks.mean(axis=0) - self.eyes))
        return float(apart / max(whole.end - whole.start, 1.0))


def centre_cut(source: Size, size: Size) -> Cut:
    """The middle of the picture, as upstream cuts it."""
    scaled = Cut(source, size, 0, 0).scaled
    # torchvision's rounding decides which side loses an odd pixel.
    left = round((scaled.width - size.width) / 2.0)
    top = round((scaled.height - size.height) / 2.0)
    return Cut(source, size, left, top)


def cut_around(source: Size, size: Size, heads: Sequence[Head]) -> Cut:
    """Around all of these heads: those of both speakers, or one at several times. Without any, the
    middle."""
    centre = centre_cut(source, size)
    if not heads:
        return centre
    scale, scaled = centre.scale, centre.scaled
    columns, rows = _joined([h.columns for h in heads]), _joined([h.rows for h in heads])
    middle = heads[0].eyes[0] if len(heads) == 1 else (columns[0].start + columns[0].end) / 2
    eyes = sum(head.eyes[1] for head in heads) / len(heads)
    shown = size.width / scale, size.height / scale
    left = _start(middle - shown[0] / 2, columns, shown[0], source.width)
    top = _start(eyes - _EYE_LINE * shown[1], rows, shown[1], source.height)
    return Cut(
        source,
        size,
        min(max(round(left * scale), 0), scaled.width - size.width),
        min(max(round(top * scale), 0), scaled.height - size.height),
    )


def _start(wanted: float, kept: Sequence[Span], shown: float, length: int) -> float:
    """Where to start to show so much of a side: near `wanted`, with the first of `kept` that fits
    in whole. What fits is not cut; of what does not, the part near `wanted` is shown."""
    for span in kept:
        start, end = max(span.start, 0.0), min(span.end, float(length))
        if end - start <= shown:
            return min(max(wanted, end - shown), start)
    return wanted


def _joined(parts: Sequence[tuple[Span, ...]]) -> tuple[Span, ...]:
    """Each part of all heads, and what is between them."""
    return tuple(
        Span(min(span.start for span in spans), max(span.end for span in spans))
        for spans in zip(*parts, strict=True)
    )
