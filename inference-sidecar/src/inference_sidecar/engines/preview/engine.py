"""The `preview` engine: a real portrait and a real voice, without a generative model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from inference_sidecar.engines.engine import (
    FPS,
    SIZE_CLASSES,
    UNTIMED,
    Chunk,
    Control,
    Plan,
    Readiness,
    RenderRequest,
    ResumeState,
    Size,
    fingerprint_of,
    split_frames,
)
from inference_sidecar.engines.faces.face_finder import FaceFinder
from inference_sidecar.engines.left_out import offers_of_all, warn_of_left_out
from inference_sidecar.engines.preview.blinks import plan_blinks
from inference_sidecar.engines.preview.calibration import guess_seconds_per_video_second
from inference_sidecar.engines.preview.compositor import Compositor, FacePose
from inference_sidecar.engines.preview.framing import frame_portrait
from inference_sidecar.engines.preview.head_motion import plan_head
from inference_sidecar.engines.preview.lip_closures import (
    SECONDS_PER_VOICE_SECOND,
    Closure,
    LipClosures,
)
from inference_sidecar.engines.preview.lip_motion import MouthPose
from inference_sidecar.engines.preview.speaker import Speaker, choose_speaker
from inference_sidecar.engines.preview.speech_motion import plan_speech
from inference_sidecar.engines.preview.voice import measure_voice
from inference_sidecar.engines.raster import Image, read_image, use_threads
from inference_sidecar.engines.stages import LoadStages
from inference_sidecar.foundation.errors import ImageUnreadable
from inference_sidecar.foundation.pace import Pace

_CHUNK_FRAMES: Final = FPS
"""One second: 70 MB of frames at 720p, and the most that a cancel or a crash loses."""
_SHRINK: Final = {"720p": (1, 1), "480p": (2, 3), "432p": (3, 5), "352p": (1, 2)}
_VERSION: Final = "preview-5"
_SETUP_SECONDS: Final = 0.5
"""Finding and preparing the face, whatever the video's length."""


@dataclass(frozen=True)
class _Loaded:
    finder: FaceFinder
    lip_closures: LipClosures
    pace: Pace


class PreviewEngine:
    """Makes a portrait speak by warping it. Runs on a CPU, faster than real time on two cores."""

    name = "preview"

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None

    def load(self, stages: LoadStages = UNTIMED) -> Readiness:
        """Loads the models of faces (4 MB) and phones (30 MB).

        The pace is estimated until renders have been measured.
        """
        with stages.stage("weights"):
            finder, lip_closures = FaceFinder(), LipClosures()
        with stages.stage("engine"):
            # The encoder needs the other core, and the frames are too small to gain from threads.
            use_threads(1)
        with stages.stage("calibrate"):
            pace = Pace(guess_seconds_per_video_second())
        self._loaded = _Loaded(finder, lip_closures, pace)
        return Readiness(
            *("cpu", "uint8", "none", 0, pace.seconds_per_video_second),
            size_class=SIZE_CLASSES[0],
            frames_per_chunk=_CHUNK_FRAMES,
            offers=offers_of_all(pace.seconds_per_video_second),
        )

    def warm_up(self) -> Iterator[None]:
        """Nothing: a first job is as fast as any other."""
        return iter(())

    def plan(self, request: RenderRequest, size_class: str | None = None) -> Plan:
        """Finds the face. Chunks are one second long.

        Raises `ImageUnreadable`, `NoFace`, `SpeakerNotFound` and `FaceUnusable`.
        """
        _, speaker = self._find_speaker(request)
        pace = self._models().pace.seconds_per_video_second
        chosen = size_class or SIZE_CLASSES[0]
        part, whole = _SHRINK[chosen]
        width, height = request.delivery
        return Plan(
            generation=Size(width * part // whole // 2 * 2, height * part // whole // 2 * 2),
            delivery=request.delivery,
            chunks=split_frames(request.frames, _CHUNK_FRAMES),
            estimated_seconds=_SETUP_SECONDS
            + (pace + SECONDS_PER_VOICE_SECOND) * request.frames / FPS,
            size_class=chosen,
            warnings=(
                *speaker.warnings,
                *warn_of_left_out(self.name, request, takes_speaker=True),
            ),
        )

    def render(
        self, request: RenderRequest, plan: Plan, control: Control, resume: ResumeState | None
    ) -> Iterator[Chunk]:
        """Draws frame by frame. Each frame depends on its number alone, so there is no state."""
        if resume is not None:
            resume.require(self.fingerprint(request, plan))
        control.check()
        with control.stage("prepare"):
            portrait, speaker = self._find_speaker(request)
            landmarks = speaker.landmarks
            framing = frame_portrait(portrait, landmarks, plan.generation)
            compositor = Compositor(framing, landmarks, moves_mouth=not speaker.is_mouth_covered)
            control.check()
            poses = plan_poses(
                request, self._models().lip_closures.find(_lips(request), control.check)
            )
        first = resume.next_chunk if resume is not None else 0
        done = resumed = sum(plan.chunks[:first])
        started = time.monotonic()
        for index in range(first, len(plan.chunks)):
            width, height = plan.generation
            frames = np.empty((plan.chunks[index], height, width, 3), np.uint8)
            with control.stage("chunk", chunk=index, frames=len(frames)):
                for frame in frames:
                    control.check()
                    compositor.draw(frame, poses[done])
                    done += 1
                    control.progress(done / plan.frames)
            yield Chunk(index, frames, b"")
        # The consumer encodes each chunk in between, so this is the pace of the whole job.
        self._models().pace.observe((done - resumed) / FPS, time.monotonic() - started)

    def _models(self) -> _Loaded:
        if self._loaded is None:
            raise RuntimeError("Call load() first.")
        return self._loaded

    def fingerprint(self, request: RenderRequest, plan: Plan) -> str:
        """See `Engine.fingerprint`."""
        return fingerprint_of(request, plan, _VERSION)

    def _find_speaker(self, request: RenderRequest) -> tuple[Image, Speaker]:
        """The portrait, and who speaks in it."""
        finder = self._models().finder
        portrait = read_image(request.image)
        if portrait is None:
            raise ImageUnreadable("The image is not a PNG or JPEG.")
        return portrait, choose_speaker(portrait, finder.find(portrait), request.how.speaker)


def _lips(request: RenderRequest) -> Path:
    """What the lips follow: the first voice, if it begins with the video as what is delivered does.

    One that begins later is a part of the delivered sound, which has the silence before it.
    """
    first = request.heard[0]
    return first.path if first.start_seconds == 0 else request.audio


def plan_poses(request: RenderRequest, closures: Sequence[Closure] = ()) -> list[FacePose]:
    """The pose of every frame of a request, a few hundred bytes each."""
    speech = plan_speech(measure_voice(_lips(request)), request.frames, closures)
    heads = plan_head(speech.emphasis, request.seed)
    blinks = plan_blinks(request.frames, request.seed)
    return [
        FacePose(MouthPose(float(opening), float(spread)), head, float(closed))
        for opening, spread, head, closed in zip(
            speech.open, speech.spread, heads, blinks, strict=True
        )
    ]
