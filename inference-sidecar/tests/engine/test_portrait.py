"""The portrait at generation size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.inputs.cut import Cut, centre_cut
from inference_sidecar.engines.infinitetalk.inputs.portrait import read_portrait
from inference_sidecar.foundation.errors import ImageUnreadable


def middle(width: int, height: int, shown_width: int, shown_height: int) -> Cut:
    return centre_cut(Size(width, height), Size(shown_width, shown_height))


def test_it_covers_the_frame_and_is_cropped_at_the_centre(tmp_path: Path) -> None:
    stripes = np.zeros((40, 120, 3), np.uint8)
    stripes[:, 40:80] = 255
    Image.fromarray(stripes).save(tmp_path / "portrait.png")
    pixels = read_portrait(tmp_path / "portrait.png", middle(120, 40, 32, 32))
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == torch.float32
    assert (pixels[:, :, 1:-1] == 1).all()
    wide = read_portrait(tmp_path / "portrait.png", middle(120, 40, 96, 32))
    assert (wide[:, :, :30] == -1).all()
    assert (wide[:, :, 34:62] == 1).all()


def test_phone_portraits_are_upright_and_transparent_pixels_white(tmp_path: Path) -> None:
    halves = np.zeros((32, 32, 3), np.uint8)
    halves[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(halves).save(tmp_path / "turned.png", exif=exif)
    turned = read_portrait(tmp_path / "turned.png", middle(32, 32, 32, 32))
    assert (turned[:, 0] == -1).all()
    as_upstream = read_portrait(tmp_path / "turned.png", middle(32, 32, 32, 32), is_repaired=False)
    assert (as_upstream[:, 0] == 1).all()

    clear = np.zeros((32, 32, 4), np.uint8)
    Image.fromarray(clear, "RGBA").save(tmp_path / "clear.png")
    assert (read_portrait(tmp_path / "clear.png", middle(32, 32, 32, 32)) == 1).all()
    beneath = read_portrait(tmp_path / "clear.png", middle(32, 32, 32, 32), is_repaired=False)
    assert (beneath == -1).all()


def test_a_file_that_is_not_an_image_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "portrait.png").write_bytes(b"no image")
    with pytest.raises(ImageUnreadable):
        read_portrait(tmp_path / "portrait.png", middle(32, 32, 32, 32))
