"""The protocol every engine speaks, and the values that travel through it.

An engine is loaded once per child process, plans a request, and renders it chunk by chunk. It
yields raw frames; scaling, encoding, uploading and reporting belong to others. Nothing here imports
torch, OpenCV or (at run time) numpy, so that the parent process can import it at no cost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from inference_sidecar.engines.stages import LoadStages, Stages, Untimed
from inference_sidecar.foundation.contracts import FRAMES_PER_SECOND, JobWarning, Sampling
from inference_sidecar.foundation.errors import ResumeRefused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FPS: Final = FRAMES_PER_SECOND
"""Frames per second of everything we deliver."""

Quality = Literal["draft", "standard", "high"]

QUALITIES: Final[tuple[Quality, ...]] = ("draft", "standard", "high")
"""What a job may ask for, quickest first."""

USUAL_QUALITY: Final[Quality] = "standard"
"""Of a job that asks for none."""

SIZE_CLASSES: Final = ("720p", "480p", "432p", "352p")
"""Generation sizes, largest first, named for the short side of the landscape one."""

_NEXT_SMALLER: Final = {"720p": "480p", "480p": "352p", "432p": "352p"}
"""What is planned after out-of-memory. 432p needs five sixths of the memory of 480p: too much."""


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


DELIVERY_SIZES: Final = (
    Size(1280, 720),
    Size(720, 1280),
    Size(960, 960),
    Size(1120, 896),
    Size(896, 1120),
    Size(1152, 768),
    Size(768, 1152),
)
"""16:9, 9:16, 1:1, 5:4, 4:5, 3:2 and 2:3."""


class Box(NamedTuple):
    """A part of the picture, in shares of its width and height, 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Voice:
    """A recording that drives a mouth, PCM WAV; before and after it that mouth is silent."""

    path: Path
    start_seconds: float = 0.0


@dataclass(frozen=True)
class How:
    """What a job asks for beyond its media. Without any of it: the usual video.

    quality: one of `QUALITIES`.
    speaker: who speaks where one voice meets several faces: a face counted from the left, from 0,
        or a box; None is the face that stands out.
    speakers: where two voices belong, the first one's box first; None is from left to right.
    lead_seconds, tail_seconds: silence before and after, 0 to 5; the voices' starts and the frames
        of the request include it.
    expressiveness: how much of what the voice adds is used, 0.5 to 1.5.
    camera: `auto`, `still` or `drift`.
    video_end: what follows where the voice outlasts a source video: `hold` or `pingpong`.
    """

    quality: str = "standard"
    speaker: int | Box | None = None
    speakers: tuple[Box, Box] | None = None
    lead_seconds: float = 0.0
    tail_seconds: float = 0.0
    expressiveness: float = 1.0
    camera: str = "auto"
    video_end: str = "hold"


@dataclass(frozen=True)
class RenderRequest:
    """What one job asks of an engine. The media were checked and normalised by ingest.

    image: RGB PNG, sides at most 2048 px, upright, no alpha. Of a source video its first frame.
    audio: what is delivered: PCM WAV with the customer's channels and rate, up to 48 kHz stereo.
    frames: how many frames to deliver, `frames_for(audio seconds)`.
    voices: one or two where the lips follow anything but `audio` from its start.
    video: MP4 at 25 frames a second, sides at most 2048 px, upright, without sound: dub it.
    """

    job_id: str
    image: Path
    audio: Path
    prompt: str
    seed: int
    delivery: Size
    frames: int
    voices: tuple[Voice, ...] = ()
    video: Path | None = None
    how: How = field(default_factory=How)

    @property
    def heard(self) -> tuple[Voice, ...]:
        """The voices that drive the lips, one or two."""
        return self.voices or (Voice(self.audio),)


@dataclass(frozen=True)
class Plan:
    """How a request will be rendered.

    chunks: delivered frames of each chunk, in order; their sum is `RenderRequest.frames`.
    delivery: what the encoder scales to; the request's, unless the engine says otherwise (`null`).
    warnings: what the caller should know about the media; the result shows them.
    may_repeat: an earlier video of the same length and size will do, which only a benchmark wants.
    cuts: frames at which another scene of a source video begins, with a chunk of its own.
    sampling: of an engine that samples.
    """

    generation: Size
    delivery: Size
    chunks: tuple[int, ...]
    estimated_seconds: float
    size_class: str
    warnings: tuple[JobWarning, ...] = ()
    may_repeat: bool = False
    cuts: tuple[int, ...] = ()
    sampling: Sampling | None = None

    @property
    def frames(self) -> int:
        """Frames of the whole video."""
        return sum(self.chunks)


@dataclass(frozen=True)
class Chunk:
    """A run of finished frames: uint8 `[T, H, W, 3]`, RGB, at generation size.

    state: opaque bytes; all that chunk `index + 1` needs besides request and plan.
    checks: what the engine measured in the frames of all chunks so far, by name.
    details: those of the engine's `Readiness` that have changed since it was loaded.
    """

    index: int
    frames: NDArray[np.uint8]
    state: bytes
    checks: Mapping[str, float] = field(default_factory=dict[str, float])
    details: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class ResumeState:
    """Where an interrupted render can resume: the chunks before `next_chunk` are safe elsewhere."""

    next_chunk: int
    state: bytes
    fingerprint: str

    def require(self, fingerprint: str) -> None:
        """Raises `ResumeRefused` unless this state was made by the same render."""
        if self.fingerprint != fingerprint:
            raise ResumeRefused("The resume state belongs to another render.")

    def to_bytes(self) -> bytes:
        """One line of JSON, then the engine's state as it is."""
        header = {"nextChunk": self.next_chunk, "fingerprint": self.fingerprint}
        return json.dumps(header).encode() + b"\n" + self.state

    @classmethod
    def from_bytes(cls, content: bytes) -> ResumeState:
        """Reads what `to_bytes` wrote; raises `ResumeRefused` for anything else."""
        line, newline, state = content.partition(b"\n")
        if not newline:
            raise ResumeRefused("The resume state has no header.")
        try:
            header = json.loads(line)
            return cls(int(header["nextChunk"]), state, str(header["fingerprint"]))
        except (ValueError, KeyError, TypeError) as cause:
            raise ResumeRefused("The resume state cannot be read.") from cause


