"""Renders one input with weights in the published layout, exactly as upstream would.

Runs on the CPU in float32, with upstream's random numbers and its treatment of the last window. Use
it to compare any weights and input with upstream, or to look at one job again. It needs no broker
and no GPU; the published weights take 110 GB of memory and many hours.

    python -m inference_sidecar.engines.infinitetalk.upstream_checks.replay \
        --weights DIR --image FILE --audio FILE \
        --mode streaming --size 448x896 --frames 81 --motion 9 --steps 40 --out frames.npy

`--multi` takes the audio branch for two voices, `--audio2` the second voice, `--boxes` the rows and
columns of both people ("r0,c0,r1,c1 r0,c0,r1,c1"; without them each has a half of the picture), and
`--speaking in_turn` lets the second speak after the first. `--silent 2` makes the second person
silent instead. `--video` replaces `--image`: a video, or `.npy` frames, uint8 `[T, H, W, 3]`.

Writes float32 `[3, T, H, W]` in -1..1. Like upstream's command line, streaming stops after 1,000
frames by default, and a negative seed means a random one. Upstream refuses a voice that is not
longer than one window; here it is padded with silence, and the video is cut to its length.
"""

from __future__ import annotations

import argparse
import pickle
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.checkpoints.layout import MissingWeights
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import MissingTensor
from inference_sidecar.engines.infinitetalk.inputs.cut import Cut, centre_cut
from inference_sidecar.engines.infinitetalk.inputs.persons import listeners_of, upstream_regions
from inference_sidecar.engines.infinitetalk.inputs.portrait import picture_of, read_portrait
from inference_sidecar.engines.infinitetalk.inputs.prepare_job import NEGATIVE_PROMPT
from inference_sidecar.engines.infinitetalk.inputs.source_video import SourceVideo
from inference_sidecar.engines.infinitetalk.inputs.speech import (
    Samples,
    level_loudness,
    pad_to_frames,
    read_speech,
    video_frames,
)
from inference_sidecar.engines.infinitetalk.sampling.anchors import (
    Anchors,
    VideoAnchors,
    VideoEnd,
)
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import RenderJob, render
from inference_sidecar.engines.infinitetalk.sampling.interfaces import (
    Listeners,
    VoiceEncoder,
    VoiceTrack,
)
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    UPSTREAM,
    RenderSettings,
)
from inference_sidecar.engines.infinitetalk.sampling.windows import plan_windows
from inference_sidecar.engines.infinitetalk.upstream_checks.published_models import (
    PublishedModels,
    load_published,
)
from inference_sidecar.engines.stages import Untimed
from inference_sidecar.foundation.errors import InputError

_USAGE_ERROR: Final = 2
_MOST_FRAMES: Final = 1_000
"""Upstream's `--max_frame_num`, 40 s. Upstream cuts without a message."""
_SEEDS: Final = 100_000_000
"""Upstream draws random seeds below this number."""
_VIDEO_NAMES: Final = {".mp4", ".mov", ".webm", ".avi", ".mkv"}
Box4 = tuple[int, int, int, int]


@dataclass(frozen=True)
class Replay:
    """One replay; the fields are the command's options.

    source: a portrait, a video, or `.npy` frames. audios: of the people who speak; two, or one
    beside a silent person. silent: the person, 1 or 2. boxes: see `persons.upstream_regions`.
    most_frames: longer videos are cut to this; one window for a clip.
    """

    source: Path
    audios: tuple[Path, ...]
    most_frames: int
    size: Size
    prompt: str
    negative: str
    seed: int
    settings: RenderSettings
    boxes: tuple[Box4, ...] | None = None
    in_turn: bool = False
    silent: int | None = None


class Uninterrupted(Untimed):
    """`engine.Control` of a render that nobody cancels."""

    def check(self) -> None:
        """Never raises."""

    def progress(self, fraction: float) -> None:
        """Rewrites one line on stderr."""
        sys.stderr.write(f"\r{fraction:6.1%}")


