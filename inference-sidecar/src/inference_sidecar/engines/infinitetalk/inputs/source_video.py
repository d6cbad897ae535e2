"""The frames of a source video that windows are anchored to, taken by one run of ffmpeg.

The video has 25 frames a second. Only the frames at the starts of windows are kept, one in 72 as a
rule, as files, so that memory does not grow with its length.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image
from torch import Tensor

from inference_sidecar.engines.engine import FPS, Size
from inference_sidecar.engines.faces.face_finder import Face, FaceFinder
from inference_sidecar.engines.infinitetalk.inputs.cut import Cut
from inference_sidecar.engines.infinitetalk.inputs.portrait import picture_of
from inference_sidecar.engines.infinitetalk.sampling.anchors import (
    VideoAnchors,
    VideoEnd,
    cuts_shown,
    source_index,
)
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Listeners
from inference_sidecar.engines.infinitetalk.sampling.render_settings import AtCuts, RenderSettings
from inference_sidecar.engines.infinitetalk.sampling.windows import usable_cuts
from inference_sidecar.engines.raster import read_image
from inference_sidecar.foundation.errors import ImageUnreadable
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg

_MOST_SECONDS: Final = 300
"""Decoding five minutes takes a few seconds."""
_CUT: Final = 0.4
"""Of ffmpeg's score of a change of scene, 0 to 1."""
_COMPARED_PX: Final = 320
"""Wide enough for that score, and a fraction of the work."""


@dataclass(frozen=True)
class SourceVideo:
    """Some frames of a video. files: by index, RGB."""

    files: dict[int, Path]
    length: int
    end: VideoEnd

    @classmethod
    def open(cls, path: Path, starts: Sequence[int], end: VideoEnd, folder: Path) -> SourceVideo:
        """Takes the frames that windows with these starts are anchored to, and the first one.

        folder: exists, is empty, and must outlive the result. Raises `ImageUnreadable` if ffmpeg
        cannot read the video.
        """
        length = _count(path)
        wanted = sorted({0, *(source_index(start, length, end) for start in starts)})
        chosen = "+".join(f"eq(n\\,{index})" for index in wanted)
        arguments = ["-vf", f"select='{chosen}'", "-fps_mode", "passthrough", "-pix_fmt", "rgb24"]
        arguments += ["-frames:v", str(len(wanted)), "-start_number", "0"]
        _run(path, [*arguments, str(folder / "%d.ppm")])
        files = {index: folder / f"{place}.ppm" for place, index in enumerate(wanted)}
        if missing := [index for index, file in files.items() if not file.is_file()]:
            raise ImageUnreadable(f"The video has no frame {missing[0]}.")
        return cls(files, length, end)

    @property
    def size(self) -> Size:
        """Of the frames."""
        with Image.open(self.files[0]) as image:
            return Size(*image.size)

    def frame(self, index: int, cut: Cut) -> Tensor:
        """A part of one of the frames, like `read_portrait`."""
        with Image.open(self.files[index]) as image:
            return picture_of(image.convert("RGB"), cut)

    def faces(self, finder: FaceFinder) -> Iterator[tuple[Face, ...]]:
        """The upright faces of each frame but the first, in order, at 0.03 s a frame."""
        for index in sorted(self.files)[1:]:
            picture = read_image(self.files[index])
            yield () if picture is None else finder.find_upright(picture)

    def anchors(self, cut: Cut, listeners: Sequence[Listeners | None] = ()) -> VideoAnchors:
        """The pictures of the windows. listeners: of the frames that `faces` tells of."""
        followed = dict(zip(sorted(self.files)[1:], listeners, strict=False))
        moved = {index: heard for index, heard in followed.items() if heard is not None}
        return VideoAnchors(lambda index: self.frame(index, cut), self.length, self.end, moved)


def find_cuts(path: Path, frames: int, settings: RenderSettings, end: VideoEnd) -> tuple[int, ...]:
    """Where scenes of a video begin in a render of so many frames, see `plan_windows`.

    Decodes as much of it as is shown. Raises `ImageUnreadable`.
    """
    if settings.at_cuts is AtCuts.NOTHING:
        return ()
    chosen = f"scale={_COMPARED_PX}:-2,setpts=N/{FPS}/TB,select='gt(scene,{_CUT})',showinfo"
    # As an option of the output it would wait for a chosen frame after the end.
    until = ["-t", f"{frames / FPS:.2f}"]
    told = _run(path, ["-vf", chosen, "-fps_mode", "passthrough", "-f", "null", "-"], until)
    times = re.findall(r"\bpts_time:\s*([\d.]+)", told)
    cuts = [round(float(time) * FPS) for time in times]
    return usable_cuts(cuts_shown(cuts, frames, _count(path), end), frames, settings)


def _count(path: Path) -> int:
    """Frames of a video, without decoding it."""
    told = _run(path, ["-map", "0:v:0", "-c", "copy", "-f", "null", "-"])
    counted = re.findall(r"frame=\s*(\d+)", told)
    if not counted or int(counted[-1]) < 1:
        raise ImageUnreadable("The video has no frames.")
    return int(counted[-1])


def _run(path: Path, arguments: Sequence[str], of_input: Sequence[str] = ()) -> str:
    """What ffmpeg writes to stderr. of_input: options before the input."""
    command = [
        str(find_ffmpeg(os.environ.get("FFMPEG_PATH"))),
        "-nostdin",
        "-hide_banner",
        *of_input,
        "-i",
        str(path),
        *arguments,
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
            timeout=_MOST_SECONDS,
        )
    except subprocess.CalledProcessError as cause:
        said = (str(cause.stderr).strip().splitlines() or ["nothing"])[-1]
        raise ImageUnreadable(f"The video cannot be read: {said}") from cause
    except subprocess.TimeoutExpired as cause:
        raise ImageUnreadable(f"The video was not read in {_MOST_SECONDS} seconds.") from cause
    return done.stderr
