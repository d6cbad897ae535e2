"""What a picture shows: its size and its faces, looked at once for all that depends on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.faces.face_finder import FaceFinder, FoundFaces
from inference_sidecar.engines.raster import read_image
from inference_sidecar.foundation.errors import ImageUnreadable


@dataclass(frozen=True)
class Seen:
    """source: size of the picture. found: its faces."""

    source: Size
    found: FoundFaces


def look_at(finder: FaceFinder, path: Path) -> Seen:
    """Takes 0.1 s. Raises `ImageUnreadable`."""
    picture = read_image(path)
    if picture is None:
        raise ImageUnreadable("The image is not a PNG or JPEG.")
    height, width = picture.shape[:2]
    return Seen(Size(width, height), finder.find(picture))
