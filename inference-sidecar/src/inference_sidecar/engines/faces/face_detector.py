"""Finds faces with MediaPipe's BlazeFace models (an SSD with one class and six key points)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_sidecar.engines.faces.tflite_model import TfliteModel
from inference_sidecar.engines.raster import Image, Points, warp_affine

_MIN_SCORE: Final = 0.55
_MOST_OVERLAP: Final = 0.3
"""Of two faces: intersection over union."""
_SCORE_LIMIT: Final = 80.0
"""Raw scores are clipped here before the sigmoid, where float32 would overflow."""


@dataclass(frozen=True)
class DetectedFace:
    """A face in image pixels: box corners, both eyes (left of the picture first), score 0 to 1."""

    box: tuple[float, float, float, float]
    eyes: Points
    score: float

    @property
    def area(self) -> float:
        """Area of the box in pixels²."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    def overlaps(self, other: DetectedFace) -> bool:
        """Whether both boxes are taken for one face: their intersection is large enough a part of
        their union. A face in front of a larger one is a face of its own."""
        left, top = max(self.box[0], other.box[0]), max(self.box[1], other.box[1])
        right, bottom = min(self.box[2], other.box[2]), min(self.box[3], other.box[3])
        shared = max(right - left, 0.0) * max(bottom - top, 0.0)
        return shared > _MOST_OVERLAP * (self.area + other.area - shared)


@dataclass(frozen=True)
class _Grid:
    """The layout of a model's anchors: (cells per side, anchors per cell) of each layer."""

    file_name: str
    layers: tuple[tuple[int, int], ...]

    def anchors(self) -> Points:
        """Anchor centres in the unit square, in the order of the model's outputs.

        After MediaPipe's `ssd_anchors_calculator.cc`; layers of one stride share their cells.
        """
        centres: list[Points] = []
        for cells, per_cell in self.layers:
            along = (np.arange(cells, dtype=np.float32) + 0.5) / cells
            grid = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
            centres.append(np.repeat(grid, per_cell, axis=0))
        return np.concatenate(centres).astype(np.float32)


_CLOSE: Final = _Grid("face_detection_back.tflite", ((16, 2), (8, 6)))
_FAR: Final = _Grid("face_detection_full_range_sparse.tflite", ((48, 1),))


class FaceDetector:
    """Looks for close faces first, then for smaller ones."""

    def __init__(self) -> None:
        self._stages = [(TfliteModel(grid.file_name), grid.anchors()) for grid in (_CLOSE, _FAR)]

    def find_faces(self, image: Image) -> list[DetectedFace]:
        """The faces, the most prominent one by area and score first."""
        for model, anchors in self._stages:
            faces = _detect(image, model, anchors)
            if faces:
                return _without_overlaps(faces)
        return []


def _without_overlaps(faces: list[DetectedFace]) -> list[DetectedFace]:
    """One candidate of each face, the most prominent face first."""
    kept: list[DetectedFace] = []
    for face in sorted(faces, key=lambda face: -face.area * face.score):
        if not any(face.overlaps(other) for other in kept):
            kept.append(face)
    return kept


def _detect(image: Image, model: TfliteModel, anchors: Points) -> list[DetectedFace]:
    """All candidates above the threshold, including overlapping ones."""
    height, width = image.shape[:2]
    scale = model.side_px / max(height, width)
    offset_x, offset_y = (model.side_px - width * scale) / 2, (model.side_px - height * scale) / 2
    letterbox = np.array([[scale, 0, offset_x], [0, scale, offset_y]], np.float32)
    pixels = warp_affine(image, letterbox, model.side_px, model.side_px).astype(np.float32)
    regressors, raw_scores = model(pixels / np.float32(127.5) - 1)
    scores = 1 / (1 + np.exp(-np.clip(raw_scores[:, 0], -_SCORE_LIMIT, _SCORE_LIMIT)))
    faces: list[DetectedFace] = []
    for index in np.flatnonzero(scores > _MIN_SCORE):
        # Eight pairs: centre and size of the box, then six key points, eyes first.
        pairs = regressors[index].reshape(8, 2) / model.side_px
        size = pairs[1].copy()
        pairs = (pairs + anchors[index]) * model.side_px
        to_image = (pairs - (offset_x, offset_y)) / scale
        half = size * model.side_px / scale / 2
        (left, top), (right, bottom) = to_image[0] - half, to_image[0] + half
        if right > left and bottom > top:
            box = (float(left), float(top), float(right), float(bottom))
            faces.append(DetectedFace(box, to_image[2:4].astype(np.float32), float(scores[index])))
    return faces
