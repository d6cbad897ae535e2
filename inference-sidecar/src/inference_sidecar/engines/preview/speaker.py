"""Chooses who speaks in a portrait, or says why nobody can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.engine import Box
from inference_sidecar.engines.faces.face_finder import Face, FoundFaces
from inference_sidecar.engines.preview.covered_mouth import is_mouth_covered
from inference_sidecar.engines.raster import Image, Points
from inference_sidecar.foundation.contracts import JobWarning
from inference_sidecar.foundation.errors import (
    FaceTooSmall,
    FaceTurned,
    FaceUnusable,
    NoFace,
    SpeakerNotFound,
)

LEAST_FACE_PX: Final = 32
"""Below this height a mouth is three pixels wide."""
_UPSIDE_DOWN_DEGREES: Final = 120
LEAST_FAR_HALF: Final = -0.2
"""About 60 degrees. In photographs the mesh follows the lips until there; in a profile it leaves
the face, and so would the mouth."""
_RIVAL: Final = 0.4
"""Another face is mentioned if it is at least this high, in heights of the one that speaks."""
_LIP_MIDDLES: Final = (13, 14)
_LIPS: Final = (61, 291, 0, 17)


@dataclass(frozen=True)
class Speaker:
    """The face that speaks: its mesh in pixels of the portrait, and what the caller should know."""

    landmarks: Points
    is_mouth_covered: bool
    warnings: tuple[JobWarning, ...]


def choose_speaker(portrait: Image, found: FoundFaces, asked: int | Box | None = None) -> Speaker:
    """The most prominent face, or the one that was asked for: counted from the left, or in a box.

    Raises `NoFace`, `SpeakerNotFound`, and `FaceUnusable` with the reason and the cure.
    """
    if not found.faces:
        if found.may_show_face:
            raise NoFace(
                "No face was found in the image whose features can be located: it may be covered,"
                " turned away or drawn; send a photograph of an uncovered face that looks into the"
                " camera."
            )
        raise NoFace("No face was found in the image; send a frontal portrait of one person.")
    face = found.faces[0] if asked is None else _asked_for(portrait, found, asked)
    _require_usable(portrait, face)
    is_covered = is_mouth_covered(portrait, face.landmarks)
    others = [] if asked is not None else [other for other in found.faces if other is not face]
    warnings = _warnings(portrait, face, others, is_covered=is_covered)
    return Speaker(face.landmarks, is_covered, warnings)


def _asked_for(portrait: Image, found: FoundFaces, asked: int | Box) -> Face:
    faces = sorted(found.faces, key=_middle_x)
    if isinstance(asked, Box):
        height, width = portrait.shape[:2]
        inside = [face for face in found.faces if _is_in(asked, face, width, height)]
        if inside:
            return inside[0]
        raise SpeakerNotFound(
            f"No face was found in the box of the speaker; the image shows {len(faces)}. Draw the"
            " box around the whole face, in shares of the width and height from 0 to 1."
        )
    if asked < len(faces):
        return faces[asked]
    raise SpeakerNotFound(
        f"There is no face number {asked}: the image shows {len(faces)}, counted from the left from"
        " 0. Choose one of these, or send a box."
    )


def _middle_x(face: Face) -> float:
    return float(face.landmarks[:, 0].mean())


def _is_in(box: Box, face: Face, width: int, height: int) -> bool:
    x, y = face.landmarks.mean(axis=0) / (width, height)
    return bool(box.left <= x <= box.right and box.top <= y <= box.bottom)


def _require_usable(portrait: Image, face: Face) -> None:
    tilt = face.tilt_degrees
    if abs(tilt) > _UPSIDE_DOWN_DEGREES:
        raise FaceUnusable("The face is upside down; rotate the image by 180°.")
    if not face.is_upright:
        way = "counterclockwise" if tilt > 0 else "clockwise"
        raise FaceUnusable(f"The face lies on its side; rotate the image by 90° {way}.")
    if face.height_px < LEAST_FACE_PX:
        height, width = portrait.shape[:2]
        raise FaceTooSmall(
            f"The face is too small: it is {face.height_px:.0f} pixels high in an image of"
            f" {width} x {height} pixels, and at least {LEAST_FACE_PX} are needed; crop the image"
            " around the head, or send a larger one."
        )
    if face.far_half < LEAST_FAR_HALF:
        raise FaceTurned(
            "The face is turned too far to the side; send a portrait that looks into the camera."
        )
    middle = face.landmarks[list(_LIP_MIDDLES)].mean(axis=0)
    if not _is_inside(portrait, middle[None]):
        raise FaceUnusable(
            "The edge of the image cuts off the mouth; send a portrait that shows the whole face."
        )


def _warnings(
    portrait: Image, speaker: Face, others: list[Face], *, is_covered: bool
) -> tuple[JobWarning, ...]:
    warnings: list[JobWarning] = []
    rivals = [face for face in others if face.height_px > _RIVAL * speaker.height_px]
    if rivals:
        warnings.append(
            JobWarning(
                code="SEVERAL_FACES",
                message=f"The image shows {len(rivals) + 1} faces; the largest one speaks and the"
                " others stay still. To choose another one, send `speaker` with its number from the"
                " left.",
            )
        )
    if is_covered:
        warnings.append(
            JobWarning(
                code="MOUTH_COVERED",
                message="The mouth seems to be covered, so it stays still and only the head and the"
                " eyes move. Send a portrait with a visible mouth to make it speak.",
            )
        )
    elif not _is_inside(portrait, speaker.landmarks[list(_LIPS)]):
        warnings.append(
            JobWarning(
                code="MOUTH_CUT_OFF",
                message="The edge of the image cuts off a part of the mouth, so its movement ends"
                " there. Send a portrait that shows the whole face.",
            )
        )
    return tuple(warnings)


def _is_inside(portrait: Image, points: Points) -> bool:
    height, width = portrait.shape[:2]
    return bool((points >= 0).all() and (points <= (width - 1, height - 1)).all())
