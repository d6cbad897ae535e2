"""Who is where: masks of people, as upstream draws them and as the product does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inference_sidecar.engines.engine import Box, How, Size
from inference_sidecar.engines.faces.face_finder import Face, FaceFinder
from inference_sidecar.engines.infinitetalk.inputs.choose_listeners import (
    choose_listeners,
    follow_listeners,
)
from inference_sidecar.engines.infinitetalk.inputs.cut import Cut, centre_cut
from inference_sidecar.engines.infinitetalk.inputs.persons import (
    Region,
    listeners_of,
    region_of,
    strips_of_faces,
    upstream_regions,
)
from inference_sidecar.engines.infinitetalk.inputs.seen import Seen, look_at
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Listeners
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Others
from inference_sidecar.foundation.errors import SpeakerNotFound
from stage.tiny_engine import EXAMPLES

SOURCE, SIZE = Size(160, 96), Size(160, 96)
CUT = centre_cut(SOURCE, SIZE)


def a_face(centre: float) -> Face:
    return Face(np.full((468, 2), centre, np.float32), 0.9, 100.0)


def test_faces_at_equal_distances_give_upstreams_halves() -> None:
    halves = upstream_regions(SOURCE, None)
    assert halves == (Region(4, 4, 91, 76), Region(4, 84, 91, 156))
    assert strips_of_faces(SOURCE, [a_face(40), a_face(120)]) == halves
    # The order is that of the faces, not of the picture.
    assert strips_of_faces(SOURCE, [a_face(120), a_face(40)]) == halves[::-1]


def test_upstreams_boxes_are_rows_then_columns() -> None:
    first, second = upstream_regions(SOURCE, ((8, 16, 40, 64), (0, 80, 96, 160)))
    assert (first.top, first.left, first.bottom, first.right) == (8, 16, 40, 64)
    masks = listeners_of(CUT, [[first], [second]]).masks
    assert masks.shape == (3, 12, 20)
    assert masks[0, 1:5, 2:8].all()
    assert masks[0].sum() == 4 * 6
    assert torch.equal(masks.sum(dim=0), torch.ones(12, 20))


def test_a_person_between_two_tokens_gets_the_nearest_one() -> None:
    masks = listeners_of(CUT, [[Region(40, 70, 42, 72)], [Region(0, 120, 96, 160)]]).masks
    assert masks[0, ::2, ::2].sum() == 1
    assert masks[0, 4, 8] == 1
    assert masks[2, 4, 8] == 0


def test_a_person_outside_the_shown_part_is_not_found() -> None:
    wide = Size(400, 96)
    at_the_edge = region_of(wide, Box(0.0, 0.2, 0.1, 0.8))
    middle = region_of(wide, Box(0.5, 0.2, 0.6, 0.8))
    with pytest.raises(SpeakerNotFound, match="outside the part"):
        listeners_of(centre_cut(wide, SIZE), [[at_the_edge], [middle]])


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    portrait = Image.open(EXAMPLES / "portrait.jpg").convert("RGB").resize((512, 600))
    whole = Image.new("RGB", (1100, 600), "grey")
    whole.paste(portrait, (0, 0))
    whole.paste(portrait, (560, 0))
    path = tmp_path_factory.mktemp("faces") / "two.png"
    whole.save(path)
    return path


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def heard(
    finder: FaceFinder, path: Path, size: Size, how: How, voices: int, others: Others
) -> Listeners | None:
    """With the crop at the centre."""
    seen = look_at(finder, path)
    return choose_listeners(seen, centre_cut(seen.source, size), how, voices, others)


def test_a_speaker_is_counted_from_the_left_and_the_other_one_hears_silence(
    finder: FaceFinder, two_faces: Path
) -> None:
    size = Size(176, 96)

    def chosen(others: Others, **how: object) -> torch.Tensor:
        found = heard(finder, two_faces, size, How(**how), 1, others)
        assert found is not None
        assert found.is_gated is (others is Others.GATE)
        return found.masks

    left, right = (chosen(Others.SILENT, speaker=index) for index in (0, 1))
    assert torch.equal(left[0], right[1])
    assert torch.equal(left[1], right[0])
    assert left[0, :, :11].any()
    assert not left[0, :, 11:].any()
    boxed = chosen(Others.SILENT, speaker=Box(0.55, 0.1, 0.95, 0.9))
    assert torch.equal(boxed[1], right[1])
    gated = chosen(Others.GATE, speaker=1)
    assert torch.equal(gated[0], right[0])
    assert len(gated) == 2
    assert heard(finder, two_faces, size, How(), 1, Others.FREE) is None
    with pytest.raises(SpeakerNotFound, match="speaker 2 is not"):
        heard(finder, two_faces, size, How(speaker=2), 1, Others.SILENT)


def test_a_face_that_the_video_does_not_show_neither_speaks_nor_listens(
    finder: FaceFinder, tmp_path: Path
) -> None:
    portrait = Image.open(EXAMPLES / "portrait.jpg").convert("RGB").resize((512, 600))
    whole = Image.new("RGB", (1372, 600), "grey")
    whole.paste(portrait, (0, 0))
    whole.paste(portrait, (430, 0))
    whole.save(tmp_path / "wide.png")

    def chosen(**how: object) -> object:
        path = tmp_path / "wide.png"
        return heard(finder, path, Size(32, 48), How(**how), 1, Others.SILENT)

    assert chosen() is None
    assert chosen(speaker=1) is None
    with pytest.raises(SpeakerNotFound, match="outside the part"):
        chosen(speaker=0)


def test_two_voices_belong_to_the_left_and_the_right_face_or_to_boxes(
    finder: FaceFinder, two_faces: Path
) -> None:
    size = Size(176, 96)
    found = heard(finder, two_faces, size, How(), 2, Others.SILENT)
    assert found is not None
    assert not found.is_gated
    assert found.masks[0, :, :11].any()
    assert found.masks[1, :, 11:].any()
    boxes = (Box(0.5, 0, 1, 1), Box(0, 0, 0.5, 1))
    swapped = heard(finder, two_faces, size, How(speakers=boxes), 2, Others.SILENT)
    assert swapped is not None
    assert swapped.masks[0, :, 11:].all()
    portrait = EXAMPLES / "portrait.jpg"
    with pytest.raises(SpeakerNotFound, match="shows 1 face where two"):
        heard(finder, portrait, size, How(), 2, Others.SILENT)
    assert heard(finder, portrait, size, How(), 1, Others.SILENT) is None


def moved(face: Face, across: float) -> Face:
    return replace(face, landmarks=face.landmarks + np.float32([across, 0]))


def test_strips_follow_the_faces_of_a_video(finder: FaceFinder, two_faces: Path) -> None:
    seen = look_at(finder, two_faces)
    first, second = seen.found.faces
    cut = centre_cut(seen.source, Size(176, 96))

    def followed(*later: tuple[Face, ...], how: How | None = None) -> list[torch.Tensor]:
        how = how or How()
        before = choose_listeners(seen, cut, how, 2, Others.FREE)
        found = follow_listeners(before, seen, later, cut, how, 2, Others.FREE)
        return [listeners.masks for listeners in found if listeners is not None]

    still = choose_listeners(seen, cut, How(), 2, Others.FREE)
    assert still is not None
    right = 0.2 * seen.source.width
    step, back = (moved(first, right / 2), moved(second, right / 2)), (first, second)
    there, same, home = followed(step, step, back)
    assert not torch.equal(there, still.masks)
    assert torch.equal(there, same)
    assert torch.equal(home, still.masks)
    # The order in which a picture's faces are found says nothing about who they are.
    (swapped,) = followed((step[1], step[0]))
    assert torch.equal(swapped, there)
    # Who is hidden, or has left, stays where they were.
    (hidden,) = followed(())
    assert torch.equal(hidden, still.masks)
    (one,) = followed((step[0],))
    assert torch.equal(one, choose_at(seen, (step[0], second), cut))
    far = followed((moved(first, 5 * seen.source.width), second))
    assert torch.equal(far[0], still.masks)
    boxes = (Box(0, 0, 0.5, 1), Box(0.5, 0, 1, 1))
    assert len({masks.numpy().tobytes() for masks in followed(step, how=How(speakers=boxes))}) == 1


def choose_at(seen: Seen, faces: tuple[Face, ...], cut: Cut) -> torch.Tensor:
    now = replace(seen, found=replace(seen.found, faces=faces))
    listeners = choose_listeners(now, cut, How(), 2, Others.FREE)
    assert listeners is not None
    return listeners.masks


def test_one_voice_that_everybody_hears_follows_nobody(finder: FaceFinder, two_faces: Path) -> None:
    seen = look_at(finder, two_faces)
    cut = centre_cut(seen.source, Size(176, 96))
    before = choose_listeners(seen, cut, How(), 1, Others.FREE)
    assert follow_listeners(before, seen, [(), ()], cut, How(), 1, Others.FREE) == [None, None]
