"""Chooses who speaks in a portrait, or says why nobody can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inference_sidecar.engines.faces.face_finder import Face, FoundFaces
from inference_sidecar.engines.preview.covered_mouth import is_mouth_covered
from inference_sidecar.engines.raster import Image, Points
from inference_sidecar.foundation.contracts import JobWarning
from inference_sidecar.foundation.errors import FaceUnusable, NoFace

LEAST_FACE_PX: Final = 32
"""Below this height a mouth is three pixels wide."""
_UPSIDE_DOWN_DEGREES: Final = 120
LEAST_FAR_HALF: Final = 0.03
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


def choose_speaker(portrait: Image, found: FoundFaces) -> Speaker:
    """The most prominent face. Raises `NoFace`, and `FaceUnusable` with the reason and the cure."""
    if not found.faces:
        if found.may_show_face:
            raise NoFace(
                "No face was found in the image whose features can be located: it may be covered,"
                " turned away or drawn; send a photograph of an uncovered face that looks into the"
                " camera."
            )
        raise NoFace("No face was found in the image; send a frontal portrait of one person.")
    face = found.faces[0]
    _require_usable(portrait, face)
    is_covered = is_mouth_covered(portrait, face.landmarks)
    return Speaker(face.landmarks, is_covered, _warnings(portrait, found, is_covered=is_covered))


def _require_usable(portrait: Image, face: Face) -> None:
    tilt = face.tilt_degrees
    if abs(tilt) > _UPSIDE_DOWN_DEGREES:
        raise FaceUnusable("The face is upside down; rotate the image by 180°.")
    if not face.is_upright:
        way = "counterclockwise" if tilt > 0 else "clockwise"
        raise FaceUnusable(f"The face lies on its side; rotate the image by 90° {way}.")
    if face.height_px < LEAST_FACE_PX:
        height, width = portrait.shape[:2]
        raise FaceUnusable(
            f"The face is too small: it is {face.height_px:.0f} pixels high in an image of"
            f" {width} x {height} pixels, and at least {LEAST_FACE_PX} are needed; crop the image"
            " around the head, or send a larger one."
        )
    if face.far_half < LEAST_FAR_HALF:
        raise FaceUnusable(
            "The face is turned too far to the side; send a portrait that looks into the camera."
        )
    middle = face.landmarks[list(_LIP_MIDDLES)].mean(axis=0)
    if not _is_inside(portrait, middle[None]):
        raise FaceUnusable(
            "The edge of the image cuts off the mouth; send a portrait that shows the whole face."
        )


def _warnings(portrait: Image, found: FoundFaces, *, is_covered: bool) -> tuple[JobWarning, ...]:
    speaker = found.faces[0]
    warnings: list[JobWarning] = []
    rivals = [f for f in found.faces[1:] if f.height_px > _RIVAL * speaker.height_px]
    if rivals:
        warnings.append(
            JobWarning(
                code="SEVERAL_FACES",
                message=f"The image shows {len(rivals) + 1} faces; the largest one speaks and the"
                " others stay still. To choose another one, crop the image around it.",
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
