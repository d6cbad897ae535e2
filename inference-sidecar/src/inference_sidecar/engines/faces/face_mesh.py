"""Finds 468 landmarks of a face, with MediaPipe's face mesh model."""

from __future__ import annotations

from typing import Final

import numpy as np

from inference_sidecar.engines.faces.face_detector import DetectedFace
from inference_sidecar.engines.faces.tflite_model import TfliteModel
from inference_sidecar.engines.raster import Image, Points, warp_affine

_MODEL: Final = "face_landmark.tflite"
_CROP_SCALE: Final = 1.5
"""The model was trained on crops this many times as large as the face's box."""
_MIN_CONFIDENCE: Final = 0.5
_LEFT_EYE_OUTER: Final = 33
_RIGHT_EYE_OUTER: Final = 263
LANDMARKS: Final = 468
FOREHEAD: Final = 10
"""The landmark at its top, where the face ends."""
CHIN: Final = 152


class FaceMesh:
    """Fits the mesh to a detected face."""

    def __init__(self) -> None:
        self._model = TfliteModel(_MODEL)

    def locate(self, image: Image, face: DetectedFace) -> Points | None:
        """Landmarks `[468, 2]` in image pixels, or None if the model sees no face there.

        Runs twice: the second crop follows the first result, which is more stable than the box.
        """
        left, top, right, bottom = face.box
        points = self._locate_in(image, np.array([[left, top], [right, bottom]]), face.eyes)
        if points is None:
            return None
        eyes = points[[_LEFT_EYE_OUTER, _RIGHT_EYE_OUTER]]
        return self._locate_in(image, points, eyes)

    def _locate_in(self, image: Image, around: Points, eyes: Points) -> Points | None:
        """Runs the model on a square around the points, rotated until the eyes are level."""
        side = self._model.side_px
        low, high = around.min(axis=0), around.max(axis=0)
        centre = (low + high) / 2
        scale = side / (float((high - low).max()) * _CROP_SCALE)
        along = eyes[1] - eyes[0]
        cosine, sine = along / np.hypot(*along) * scale
        turn = np.array([[cosine, sine], [-sine, cosine]], np.float32)
        matrix = np.column_stack([turn, side / 2 - turn @ centre]).astype(np.float32)
        pixels = warp_affine(image, matrix, side, side).astype(np.float32) / np.float32(255)
        landmarks, confidence = self._model(pixels)
        if 1 / (1 + np.exp(-float(confidence.reshape(-1)[0]))) < _MIN_CONFIDENCE:
            return None
        in_crop = landmarks.reshape(LANDMARKS, 3)[:, :2]
        return ((in_crop - matrix[:, 2]) @ np.linalg.inv(turn).T).astype(np.float32)
