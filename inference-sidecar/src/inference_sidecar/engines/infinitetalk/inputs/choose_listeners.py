"""Who hears the voice where a picture shows several people, or two of them speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inference_sidecar.engines.engine import Box, How, Size
from inference_sidecar.engines.faces.face_finder import Face
from inference_sidecar.engines.infinitetalk.inputs.cut import SAME_PERSON, Cut, Head
from inference_sidecar.engines.infinitetalk.inputs.persons import (
    Region,
    is_shown,
    listeners_of,
    region_of,
    strips_of_faces,
)
from inference_sidecar.engines.infinitetalk.inputs.seen import Seen
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Listeners
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Others
from inference_sidecar.foundation.errors import SpeakerNotFound


def choose_listeners(
    seen: Seen, cut: Cut, how: How, voices: int, others: Others
) -> Listeners | None:
    """Of one or two voices; None where everybody hears the only voice.

    others: SILENT gives two people, of whom the second one hears nothing. Raises `SpeakerNotFound`
    for a face or a box that is not there, or not in the part of the picture that is shown.
    """
    source, faces = seen.source, seen.found.faces
    if voices > 1 and how.speakers is not None:
        return listeners_of(cut, [[region_of(source, box)] for box in how.speakers])
    if voices > 1:
        return listeners_of(cut, _two_speakers(source, faces))
    strips = strips_of_faces(source, faces) if faces else ()
    shown = [strip for strip in strips if is_shown(cut, strip)]
    if how.speaker is None:
        speaker, rest = (shown[0], shown[1:]) if shown else (None, [])
    else:
        speaker, rest = _named_speaker(source, strips, how.speaker)
        rest = [strip for strip in rest if is_shown(cut, strip)]
    if others is Others.FREE or speaker is None or not rest:
        return None
    if others is Others.GATE:
        return listeners_of(cut, [[speaker]], is_gated=True)
    return listeners_of(cut, [[speaker], rest])


def follow_listeners(
    heard: Listeners | None,
    seen: Seen,
    later: Sequence[Sequence[Face]],
    cut: Cut,
    how: How,
    voices: int,
    others: Others,
) -> list[Listeners | None]:
    """Of each later picture of a video: the strips of `choose_listeners` follow the faces; boxes of
    the caller stay. Where a face is hidden, or leaves the frame, everybody stays where they were.

    heard: of the first picture, `seen`. later: the upright faces of each picture.
    """
    followed: list[Listeners | None] = []
    if heard is None:
        return [None] * len(later)
    faces, shown = seen.found.faces, _shown(seen, cut)
    for found in later:
        faces = _followed(faces, found)
        now = replace(seen, found=replace(seen.found, faces=faces))
        if _shown(now, cut) == shown:
            heard = choose_listeners(now, cut, how, voices, others) or heard
        followed.append(heard)
    return followed


def _shown(seen: Seen, cut: Cut) -> list[bool]:
    """Of each face, whether a part of its strip is in the frame."""
    faces = seen.found.faces
    return [is_shown(cut, strip) for strip in strips_of_faces(seen.source, faces)] if faces else []


def _followed(before: Sequence[Face], found: Sequence[Face]) -> tuple[Face, ...]:
    """Where the same people are in the next picture, the nearest ones first; who is not found stays
    where they were."""
    heads = [Head.of(face) for face in before]
    pairs = sorted(
        (heads[old].distance(found[new]), old, new)
        for old in range(len(before))
        for new in range(len(found))
    )
    now, taken = list(before), set[int]()
    missing = set(range(len(before)))
    for distance, old, new in pairs:
        if distance <= SAME_PERSON and old in missing and new not in taken:
            now[old] = found[new]
            missing.remove(old)
            taken.add(new)
    return tuple(now)


def _two_speakers(source: Size, faces: Sequence[Face]) -> list[list[Region]]:
    """The two that stand out, the left one first."""
    if len(faces) < 2:
        raise SpeakerNotFound(
            f"The image shows {len(faces) or 'no'} face where two people speak; say where they are"
            " with two boxes."
        )
    strips = strips_of_faces(source, faces)
    return [[strip] for strip in sorted(strips[:2], key=lambda strip: strip.left)]


def _named_speaker(
    source: Size, strips: Sequence[Region], wanted: int | Box
) -> tuple[Region, list[Region]]:
    """The region of who speaks, and those of all others."""
    if isinstance(wanted, Box):
        region = region_of(source, wanted)
        rest = [strip for strip in strips if not _holds(region, strip)]
        # Without faces beside it, everything beside the box is the others'.
        return region, rest or _beside(source, region)
    in_order = sorted(strips, key=lambda strip: strip.left)
    if wanted >= len(in_order):
        raise SpeakerNotFound(
            f"The image shows {len(in_order) or 'no'} faces; speaker {wanted} is not among them."
        )
    return in_order[wanted], [strip for strip in in_order if strip != in_order[wanted]]


def _holds(region: Region, strip: Region) -> bool:
    """Whether the middle of a strip is within the columns of a region."""
    return region.left <= (strip.left + strip.right) / 2 < region.right


def _beside(source: Size, region: Region) -> list[Region]:
    sides = (
        Region(0, 0, source.height, region.left),
        Region(0, region.right, source.height, source.width),
    )
    return [side for side in sides if side.left < side.right]