@dataclass(frozen=True)
class Offers:
    """What an engine can do beyond the usual video.

    paces: seconds per second of video of each quality that it renders; empty is `standard` alone,
    at the own pace. speakers: how many in one video, 1 or 2. video: it dubs a source video.
    """

    paces: Mapping[str, float] = field(default_factory=dict[str, float])
    speakers: int = 1
    video: bool = False


@dataclass(frozen=True)
class Readiness:
    """What `load` found; part of every heartbeat and of every result.

    seconds_per_video_second: calibrated on this machine; the base of every estimate.
    details: whatever else decides pixels or pace, in a few words each.
    size_class, frames_per_chunk: of a render that is not degraded; None if the engine has none.
    device_uuid: by which the driver knows the device; None if it is none of the driver's.
    offers: what jobs may ask of it.
    """

    device: str
    precision: str
    attention_backend: str
    peak_memory_bytes: int
    seconds_per_video_second: float
    details: Mapping[str, str] = field(default_factory=dict[str, str])
    size_class: str | None = None
    frames_per_chunk: int | None = None
    device_uuid: str | None = None
    offers: Offers = field(default_factory=Offers)


UNTIMED: Final[LoadStages] = Untimed()
"""What `Engine.load` is given when nobody watches."""


class Control(Stages, Protocol):
    """Stops a render and follows its progress.

    Its stages are `prepare` (whatever comes before the first frame) and a `chunk` for each chunk,
    with `chunk=`, `frames=` and, where there are any, `steps=`.
    """

    def check(self) -> None:
        """Raises `Cancelled` or `DeadlineExceeded`. Called once per forward pass or more."""
        ...

    def progress(self, fraction: float) -> None:
        """Reports how much of this render is done, 0 to 1, and never less than before."""
        ...


class Engine(Protocol):
    """One way to turn a portrait and a voice into video."""

    @property
    def name(self) -> str:
        """The name that every result carries."""
        ...

    def load(self, stages: LoadStages = UNTIMED) -> Readiness:
        """Makes the engine ready to render. Called once per process, before anything else.

        Its stages are `weights` (read into memory), `engine` (what is made of them) and
        `calibrate`. Heartbeats name the one that a start has reached, and how much of the weights
        is read if the engine tells.
        """
        ...

    def warm_up(self) -> Iterator[None]:
        """What makes a first job of its kind as fast as later ones, in pieces of about a second.

        The render process does a piece whenever no order waits, in the thread that renders. A piece
        that raises ends it, and no job fails of that.
        """
        ...

    def plan(self, request: RenderRequest, size_class: str | None = None) -> Plan:
        """Decides sizes, chunks and estimate. Raises `InputError` if the media cannot be used.

        size_class: one of `SIZE_CLASSES`; by default the largest that the engine is configured for.
        """
        ...

    def render(
        self, request: RenderRequest, plan: Plan, control: Control, resume: ResumeState | None
    ) -> Iterator[Chunk]:
        """Yields the chunks of the plan in order, from `resume.next_chunk` if given.

        Raises `RenderError` (`GpuOutOfMemory` and `ResumeRefused` among them), `InputError`, and
        what `control.check` raises. Closing the iterator frees what the render holds.
        """
        ...

    def fingerprint(self, request: RenderRequest, plan: Plan) -> str:
        """Identifies this render for `ResumeState`: request, plan, engine version and weights."""
        ...


def frames_for(audio_seconds: float) -> int:
    """The frames of a video as long as its audio, at least one."""
    return max(1, round(FPS * audio_seconds))


def next_smaller(size_class: str) -> str | None:
    """The size class to try after out-of-memory, or None when there is none."""
    return _NEXT_SMALLER.get(size_class)


def split_frames(frames: int, chunk_frames: int) -> tuple[int, ...]:
    """Cuts a video into chunks of `chunk_frames`; the last one may be shorter."""
    full, rest = divmod(frames, chunk_frames)
    return (chunk_frames,) * full + ((rest,) if rest else ())


def fingerprint_of(request: RenderRequest, plan: Plan, weights: str) -> str:
    """SHA-256 over everything that decides the pixels.

    That is the content of the media, prompt, seed, sizes, chunks and weights. The id of
    the job and the paths are left out: the same render on another machine is the same render.
    """
    digest = hashlib.sha256()
    media = [request.image, request.audio, *(voice.path for voice in request.voices)]
    for path in (*media, request.video):
        if path is None:
            continue
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    facts = [
        request.prompt,
        request.seed,
        request.frames,
        [voice.start_seconds for voice in request.voices],
        asdict(request.how),
        plan.generation,
        plan.chunks,
        weights,
    ]
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()