def replay(loaded: PublishedModels, wanted: Replay, out: Path) -> tuple[int, ...]:
    """Renders into a `.npy` file chunk by chunk and returns its shape. `out` appears only when it
    is complete; until then the file beside it is called `.part`."""
    voices, lasts = embed_voices(
        loaded.voice,
        wanted.audios,
        wanted.settings.frames,
        in_turn=wanted.in_turn,
        silent=wanted.silent,
    )
    frames = min(lasts, wanted.most_frames)
    if frames < lasts:
        sys.stderr.write(f"The voice lasts {lasts} frames, of which {frames} are rendered.\n")
    prompt, negative = loaded.text.embed([wanted.prompt, wanted.negative or NEGATIVE_PROMPT])
    with TemporaryDirectory() as folder:
        scene = read_scene(wanted.source, wanted.size, wanted.settings, frames, Path(folder))
        job = RenderJob(
            portrait=scene.portrait,
            prompt=prompt,
            negative=negative,
            voices=voices,
            seed=wanted.seed,
            frames=frames,
            listeners=scene.listeners(wanted.boxes) if len(voices) > 1 else None,
            anchors=scene.anchors,
        )
        return _write_frames(loaded, job, wanted, out)


def _write_frames(
    loaded: PublishedModels, job: RenderJob, wanted: Replay, out: Path
) -> tuple[int, ...]:
    frames = job.frames
    shape = (3, frames, wanted.size.height, wanted.size.width)
    part = out.with_name(f"{out.name}.part")
    file = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
    try:
        at = 0
        for chunk in render(loaded.models, job, wanted.settings, Uninterrupted()):
            after = at + chunk.frames.shape[1]
            file[:, at:after] = chunk.frames.numpy()
            at = after
        file.flush()
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return shape


def embed_speech(encoder: VoiceEncoder, audio: Path, window: int) -> tuple[VoiceTrack, int]:
    """The embedded voice, padded to at least one window, and its own length in frames."""
    samples = read_speech(audio)
    lasts = video_frames(samples)
    samples = level_loudness(pad_to_frames(samples, window) if lasts < window else samples)
    return encoder.embed(samples, max(lasts, window)), max(lasts, 1)


def embed_voices(
    encoder: VoiceEncoder,
    audios: Sequence[Path],
    window: int,
    *,
    in_turn: bool = False,
    silent: int | None = None,
) -> tuple[tuple[VoiceTrack, ...], int]:
    """One or two embedded voices of one length, and that length in frames; see `Replay`."""
    if silent is None and len(audios) == 1:
        track, lasts = embed_speech(encoder, audios[0], window)
        return (track,), lasts
    read: list[Samples] = [level_loudness(read_speech(audio)) for audio in audios]
    if silent is not None:
        read.insert(silent - 1, np.zeros(len(read[0])))
    first, second = read
    if in_turn:
        first, second = (
            np.concatenate((first, np.zeros(len(second)))),
            np.concatenate((np.zeros(len(first)), second)),
        )
    longest = max(len(first), len(second))
    lasts = video_frames(np.zeros(longest))
    frames = max(lasts, window)
    tracks = []
    for samples in (first, second):
        padded = np.pad(samples, (0, longest - len(samples)))
        tracks.append(encoder.embed(pad_to_frames(padded, window), frames))
    return tuple(tracks), max(lasts, 1)


@dataclass(frozen=True)
class Scene:
    """What is filmed, and the part of it that is shown."""

    portrait: Tensor
    cut: Cut
    anchors: Anchors | None = None

    def listeners(self, boxes: Sequence[Box4] | None) -> Listeners:
        """The two people, as upstream tells them apart."""
        regions = upstream_regions(self.cut.source, boxes)
        return listeners_of(self.cut, [[region] for region in regions])


def read_scene(
    path: Path, size: Size, settings: RenderSettings, frames: int, folder: Path
) -> Scene:
    """Reads a portrait, a video, or `.npy` frames. folder: for frames of a video, as long as the
    scene is used."""
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")
        if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or not len(array):
            raise ValueError(f"{path} holds no frames, uint8 [T, H, W, 3].")

        cut = centre_cut(Size(array.shape[2], array.shape[1]), size)

        def frame(index: int) -> Tensor:
            return picture_of(Image.fromarray(np.array(array[index])), cut)

        return Scene(frame(0), cut, VideoAnchors(frame, len(array)))
    if path.suffix.lower() in _VIDEO_NAMES:
        starts = [window.start for window in plan_windows(frames, settings)]
        video = SourceVideo.open(path, starts, VideoEnd.HOLD, folder)
        cut = centre_cut(video.size, size)
        return Scene(video.frame(0, cut), cut, video.anchors(cut))
    with Image.open(path) as image:
        cut = centre_cut(Size(*image.size), size)
    return Scene(read_portrait(path, cut, is_repaired=False), cut)


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        wanted = _wanted(options)
        loaded = _load(options.weights, is_multi=options.multi)
        shape = replay(loaded, wanted, options.out)
    except (InputError, MissingWeights, MissingTensor, OSError, TypeError, ValueError) as problem:
        sys.stderr.write(f"replay: {problem}\n")
        return _USAGE_ERROR
    sys.stderr.write(f"\r{options.out}: float32 {list(shape)}\n")
    return 0


