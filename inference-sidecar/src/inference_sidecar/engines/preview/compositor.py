"""Composes a posed face: head, mouth and eyelids over the still portrait."""

from __future__ import annotations

from dataclasses import dataclass

from inference_sidecar.engines.preview.eyelids import Eyelids
from inference_sidecar.engines.preview.framing import Framing
from inference_sidecar.engines.preview.head_motion import Head, HeadPose
from inference_sidecar.engines.preview.lip_motion import MouthPose
from inference_sidecar.engines.preview.mouth import Mouth
from inference_sidecar.engines.preview.mouth_geometry import measure_mouth
from inference_sidecar.engines.raster import CoarseGrid, Image, Points, Texture, pixel_grid


@dataclass(frozen=True)
class FacePose:
    """Everything that moves in a frame. eyes: 0 open to 1 closed."""

    mouth: MouthPose
    head: HeadPose
    eyes: float


class Compositor:
    """Draws one portrait in any pose. Calls are independent of each other."""

    def __init__(self, framing: Framing, landmarks: Points, *, moves_mouth: bool = True) -> None:
        """landmarks: the mesh in pixels of the portrait. moves_mouth: without it the lower face
        only moves with the head, because something covers the mouth."""
        canvas = framing.canvas
        placed = framing.place(landmarks)
        height, width = canvas.shape[:2]
        self._texture = Texture(canvas)
        # Moving pixels are read from the texture, so the still ones are too: otherwise the border
        # between them would show as a change of sharpness.
        self._still = self._texture.at(*pixel_grid(width, height)).copy()
        head = Head(framing, landmarks)
        self._grid = CoarseGrid(*head.region())
        self._head = head.over(self._grid)
        self._mouth = (
            Mouth(canvas, self._texture, measure_mouth(canvas, placed), head)
            if moves_mouth
            else None
        )
        self._eyelids = Eyelids(canvas, self._texture, placed, head)

    def draw(self, frame: Image, pose: FacePose) -> None:
        """Fills a frame `[H, W, 3]` of the canvas' size."""
        frame[:] = self._still
        grid = self._grid
        source_x, source_y = (
            grid.spread(self._texture.position(field))
            for field in self._head.rest_position(pose.head)
        )
        frame[grid.rows, grid.columns] = self._texture.at_positions(source_x, source_y)
        if self._mouth is not None:
            self._mouth.draw(frame, pose.mouth, pose.head)
        self._eyelids.draw(frame, pose.eyes, pose.head)
