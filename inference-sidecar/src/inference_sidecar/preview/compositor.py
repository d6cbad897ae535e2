"""Puts a posed face together: head, mouth and eyelids over the still portrait."""

from __future__ import annotations

from dataclasses import dataclass

from inference_sidecar.preview.eyelids import Eyelids
from inference_sidecar.preview.framing import Framing
from inference_sidecar.preview.head_motion import Head, HeadPose
from inference_sidecar.preview.mouth import Mouth, MouthPose
from inference_sidecar.preview.mouth_geometry import measure_mouth
from inference_sidecar.preview.raster import CoarseGrid, Field, Image, Points, Texture, pixel_grid


@dataclass(frozen=True)
class FacePose:
    """Everything that moves in one frame; eyes: how far they are closed, 0 to 1."""

    mouth: MouthPose
    head: HeadPose
    eyes: float


class Compositor:
    """Draws one portrait in any pose. Each call is independent of the ones before."""

    def __init__(self, framing: Framing, landmarks: Points) -> None:
        """landmarks: the mesh in pixels of the portrait."""
        canvas = framing.canvas
        placed = framing.place(landmarks)
        height, width = canvas.shape[:2]
        self._texture = Texture(canvas)
        # All that ever moves is read from the texture, so what never moves is too: else the
        # border between both would show as a change of sharpness.
        self._still = self._texture.at(*pixel_grid(width, height)).copy()
        self._head = Head(placed, width, height)
        self._head_grid = CoarseGrid(*self._head.region())
        self._mouth = Mouth(canvas, self._texture, measure_mouth(canvas, placed))
        self._eyelids = Eyelids(canvas, self._texture, placed)

    def draw(self, frame: Image, pose: FacePose) -> None:
        """Fills a frame `[H, W, 3]` of the canvas' size."""

        def unmove(x: Field, y: Field) -> tuple[Field, Field]:
            return self._head.rest_position(x, y, pose.head)

        frame[:] = self._still
        grid = self._head_grid
        source_x, source_y = (
            grid.spread(self._texture.position(field)) for field in unmove(grid.x, grid.y)
        )
        frame[grid.rows, grid.columns] = self._texture.at_positions(source_x, source_y)
        self._mouth.draw(frame, pose.mouth, unmove)
        self._eyelids.draw(frame, pose.eyes, unmove)
