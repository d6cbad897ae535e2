"""The raster operations of this engine, with types. Only this module calls OpenCV.

Images are uint8 `[H, W, C]` in RGB, fields float32 `[H, W]`, points float32 `[N, 2]` as (x, y) in
pixels with the centre of the first pixel at (0, 0). The types allow any float, because type stubs
treat float32 times a Python number as float64, which numpy does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.floating[Any]]
Points = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def use_threads(count: int) -> None:
    """Limits the number of OpenCV's threads in this process; 1 leaves the other core to the
    encoder."""
    cv2.setNumThreads(count)


def read_image(path: Path) -> Image | None:
    """Decodes a PNG or JPEG to RGB; None if it is neither."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    if content.size == 0:
        return None
    decoded = cast("Image | None", cv2.imdecode(content, cv2.IMREAD_COLOR))
    return None if decoded is None else cast("Image", cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def resize(image: Image, width: int, height: int) -> Image:
    """Scales down with an area filter, and up with a cubic one."""
    smaller = width * height < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cast("Image", cv2.resize(image, (width, height), interpolation=method))


def warp_affine(image: Image, matrix: Field, width: int, height: int) -> Image:
    """Applies a 2x3 matrix that maps source points to points of the result; borders repeat."""
    smaller = abs(float(np.linalg.det(matrix[:, :2]))) < 1
    return cast(
        "Image",
        cv2.warpAffine(
            image,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR if smaller else cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        ),
    )


class Texture:
    """An image that can be sampled between its pixels without flicker.

    Plain linear sampling blurs by an amount that depends on the fraction of a pixel, so skin
    shimmers under slow movement; cubic sampling costs nine times as much. Linear sampling of a copy
    of twice the size avoids both. The fourth channel is padding, which makes OpenCV twice as fast.
    """

    def __init__(self, image: Image) -> None:
        height, width = image.shape[:2]
        doubled = cv2.resize(image, (width * 2, height * 2), interpolation=cv2.INTER_CUBIC)
        self._doubled = cv2.cvtColor(doubled, cv2.COLOR_RGB2RGBA)

    def at(self, x: Field, y: Field) -> Image:
        """The colours at these positions, in pixels of the image; borders repeat."""
        return self.at_positions(self.position(x), self.position(y))

    @staticmethod
    def position(coordinate: Field) -> Field:
        """Converts coordinates of the image to the texture; linear, so interpolation commutes with
        it."""
        return coordinate * np.float32(2) + np.float32(0.5)

    @staticmethod
    def coordinate(position: Field) -> Field:
        """The inverse of `position`."""
        return position * np.float32(0.5) - np.float32(0.25)

    def at_positions(self, x: Field, y: Field) -> Image:
        """Like `at`, for coordinates already converted: converting sparse grids is cheaper."""
        colours = cv2.remap(
            self._doubled,
            np.asarray(x, np.float32),
            np.asarray(y, np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return cast("Image", cv2.cvtColor(colours, cv2.COLOR_RGBA2RGB))


def sample_field(field: Field, x: Field, y: Field) -> Field:
    """Samples a mask or colours (`[H, W]` or `[H, W, C]`) between pixels; borders repeat."""
    return cast(
        "Field",
        cv2.remap(
            np.asarray(field, np.float32),
            np.asarray(x, np.float32),
            np.asarray(y, np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
    )


def blur(field: Field, sigma_px: float) -> Field:
    """Gaussian blur of a field or a float image."""
    return cast("Field", cv2.GaussianBlur(field, (0, 0), max(sigma_px, 0.05)))


def edge_width_px(picture: Image) -> float:
    """The width in pixels of the sharpest edges of a picture."""
    brightness = picture.mean(axis=2, dtype=np.float32)
    down, across = np.gradient(brightness)
    low, high = np.percentile(brightness, [2, 98])
    steepest = float(np.percentile(np.hypot(down, across), 99))
    return float(high - low) / max(steepest, 1.0)


def blur_image(image: Image, sigma_px: float) -> Image:
    """Gaussian blur of an image."""
    return cast("Image", cv2.GaussianBlur(image, (0, 0), max(sigma_px, 0.05)))


def lab_colours(colours: Image | Field) -> Field:
    """Converts RGB from 0 to 255 to CIELAB, where distances match perception."""
    scaled = np.asarray(colours, np.float32) / np.float32(255)
    return cast("Field", cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB))


def fill_polygon(points: Points, width: int, height: int) -> Mask:
    """The pixels inside a polygon."""
    filled = np.zeros((height, width), np.uint8)
    cv2.fillPoly(filled, [points.round().astype(np.int32)], 1)
    return filled.astype(np.bool_)


def grow_cut(picture: Image, certain: Mask, likely: Mask, possible: Mask) -> Mask:
    """The connected pixels that belong to the certain foreground by colour (GrabCut)."""
    guess = np.full(picture.shape[:2], cv2.GC_BGD, np.uint8)
    guess[possible] = cv2.GC_PR_BGD
    guess[likely & possible] = cv2.GC_PR_FGD
    guess[certain] = cv2.GC_FGD
    # GrabCut's clusters start at random, and the same portrait must give the same video.
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, guess, (0, 0, 1, 1), *models, 4, cv2.GC_INIT_WITH_MASK)
    found = ((guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)).astype(np.uint8)
    pieces = np.asarray(cv2.connectedComponents(found)[1], np.int32)
    labels = pieces[certain]
    return np.asarray(pieces == np.bincount(labels[labels > 0], minlength=2).argmax(), np.bool_)


def distance_from(mask: Mask) -> Field:
    """The distance in pixels to the nearest pixel of a mask."""
    outside = (~mask).astype(np.uint8)
    return cast("Field", cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5))


def mix(below: Image, above: Image, alpha: Field) -> Image:
    """`above` over `below`; alpha is `[H, W]`, 0 to 1."""
    weight = alpha[..., None]
    return (below + (above.astype(np.float32) - below) * weight + 0.5).astype(np.uint8)


def smooth_step(value: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, and an S-curve in between."""
    ramp = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def pixel_grid(width: int, height: int) -> tuple[Field, Field]:
    """x and y of every pixel."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


class CoarseGrid:
    """A rectangle of pixels, and a sparse grid over it.

    Movements are smooth, so they are computed on the sparse grid and interpolated, which takes a
    sixteenth of the work.
    """

    _CELL_PX = 4

    def __init__(self, left: int, top: int, right: int, bottom: int) -> None:
        self.rows, self.columns = slice(top, bottom), slice(left, right)
        self.width, self.height = right - left, bottom - top
        cell = self._CELL_PX
        x, y = pixel_grid(-(-self.width // cell), -(-self.height // cell))
        middle = np.float32((cell - 1) / 2)
        self.x, self.y = x * cell + middle + np.float32(left), y * cell + middle + np.float32(top)

    def spread(self, field: Field) -> Field:
        """Interpolates a field from the grid's points to every pixel of the rectangle."""
        points_down, points_across = field.shape
        full = cv2.resize(
            np.asarray(field, np.float32),
            (points_across * self._CELL_PX, points_down * self._CELL_PX),
            interpolation=cv2.INTER_LINEAR,
        )
        return cast("Field", full[: self.height, : self.width])