def _load(weights: Path, *, is_multi: bool) -> PublishedModels:
    """Turns the errors that libraries raise for damaged files or wrong sizes into `ValueError`."""
    try:
        return load_published(weights, is_multi=is_multi)
    except (RuntimeError, KeyError, SafetensorError, pickle.UnpicklingError) as cause:
        reason = str(cause).strip().partition("\n")[0]
        raise ValueError(f"The weights in {weights} cannot be used: {reason}") from cause


def _wanted(options: argparse.Namespace) -> Replay:
    if options.max_frames < 1:
        raise ValueError(f"A video has at least one frame, not {options.max_frames}.")
    seed = options.seed
    if seed < 0:
        seed = secrets.randbelow(_SEEDS)
        sys.stderr.write(f"The seed is {seed}.\n")
    settings = replace(
        UPSTREAM,
        frames=options.frames,
        motion=options.motion,
        steps=options.steps,
        shift=options.shift,
        text_guide=options.text_guide,
        audio_guide=options.audio_guide,
        colour=options.color,
    )
    if (options.image is None) is (options.video is None):
        raise ValueError("Give an image or a video.")
    audios = tuple(path for path in (options.audio, options.audio2) if path is not None)
    if options.silent is not None and len(audios) == 2:
        raise ValueError("A silent person has no audio: give --audio2 or --silent.")
    has_two = options.silent is not None or len(audios) == 2
    if options.boxes is not None and not has_two:
        raise ValueError("Boxes tell two people apart: give --audio2 or --silent too.")
    return Replay(
        source=options.image or options.video,
        audios=audios,
        most_frames=options.frames if options.mode == "clip" else options.max_frames,
        size=options.size,
        prompt=options.prompt,
        negative=options.negative,
        seed=seed,
        settings=settings,
        boxes=options.boxes,
        in_turn=options.speaking == "in_turn",
        silent=options.silent,
    )


def _parser() -> argparse.ArgumentParser:
    summary = cast("str", __doc__).splitlines()[0]
    parser = argparse.ArgumentParser("replay", description=summary)
    parser.add_argument("--weights", type=Path, help="the published layout", required=True)
    parser.add_argument("--image", type=Path, help="the portrait")
    parser.add_argument("--video", type=Path, help="a video to dub, or .npy frames of one")
    parser.add_argument("--audio", type=Path, help="the voice", required=True)
    parser.add_argument("--audio2", type=Path, help="the voice of a second person")
    parser.add_argument("--multi", action="store_true", help="the audio branch for two voices")
    parser.add_argument("--boxes", type=_boxes, help='"r0,c0,r1,c1 r0,c0,r1,c1" in the source')
    parser.add_argument("--speaking", choices=("together", "in_turn"), default="together")
    parser.add_argument("--silent", type=int, choices=(1, 2), help="a person without a voice")
    parser.add_argument(
        "--mode", choices=("clip", "streaming"), default="clip", help="clip is one window"
    )
    parser.add_argument("--size", type=_size, help="HEIGHTxWIDTH, multiples of 16", required=True)
    parser.add_argument("--frames", type=int, default=81, help="of one window, 4n + 1")
    parser.add_argument(
        "--max-frames", type=int, default=_MOST_FRAMES, help="of the whole video, in streaming mode"
    )
    parser.add_argument(
        "--motion", type=int, default=9, help="frames passed to the next window, 4n + 1"
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--shift", type=float, default=7.0)
    parser.add_argument("--text-guide", type=float, default=5.0)
    parser.add_argument("--audio-guide", type=float, default=4.0)
    parser.add_argument("--color", type=float, default=1.0, help="0 (off) to 1")
    parser.add_argument("--seed", type=int, default=42, help="negative: random")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--negative", default="", help="empty: upstream's default")
    parser.add_argument("--out", type=Path, help="a .npy file", required=True)
    return parser


def _boxes(text: str) -> tuple[Box4, ...]:
    boxes = [tuple(int(part) for part in box.split(",")) for box in text.split()]
    if [len(box) for box in boxes] != [4, 4]:
        raise argparse.ArgumentTypeError(f"{text!r} is not two times four numbers.")
    return cast("tuple[Box4, ...]", tuple(boxes))


def _size(text: str) -> Size:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH.")
    return Size(width=int(width), height=int(height))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
