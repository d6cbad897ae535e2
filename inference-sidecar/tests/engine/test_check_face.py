"""What the engine says about a portrait before it denoises anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from inference_sidecar.engines.engine import How, Size
from inference_sidecar.engines.faces.face_finder import FaceFinder
from inference_sidecar.engines.infinitetalk.inputs.check_face import check_face
from inference_sidecar.engines.infinitetalk.inputs.choose_cut import choose_cut
from inference_sidecar.engines.infinitetalk.inputs.seen import look_at
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Crop
from inference_sidecar.foundation.errors import FaceUnusable, ImageUnreadable
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


def codes_of(
    finder: FaceFinder, path: Path, picture: Image.Image, crop: Crop = Crop.FACE
) -> list[str]:
    """Of a landscape video."""
    picture.save(path)
    seen = look_at(finder, path)
    cut = choose_cut(seen, Size(832, 480), How(), 1, crop)
    return [warning.code for warning in check_face(seen, cut)]


@pytest.mark.parametrize(
    ("picture", "codes"),
    [
        pytest.param(PORTRAIT, [], id="a portrait"),
        pytest.param(masked(), [], id="a covered mouth"),
        pytest.param(PORTRAIT.rotate(180), ["FACE_NOT_UPRIGHT"], id="upside down"),
        pytest.param(PORTRAIT.rotate(90, expand=True), ["FACE_NOT_UPRIGHT"], id="on its side"),
        pytest.param(on_grey((1600, 1000), (700, 400), height=120), ["FACE_SMALL"], id="far away"),
        pytest.param(on_grey((1100, 600), (0, 0), (560, 0)), ["SEVERAL_FACES"], id="two people"),
        pytest.param(on_grey((3000, 600), (0, 0)), [], id="at the edge"),
        pytest.param(PORTRAIT.crop((150, 60, 380, 460)), ["FACE_CUT_OFF"], id="too large"),
        pytest.param(Image.new("RGB", (640, 360), "grey"), ["FACE_NOT_FOUND"], id="grey"),
        pytest.param(
            Image.effect_noise((640, 360), 90).convert("RGB"), ["FACE_NOT_FOUND"], id="noise"
        ),
    ],
)
def test_whatever_there_is_is_filmed_with_a_warning_where_there_is_doubt(
    finder: FaceFinder, tmp_path: Path, picture: Image.Image, codes: list[str]
) -> None:
    assert codes_of(finder, tmp_path / "portrait.png", picture) == codes


def test_a_face_that_the_crop_at_the_centre_would_lose_is_refused(
    finder: FaceFinder, tmp_path: Path
) -> None:
    picture = on_grey((3000, 600), (0, 0))
    with pytest.raises(FaceUnusable, match="too far from the middle"):
        codes_of(finder, tmp_path / "portrait.png", picture, Crop.CENTRE)


def test_a_file_that_is_no_picture_is_unreadable(finder: FaceFinder, tmp_path: Path) -> None:
    (tmp_path / "portrait.png").write_bytes(b"no picture")
    with pytest.raises(ImageUnreadable):
        look_at(finder, tmp_path / "portrait.png")
