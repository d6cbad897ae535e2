"""Which part of a picture is shown: the whole head of who speaks, and never more than there is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image
from torch import Tensor

from inference_sidecar.engines.engine import Box, How, Size
from inference_sidecar.engines.faces.face_finder import Face, FaceFinder, FoundFaces
from inference_sidecar.engines.faces.face_mesh import CHIN, FOREHEAD
from inference_sidecar.engines.infinitetalk.inputs.choose_cut import choose_cut, require_both
from inference_sidecar.engines.infinitetalk.inputs.choose_listeners import choose_listeners
from inference_sidecar.engines.infinitetalk.inputs.cut import Cut, Head, centre_cut, cut_around
from inference_sidecar.engines.infinitetalk.inputs.portrait import picture_of, read_portrait
from inference_sidecar.engines.infinitetalk.inputs.seen import Seen, look_at
from inference_sidecar.engines.infinitetalk.inputs.source_video import SourceVideo
from inference_sidecar.engines.infinitetalk.sampling.anchors import VideoEnd
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Crop, Others
from inference_sidecar.foundation.errors import SpeakerNotFound
from stage.tiny_engine import EXAMPLES

SHAPES = [Size(832, 480), Size(480, 832), Size(640, 640), Size(704, 576)]
SOURCE = Size(1600, 1200)
PORTRAIT = Image.open(EXAMPLES / "portrait.jpg").convert("RGB")
SMILE = Image.open(Path(__file__).parents[1] / "media" / "smile.jpg").convert("RGB")


def a_face(x: float, y: float, height: float = 200) -> Face:
    """An upright face; its eyes are at x, y."""
    points = np.full((468, 2), (x, y), np.float32)
    points[FOREHEAD] = (x, y - 0.35 * height)
    points[CHIN] = (x, y + 0.65 * height)
    points[234], points[454] = (x - 0.4 * height, y), (x + 0.4 * height, y)
    return Face(points, 0.9, height * height)


def seen(*faces: Face, source: Size = SOURCE) -> Seen:
    return Seen(source, FoundFaces(faces, may_show_face=True))


def chosen(what: Seen, size: Size, how: How | None = None, voices: int = 1) -> Cut:
    return choose_cut(what, size, how or How(), voices, Crop.FACE)


def shown_part(cut: Cut) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in the picture."""
    left, top = cut.left / cut.scale, cut.top / cut.scale
    return left, top, left + cut.size.width / cut.scale, top + cut.size.height / cut.scale


@pytest.mark.parametrize("size", SHAPES, ids=str)
@pytest.mark.parametrize("x", [60.0, 800.0, 1560.0])
@pytest.mark.parametrize("y", [60.0, 500.0, 1150.0])
def test_a_head_in_a_corner_or_at_an_edge_is_whole(size: Size, x: float, y: float) -> None:
    face = a_face(x, y)
    cut = chosen(seen(face), size)
    assert 0 <= cut.left <= cut.scaled.width - size.width
    assert 0 <= cut.top <= cut.scaled.height - size.height
    left, top, right, bottom = shown_part(cut)
    head = Head.of(face)
    assert left <= max(0, head.columns[0].start) + 1
    assert right >= min(SOURCE.width, head.columns[0].end) - 1
    assert top <= max(0, head.rows[0].start) + 1
    assert bottom >= min(SOURCE.height, head.rows[0].end) - 1


@pytest.mark.parametrize("size", SHAPES, ids=str)
def test_with_room_on_all_sides_the_face_is_in_the_middle_with_its_eyes_at_two_fifths(
    size: Size,
) -> None:
    left, top, right, bottom = shown_part(chosen(seen(a_face(800, 600)), size))
    if right - left < SOURCE.width - 1:
        assert (left + right) / 2 == pytest.approx(800, abs=1)
    if bottom - top < SOURCE.height - 1:
        assert top + 0.4 * (bottom - top) == pytest.approx(600, abs=1)


