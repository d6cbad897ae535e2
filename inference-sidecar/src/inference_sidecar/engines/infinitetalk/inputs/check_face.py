"""Looks for a face before anything is denoised. The model itself films whatever it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.faces.face_finder import Face, FaceFinder
from inference_sidecar.engines.raster import Image, read_image
from inference_sidecar.foundation.contracts import JobWarning
from inference_sidecar.foundation.errors import FaceUnusable, ImageUnreadable, NoFace

_LEAST_FACE_PX: Final = 48
"""In the generated video; below it a mouth is one token of the model."""


def check_face(
    finder: FaceFinder, path: Path, size: Size, *, is_speaker_chosen: bool = False
) -> tuple[JobWarning, ...]:
    """What the caller should know about the face. Takes 0.1 s.

    is_speaker_chosen: several faces are no doubt, because it is decided who speaks.

    A profile, a drawing or a covered mouth can be filmed. Raises `NoFace` if there is no face at
    all, `FaceUnusable` if the crop to the generated size loses it, and `ImageUnreadable`.
    """
    picture = read_image(path)
    if picture is None:
        raise ImageUnreadable("The image is not a PNG or JPEG.")
    found = finder.find(picture)
    if not found.faces:
        if not found.may_show_face:
            raise NoFace("No face was found in the image; send a portrait of one person.")
        return (
            _warning(
                "FACE_UNCLEAR",
                "It is not certain that the image shows a face; it was filmed as it is. If the lips"
                " stay still, send a photograph of an uncovered face.",
            ),
        )
    shown = [face for face in found.faces if _is_in_crop(picture, face, size)]
    if not shown:
        raise FaceUnusable(
            "The face is too far from the middle of the image, of which the video shows"
            f" {size.width} x {size.height}; crop the image around the head."
        )
    doubts = _doubts(picture, shown, size)
    is_open = not is_speaker_chosen
    return tuple(doubt for doubt in doubts if is_open or doubt.code != "SEVERAL_FACES")


def _doubts(picture: Image, faces: list[Face], size: Size) -> tuple[JobWarning, ...]:
    warnings: list[JobWarning] = []
    if not faces[0].is_upright:
        warnings.append(
            _warning(
                "FACE_NOT_UPRIGHT",
                "The face is not upright, which the model films badly. Rotate the image until it"
                " is.",
            )
        )
    height = faces[0].height_px * _scale(picture, size)
    if height < _LEAST_FACE_PX:
        warnings.append(
            _warning(
                "FACE_SMALL",
                f"The face is only {height:.0f} pixels high in the video, so its lips hardly move."
                " Crop the image around the head.",
            )
        )
    if len(faces) > 1:
        warnings.append(
            _warning(
                "SEVERAL_FACES",
                f"The image shows {len(faces)} faces, and the model decides which of them speaks."
                " Crop the image around one of them.",
            )
        )
    return tuple(warnings)


def _is_in_crop(picture: Image, face: Face, size: Size) -> bool:
    """Whether the middle of the face survives `read_portrait`'s crop at the centre."""
    height, width = picture.shape[:2]
    across, down = abs(face.landmarks.mean(axis=0) - (width / 2, height / 2))
    scale = _scale(picture, size)
    return bool(across * scale < size.width / 2 and down * scale < size.height / 2)


def _scale(picture: Image, size: Size) -> float:
    height, width = picture.shape[:2]
    return max(size.height / height, size.width / width)


def _warning(code: str, message: str) -> JobWarning:
    return JobWarning(code=code, message=message)
