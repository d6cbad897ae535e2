"""Places a portrait of any shape on a canvas of the generation size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.faces.face_mesh import CHIN, FOREHEAD
from inference_sidecar.engines.raster import (
    Field,
    Image,
    Points,
    blur_image,
    mix,
    resize,
    warp_affine,
)

_HAIR_ABOVE_FACE: Final = 0.45
_ROOM_BELOW_CHIN: Final = 0.15
"""How far the head extends beyond the mesh, in face heights."""
_EYE_LINE: Final = 0.40
"""Height of the eyes, from the top of the frame."""
_EYES: Final = (33, 263)
_SIDE_FEATHER: Final = 0.06
_SIDE_DIM: Final = 0.8
_BACKDROP_SHRINK: Final = 8
_BACKDROP_SIGMA_PX: Final = 6.0


@dataclass(frozen=True)
class Framing:
    """canvas: the portrait at generation size. matrix: 2x3, from portrait to canvas pixels."""

    portrait: Image
    canvas: Image
    matrix: Field

    def place(self, points: Points) -> Points:
        """Maps points of the portrait to the canvas."""
        return (points @ self.matrix[:, :2].T + self.matrix[:, 2]).astype(np.float32)

    def bounds(self) -> Points:
        """The first and the last pixel (x, y) of the canvas that show the portrait itself."""
        height, width = self.portrait.shape[:2]
        corners = self.place(np.array([[0, 0], [width - 1, height - 1]], np.float32))
        rows, columns = self.canvas.shape[:2]
        return np.clip(corners, 0, [columns - 1, rows - 1]).astype(np.float32)

    def in_portrait(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Maps positions on the canvas to the portrait."""
        scale, (left, top) = self.matrix[0, 0], self.matrix[:, 2]
        return (x - left) / scale, (y - top) / scale


def frame_portrait(portrait: Image, landmarks: Points, size: Size) -> Framing:
    """Fills the canvas if the whole head fits, otherwise places the portrait on a backdrop.

    The crop centres the face and puts the eyes at `_EYE_LINE`, as far as the picture reaches.
    """
    height, width = portrait.shape[:2]
    cover = max(size.width / width, size.height / height)
    top, chin = float(landmarks[FOREHEAD, 1]), float(landmarks[CHIN, 1])
    head_top = max(0.0, top - _HAIR_ABOVE_FACE * (chin - top))
    head_bottom = min(float(height), chin + _ROOM_BELOW_CHIN * (chin - top))
    face_left, face_right = float(landmarks[:, 0].min()), float(landmarks[:, 0].max())
    fits = (head_bottom - head_top) * cover <= size.height
    if fits and (face_right - face_left) * cover * 1.2 <= size.width:
        eyes = landmarks[list(_EYES)].mean(axis=0)
        left = float(eyes[0]) - size.width / cover / 2
        upper = float(eyes[1]) - _EYE_LINE * size.height / cover
        upper = min(max(upper, head_bottom - size.height / cover), head_top)
        left = min(max(left, 0.0), width - size.width / cover)
        upper = min(max(upper, 0.0), height - size.height / cover)
        matrix = np.array([[cover, 0, -left * cover], [0, cover, -upper * cover]], np.float32)
        return Framing(portrait, _draw(portrait, matrix, size), _with_pixel_centres(matrix))
    return _on_backdrop(portrait, size)


def _draw(portrait: Image, matrix: Field, size: Size) -> Image:
    """Scales the portrait with a suitable filter and crops the canvas from it."""
    scale = float(matrix[0, 0])
    height, width = portrait.shape[:2]
    scaled = resize(portrait, round(width * scale), round(height * scale))
    shift = np.array([[1, 0, matrix[0, 2]], [0, 1, matrix[1, 2]]], np.float32).round()
    return warp_affine(scaled, shift.astype(np.float32), size.width, size.height)


def _with_pixel_centres(matrix: Field) -> Field:
    """Converts a matrix for edge-based coordinates to one for pixel centres."""
    scale = matrix[0, 0]
    shifted = matrix.round().astype(np.float32)
    shifted[:, :2] = matrix[:, :2]
    shifted[:, 2] += (scale - 1) / 2
    return shifted


def _on_backdrop(portrait: Image, size: Size) -> Framing:
    """The whole portrait, centred on a blurred and dimmed copy of itself that fills the canvas."""
    height, width = portrait.shape[:2]
    contain = min(size.width / width, size.height / height)
    cover = max(size.width / width, size.height / height)
    centring = [
        np.array(
            [[s, 0, (size.width - width * s) / 2], [0, s, (size.height - height * s) / 2]],
            np.float32,
        )
        for s in (contain, cover)
    ]
    behind = _draw(portrait, centring[1], size)
    small = resize(behind, size.width // _BACKDROP_SHRINK, size.height // _BACKDROP_SHRINK)
    soft = resize(blur_image(small, _BACKDROP_SIGMA_PX), size.width, size.height)
    backdrop = (soft * _SIDE_DIM).astype(np.uint8)
    front = _draw(portrait, centring[0], size)
    alpha = _soft_rectangle(size, width * contain, height * contain)
    return Framing(portrait, mix(backdrop, front, alpha), _with_pixel_centres(centring[0]))


def _soft_rectangle(size: Size, width: float, height: float) -> Field:
    """1 inside the centred rectangle, fading to 0 at its edges that are inside the canvas."""
    feather = _SIDE_FEATHER * min(size)

    def along(length: int, inner: float) -> Field:
        if inner >= length - 1:
            return np.ones(length, np.float32)
        distance = inner / 2 - np.abs(np.arange(length) + 0.5 - length / 2)
        ramp = np.clip(distance / feather, 0, 1)
        return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)

    return np.outer(along(size.height, height), along(size.width, width)).astype(np.float32)
