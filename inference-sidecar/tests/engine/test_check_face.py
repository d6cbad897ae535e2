"""What the engine says about a portrait before it denoises anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.faces.face_finder import FaceFinder
from inference_sidecar.engines.infinitetalk.inputs.check_face import check_face
from inference_sidecar.foundation.errors import FaceUnusable, ImageUnreadable, NoFace
from stage.tiny_engine import EXAMPLES

PORTRAIT = Image.open(EXAMPLES / "portrait.jpg").convert("RGB")


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def on_grey(size: tuple[int, int], *places: tuple[int, int], height: int = 600) -> Image.Image:
    """The portrait at these places of a grey picture."""
    whole = Image.new("RGB", size, "grey")
    for place in places:
        whole.paste(PORTRAIT.resize((height * 512 // 600, height)), place)
    return whole


def masked() -> Image.Image:
    picture = PORTRAIT.copy()
    ImageDraw.Draw(picture).polygon(
        [(165, 228), (265, 215), (365, 228), (355, 330), (265, 375), (180, 330)], (90, 150, 190)
    )
    return picture


@pytest.mark.parametrize(
    ("picture", "codes"),
    [
        pytest.param(PORTRAIT, [], id="a portrait"),
        pytest.param(masked(), [], id="a covered mouth"),
        pytest.param(PORTRAIT.rotate(180), ["FACE_NOT_UPRIGHT"], id="upside down"),
        pytest.param(PORTRAIT.rotate(90, expand=True), ["FACE_NOT_UPRIGHT"], id="on its side"),
        pytest.param(on_grey((1600, 1000), (700, 400), height=120), ["FACE_SMALL"], id="far away"),
        pytest.param(on_grey((1100, 600), (0, 0), (560, 0)), ["SEVERAL_FACES"], id="two people"),
    ],
)
def test_whatever_shows_a_face_is_filmed_with_a_warning_where_there_is_doubt(
    finder: FaceFinder, tmp_path: Path, picture: Image.Image, codes: list[str]
) -> None:
    path = tmp_path / "portrait.png"
    picture.save(path)
    assert [w.code for w in check_face(finder, path, Size(832, 480))] == codes


@pytest.mark.parametrize(
    ("picture", "error", "reason"),
    [
        (Image.new("RGB", (640, 360), "grey"), NoFace, "No face was found"),
        (Image.effect_noise((640, 360), 90).convert("RGB"), NoFace, "No face was found"),
        (on_grey((3000, 600), (0, 0)), FaceUnusable, "too far from the middle"),
    ],
    ids=["grey", "noise", "a face that the crop would lose"],
)
def test_a_film_without_a_face_is_refused(
    finder: FaceFinder,
    tmp_path: Path,
    picture: Image.Image,
    error: type[Exception],
    reason: str,
) -> None:
    path = tmp_path / "portrait.png"
    picture.save(path)
    with pytest.raises(error, match=reason):
        check_face(finder, path, Size(832, 480))


def test_a_file_that_is_no_picture_is_unreadable(finder: FaceFinder, tmp_path: Path) -> None:
    (tmp_path / "portrait.png").write_bytes(b"no picture")
    with pytest.raises(ImageUnreadable):
        check_face(finder, tmp_path / "portrait.png", Size(832, 480))
