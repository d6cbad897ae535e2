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

    columns, rows: of the head. face_columns, face_rows: of the face. eyes: their middle.
    """

    columns: Span
    rows: Span
    face_columns: Span
    face_rows: Span
    eyes: tuple[float, float]

    @classmethod
    def of(cls, face: Face) -> Head:
        """The head around a face, whichever way up it is."""
        points = face.landmarks
        down = points[CHIN] - points[FOREHEAD]
        crown = points[FOREHEAD] - _HAIR_ABOVE_FACE * down
        neck = points[CHIN] + _ROOM_BELOW_CHIN * down
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        beside = _ROOM_BESIDE_FACE * (right - left)
        x, y = points[list(_EYES)].mean(axis=0)
        return cls(
            Span(
                float(min(left - beside, crown[0], neck[0])),
                float(max(right + beside, crown[0], neck[0])),
            ),
            Span(float(min(top, crown[1], neck[1])), float(max(bottom, crown[1], neck[1]))),
            Span(float(left), float(right)),
            Span(float(top), float(bottom)),
            (float(x), float(y)),
        )

    @classmethod
    def within(cls, source: Size, box: Box) -> Head:
        """The head that a caller's box holds, where no face was found."""
        columns = Span(box.left * source.width, box.right * source.width)
        rows = Span(box.top * source.height, box.bottom * source.height)
        eyes = (
            (columns.start + columns.end) / 2,
            rows.start + _EYE_LINE * (rows.end - rows.start),
        )
        return cls(columns, rows, columns, rows, eyes)

    def distance(self, face: Face) -> float:
        """From the eyes to the middle of a face, in head heights."""
        apart = np.hypot(*(face.landmarks.mean(axis=0) - self.eyes))
        return float(apart / max(self.rows.end - self.rows.start, 1.0))


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
    faces = _joined([head.face_columns for head in heads])
    middle = heads[0].eyes[0] if len(heads) == 1 else (faces.start + faces.end) / 2
    eyes = sum(head.eyes[1] for head in heads) / len(heads)
    left = _start(
        middle - size.width / scale / 2,
        (_joined([head.columns for head in heads]), faces),
        size.width / scale,
        source.width,
    )
    top = _start(
        eyes - _EYE_LINE * size.height / scale,
        (_joined([head.rows for head in heads]), _joined([head.face_rows for head in heads])),
        size.height / scale,
        source.height,
    )
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


def _joined(spans: Sequence[Span]) -> Span:
    return Span(min(span.start for span in spans), max(span.end for span in spans))
