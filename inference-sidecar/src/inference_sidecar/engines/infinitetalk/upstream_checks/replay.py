"""Renders one input with weights in the published layout, exactly as upstream would.

Runs on the CPU in float32, with upstream's random numbers and its treatment of the last window. Use
it to compare any weights and input with upstream, or to look at one job again. It needs no broker
and no GPU; the published weights take 110 GB of memory and many hours.

    python -m inference_sidecar.engines.infinitetalk.upstream_checks.replay \
        --weights DIR --image FILE --audio FILE \
        --mode streaming --size 448x896 --frames 81 --motion 9 --steps 40 --out frames.npy

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
from typing import Final, cast

import numpy as np
from safetensors import SafetensorError

from inference_sidecar.engines.engine import Size
from inference_sidecar.engines.infinitetalk.checkpoints.layout import MissingWeights
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import MissingTensor
from inference_sidecar.engines.infinitetalk.inputs.portrait import read_portrait
from inference_sidecar.engines.infinitetalk.inputs.prepare_job import NEGATIVE_PROMPT
from inference_sidecar.engines.infinitetalk.inputs.speech import (
    level_loudness,
    pad_to_frames,
    read_speech,
    video_frames,
)
from inference_sidecar.engines.infinitetalk.sampling.chunk_loop import RenderJob, render
from inference_sidecar.engines.infinitetalk.sampling.interfaces import VoiceEncoder, VoiceTrack
from inference_sidecar.engines.infinitetalk.sampling.render_settings import (
    UPSTREAM,
    RenderSettings,
)
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


@dataclass(frozen=True)
class Replay:
    """One replay; the fields are the command's options.

    most_frames: longer videos are cut to this; one window for a clip.
    """

    image: Path
    audio: Path
    most_frames: int
    size: Size
    prompt: str
    negative: str
    seed: int
    settings: RenderSettings


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
    voice, lasts = embed_speech(loaded.voice, wanted.audio, wanted.settings.frames)
    frames = min(lasts, wanted.most_frames)
    if frames < lasts:
        sys.stderr.write(f"The voice lasts {lasts} frames, of which {frames} are rendered.\n")
    prompt, negative = loaded.text.embed([wanted.prompt, wanted.negative or NEGATIVE_PROMPT])
    job = RenderJob(
        portrait=read_portrait(wanted.image, wanted.size, is_repaired=False),
        prompt=prompt,
        negative=negative,
        voices=(voice,),
        seed=wanted.seed,
        frames=frames,
    )
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


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        wanted = _wanted(options)
        shape = replay(_load(options.weights), wanted, options.out)
    except (InputError, MissingWeights, MissingTensor, OSError, TypeError, ValueError) as problem:
        sys.stderr.write(f"replay: {problem}\n")
        return _USAGE_ERROR
    sys.stderr.write(f"\r{options.out}: float32 {list(shape)}\n")
    return 0


def _load(weights: Path) -> PublishedModels:
    """Turns the errors that libraries raise for damaged files or wrong sizes into `ValueError`."""
    try:
        return load_published(weights)
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
    return Replay(
        image=options.image,
        audio=options.audio,
        most_frames=options.frames if options.mode == "clip" else options.max_frames,
        size=options.size,
        prompt=options.prompt,
        negative=options.negative,
        seed=seed,
        settings=settings,
    )


def _parser() -> argparse.ArgumentParser:
    summary = cast("str", __doc__).splitlines()[0]
    parser = argparse.ArgumentParser("replay", description=summary)
    parser.add_argument("--weights", type=Path, help="the published layout", required=True)
    parser.add_argument("--image", type=Path, help="the portrait", required=True)
    parser.add_argument("--audio", type=Path, help="the voice", required=True)
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


def _size(text: str) -> Size:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH.")
    return Size(width=int(width), height=int(height))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
