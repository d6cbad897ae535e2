"""Makes source videos that can be dubbed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe


def write_film(path: Path, picture: Path, frames: int) -> Path:
    """A picture that grows brighter, 25 frames a second."""
    brighter = "eq=brightness='0.3*n/25':eval=frame,scale=128:-2,format=yuv420p"
    command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-loop", "1", "-framerate", "25"]
    made = ["-i", str(picture), "-vf", brighter, "-frames:v", str(frames), str(path)]
    subprocess.run([*command, *made], check=True)
    return path


def write_shots(path: Path, *lengths: int) -> Path:
    """Scenes of so many frames, up to three, with hard cuts between them."""
    scenes = ("testsrc=s=320x240", "mandelbrot=s=320x240", "smptebars=s=320x240")
    given = [
        part
        for scene, frames in zip(scenes, lengths, strict=False)
        for part in ("-f", "lavfi", "-t", f"{frames / 25}", "-i", f"{scene}:r=25")
    ]
    joined = ["-filter_complex", f"concat=n={len(lengths)}:v=1", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-v", "error", *given, *joined], check=True)
    return path