def test_of_a_head_that_is_larger_than_the_frame_the_face_is_shown_and_then_eyes_to_chin() -> None:
    tall = Size(800, 1600)
    for height, part in ((280, "head"), (380, "face"), (560, "eyes to chin")):
        face = a_face(400, 700, height)
        _, top, _, bottom = shown_part(chosen(seen(face, source=tall), Size(832, 480)))
        names = ("head", "face", "eyes to chin")
        for name, rows in zip(names, Head.of(face).rows, strict=True):
            is_whole = top <= rows.start + 1 and bottom >= rows.end - 1
            assert is_whole is (names.index(name) >= names.index(part)), (height, name)


def test_a_face_on_its_side_keeps_its_hair_too() -> None:
    face = a_face(0, 0)
    turned = Face(face.landmarks @ np.array([[0, 1], [-1, 0]], np.float32), 0.9, 1.0)
    upright, lying = Head.of(face), Head.of(turned)
    assert lying.columns[0].start == pytest.approx(-upright.rows[0].end)
    assert lying.columns[0].end == pytest.approx(-upright.rows[0].start)


@pytest.mark.parametrize("crop", list(Crop))
def test_without_a_face_and_with_upstreams_setting_the_middle_is_shown(crop: Crop) -> None:
    size = Size(480, 832)
    nobody = choose_cut(seen(), size, How(), 1, crop)
    assert nobody == centre_cut(SOURCE, size) == Cut(SOURCE, size, 315, 0)
    aside = choose_cut(seen(a_face(1500, 300)), size, How(), 1, crop)
    assert (aside == nobody) is (crop is Crop.CENTRE)


def test_both_speakers_are_shown_and_who_cannot_be_is_told() -> None:
    left, right = a_face(250, 500, 150), a_face(1000, 520, 150)
    both = seen(left, right, a_face(1500, 200, 90))
    for size in (Size(832, 480), Size(640, 640)):
        cut = chosen(both, size, voices=2)
        assert all(cut.shows(*face.landmarks[FOREHEAD]) for face in (left, right))
        require_both(both, cut, How())
    narrow = chosen(both, Size(480, 832), voices=2)
    assert (narrow.left + narrow.size.width / 2) / narrow.scale == pytest.approx(625, abs=1)
    with pytest.raises(SpeakerNotFound, match="too far apart"):
        require_both(both, narrow, How())
    # Boxes without a face in them are taken for heads.
    boxes = (Box(0.7, 0.1, 0.8, 0.3), Box(0.85, 0.1, 0.95, 0.3))
    cut = chosen(both, Size(480, 832), How(speakers=boxes), 2)
    left_edge, _, right_edge, _ = shown_part(cut)
    assert left_edge <= 0.7 * 1600
    assert right_edge >= 0.95 * 1600


def test_the_named_speaker_is_the_one_who_is_shown() -> None:
    faces = [a_face(1300, 500), a_face(300, 500, 120), a_face(800, 500, 100)]
    size = Size(480, 832)
    middle_of = [
        (cut.left + size.width / 2) / cut.scale
        for how in (How(), How(speaker=0), How(speaker=1), How(speaker=Box(0.15, 0.3, 0.25, 0.6)))
        for cut in [chosen(seen(*faces), size, how)]
    ]
    assert middle_of == pytest.approx([1254, 346, 800, 346], abs=60)
    assert middle_of[1] == middle_of[3]


def test_a_video_has_one_cut_around_wherever_the_head_goes() -> None:
    size = Size(480, 832)
    first = seen(a_face(400, 500, 100))
    path = [a_face(x, 500, 100) for x in (450, 520, 600, 680)]
    passer_by = a_face(1500, 500, 90)
    cut = choose_cut(first, size, How(), 1, Crop.FACE, [(passer_by, face) for face in path])
    assert all(cut.shows(*face.landmarks[454]) for face in [*first.found.faces, *path])
    still = choose_cut(first, size, How(), 1, Crop.FACE, [(), ()])
    assert still == chosen(first, size)
    # After a cut, somebody else speaks.
    other = choose_cut(first, Size(640, 640), How(), 1, Crop.FACE, [(a_face(1000, 500),)])
    assert other.shows(400, 500)
    assert other.shows(1000, 500)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def as_picture(pixels: Tensor) -> Image.Image:
    levels = ((pixels + 1) * 127.5).round().byte()
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


