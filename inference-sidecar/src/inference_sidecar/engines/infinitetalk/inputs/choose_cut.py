"""Where to cut a picture or a video: around whoever speaks in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inference_sidecar.engines.engine import Box, How, Size
from inference_sidecar.engines.faces.face_finder import Face
from inference_sidecar.engines.infinitetalk.inputs.cut import (
    SAME_PERSON,
    Cut,
    Head,
    centre_cut,
    cut_around,
)
from inference_sidecar.engines.infinitetalk.inputs.seen import Seen
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Crop
from inference_sidecar.foundation.errors import SpeakerNotFound


def choose_cut(
    seen: Seen,
    size: Size,
    how: How,
    voices: int,
    crop: Crop,
    later: Iterable[Sequence[Face]] = (),
) -> Cut:
    """The cut for the speakers of a picture, or of a video; without a face, its middle.

    later: the faces of the other pictures of a video, the most prominent one of each first. The cut
    is one for all of them: a frame that followed the head would move the background.
    """
    if crop is Crop.CENTRE:
        return centre_cut(seen.source, size)
    speakers = _speakers(seen, how, voices)
    heads = list(speakers)
    for faces in later:
        speakers = [_followed(speaker, faces) for speaker in speakers] or [
            Head.of(face) for face in faces[:voices]
        ]
        heads += speakers
    return cut_around(seen.source, size, heads)


def require_both(seen: Seen, cut: Cut, how: How) -> None:
    """Raises `SpeakerNotFound` unless the cut of a picture shows both speakers."""
    if not all(cut.shows(*head.eyes) for head in _speakers(seen, how, 2)):
        raise SpeakerNotFound(
            "The two speakers are too far apart for the shape of the video: it cannot show both."
            " Choose a wider aspect, or move them together in the image."
        )


def _speakers(seen: Seen, how: How, voices: int) -> list[Head]:
    """Of one or two voices, as `choose_listeners` finds them."""
    faces = seen.found.faces
    if voices > 1:
        if how.speakers is not None:
            return [_in_box(seen, box) for box in how.speakers]
        return [Head.of(face) for face in faces[:2]]
    if isinstance(how.speaker, Box):
        return [_in_box(seen, how.speaker)]
    if how.speaker is not None:
        in_order = sorted(faces, key=lambda face: float(face.landmarks[:, 0].mean()))
        return [Head.of(face) for face in in_order[how.speaker : how.speaker + 1]]
    return [Head.of(face) for face in faces[:1]]


def _in_box(seen: Seen, box: Box) -> Head:
    """The head whose face is in a box; without one, the box is taken for a head."""
    for face in seen.found.faces:
        x, y = face.landmarks.mean(axis=0) / seen.source
        if box.left <= x <= box.right and box.top <= y <= box.bottom:
            return Head.of(face)
    return Head.within(seen.source, box)


def _followed(before: Head, faces: Sequence[Face]) -> Head:
    """Where a head is in the next picture: the nearest one, or after a cut the most prominent one;
    without any, where it was."""
    if not faces:
        return before
    nearest = min(faces, key=before.distance)
    return Head.of(nearest if before.distance(nearest) <= SAME_PERSON else faces[0])
