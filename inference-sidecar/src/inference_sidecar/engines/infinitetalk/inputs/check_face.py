"""Doubts about the face, told before anything is denoised. The model films whatever it is given."""

from __future__ import annotations

from typing import Final

from inference_sidecar.engines.faces.face_finder import Face
from inference_sidecar.engines.infinitetalk.inputs.cut import Cut
from inference_sidecar.engines.infinitetalk.inputs.seen import Seen
from inference_sidecar.foundation.contracts import JobWarning
from inference_sidecar.foundation.errors import FaceUnusable

_LEAST_FACE_PX: Final = 48
"""In the generated video; below it a mouth is one token of the model."""
_MOST_SHOWN: Final = 0.95
"""Of a face's landmarks; a little of its outline may be lost."""


def check_face(seen: Seen, cut: Cut, *, is_speaker_chosen: bool = False) -> tuple[JobWarning, ...]:
    """What the caller should know about the face.

    is_speaker_chosen: several faces are no doubt, because it is decided who speaks.

    A profile, a drawing, an animal or a covered mouth can be filmed. Raises `FaceUnusable` if there
    are faces and none is in the part of the picture that is shown.
    """
    found = seen.found
    if not found.faces:
        return (_unclear() if found.may_show_face else _missing(),)
    shown = [face for face in found.faces if cut.shows(*face.landmarks.mean(axis=0))]
    if not shown:
        raise FaceUnusable(
            "The face is too far from the middle of the image, of which the video shows"
            f" {cut.size.width} x {cut.size.height}; crop the image around the head."
        )
    doubts = _doubts(cut, shown)
    is_open = not is_speaker_chosen
    return tuple(doubt for doubt in doubts if is_open or doubt.code != "SEVERAL_FACES")


def _unclear() -> JobWarning:
    return _warning(
        "FACE_UNCLEAR",
        "It is not certain that the image shows a face; it was filmed as it is. If the lips stay"
        " still, send a photograph of an uncovered face.",
    )


def _missing() -> JobWarning:
    return _warning(
        "FACE_NOT_FOUND",
        "No face was found in the image, so the middle of it was filmed. A drawing or an animal may"
        " speak all the same; otherwise send a portrait of one person.",
    )


def _doubts(cut: Cut, faces: list[Face]) -> tuple[JobWarning, ...]:
    warnings: list[JobWarning] = []
    if not faces[0].is_upright:
        warnings.append(
            _warning(
                "FACE_NOT_UPRIGHT",
                "The face is not upright, which the model films badly. Rotate the image until it"
                " is.",
            )
        )
    height = faces[0].height_px * cut.scale
    if height < _LEAST_FACE_PX:
        warnings.append(
            _warning(
                "FACE_SMALL",
                f"The face is only {height:.0f} pixels high in the video, so its lips hardly move."
                " Crop the image around the head.",
            )
        )
    if _is_cut_off(cut, faces[0]):
        warnings.append(
            _warning(
                "FACE_CUT_OFF",
                "The face is larger than the part of the image that the video shows, so some of it"
                " is cut off. Choose an aspect nearer to the image's, or send an image with more"
                " room around the head.",
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


def _is_cut_off(cut: Cut, face: Face) -> bool:
    """Whether the frame shows less of a face than the picture does."""
    width, height = cut.source
    edge = face.landmarks.clip((0, 0), (width - 1, height - 1))
    shown = sum(cut.shows(x, y) for x, y in edge)
    return shown < _MOST_SHOWN * len(edge)


def _warning(code: str, message: str) -> JobWarning:
    return JobWarning(code=code, message=message)