@pytest.mark.parametrize("size", SHAPES, ids=str)
def test_a_box_before_the_cut_is_on_the_same_face_after_it(
    finder: FaceFinder, tmp_path: Path, size: Size
) -> None:
    """Two real faces in the corner of a large picture; each box is around one of them."""
    whole = Image.new("RGB", (1900, 1300), "grey")
    whole.paste(PORTRAIT.resize((341, 400)), (1150, 850))
    whole.paste(SMILE.resize((400, 400)), (1450, 860))
    whole.save(tmp_path / "two.png")
    found = look_at(finder, tmp_path / "two.png")
    boxes = (Box(1150 / 1900, 0.66, 1480 / 1900, 0.9), Box(1500 / 1900, 0.66, 1.0, 0.9))
    how = How(speakers=boxes)
    cut = chosen(found, size, how, 2)
    listeners = choose_listeners(found, cut, how, 2, Others.SILENT)
    assert listeners is not None
    frame = tmp_path / "frame.png"
    as_picture(read_portrait(tmp_path / "two.png", cut)).save(frame)
    faces = sorted(
        look_at(finder, frame).found.faces, key=lambda face: float(face.landmarks[:, 0].mean())
    )
    assert len(faces) == 2
    for person, face in enumerate(faces):
        column, row = (face.landmarks.mean(axis=0) / 8).astype(int)
        assert listeners.masks[person, row, column] == 1
        assert listeners.masks[1 - person, row, column] == 0
    # The middle of the picture shows neither of them whole.
    assert cut != centre_cut(found.source, size)


def test_the_frames_of_a_video_all_show_the_head_that_moves(
    finder: FaceFinder, tmp_path: Path
) -> None:
    PORTRAIT.resize((256, 300)).save(tmp_path / "portrait.png")
    made = [
        *("-f", "lavfi", "-i", "color=gray:s=1200x400:r=25:d=2"),
        *("-i", str(tmp_path / "portrait.png"), "-filter_complex", "overlay=x=100+4*n:y=50"),
        *("-pix_fmt", "yuv420p", str(tmp_path / "source.mp4")),
    ]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-v", "error", *made], check=True)
    (tmp_path / "frames").mkdir()
    starts = [0, 12, 24, 36, 48]
    video = SourceVideo.open(tmp_path / "source.mp4", starts, VideoEnd.HOLD, tmp_path / "frames")
    first = look_at(finder, video.files[0])
    later = list(video.faces(finder))
    assert [len(faces) for faces in later] == [1] * 4
    size = Size(336, 384)
    cut = choose_cut(first, size, How(), 1, Crop.FACE, later)
    for index in starts:
        as_picture(video.frame(index, cut)).save(tmp_path / "frame.png")
        (face,) = look_at(finder, tmp_path / "frame.png").found.faces
        columns = Head.of(face).columns[0]
        assert columns.start >= -2
        assert columns.end <= size.width + 2
    # A cut for the first frame alone loses it.
    as_picture(video.frame(48, chosen(first, size))).save(tmp_path / "frame.png")
    assert not any(
        Head.of(face).columns[0].end <= size.width
        for face in look_at(finder, tmp_path / "frame.png").found.faces
    )


def test_a_picture_is_scaled_and_cut_at_once() -> None:
    levels = np.arange(120, dtype=np.uint8)[None, :, None].repeat(40, 0).repeat(3, 2)
    source, size = Size(120, 40), Size(32, 32)
    cut = cut_around(source, size, [Head.of(a_face(110, 16, 10))])
    pixels = picture_of(Image.fromarray(levels), cut)
    assert pixels.shape == (3, 32, 32)
    # Its right edge is the picture's.
    assert float((pixels[0, 0, -1] + 1) * 127.5) == pytest.approx(119, abs=1)
