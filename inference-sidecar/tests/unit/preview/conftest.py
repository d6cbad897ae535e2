"""Speaking portraits, rendered and encoded once for all tests that look at them."""

# PyAV is typed in parts only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import os
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from inference_sidecar.engines.engine import FPS, RenderRequest, Size, frames_for
from inference_sidecar.engines.faces.face_detector import DetectedFace, FaceDetector
from inference_sidecar.engines.faces.face_mesh import CHIN, FOREHEAD, FaceMesh
from inference_sidecar.engines.preview.engine import PreviewEngine
from inference_sidecar.engines.raster import Image, Points, read_image
from inference_sidecar.engines.stages import Untimed
from inference_sidecar.foundation.find_ffmpeg import find_ffmpeg
from inference_sidecar.media.encoder import Encoder
from stage.voice import write_wav

EXAMPLES = Path(__file__).parents[4] / "examples"
PORTRAIT = EXAMPLES / "portrait.jpg"
VOICE = EXAMPLES / "voice.wav"
SMILE = Path(__file__).parents[2] / "media" / "smile.jpg"
RATE_HZ = 16_000
INNER_UPPER_LIP, INNER_LOWER_LIP = 13, 14


class Unwatched(Untimed):
    def check(self) -> None:
        pass

    def progress(self, fraction: float) -> None:
        pass


@dataclass(frozen=True)
class Footage:
    """What a viewer gets: the file, and the frames `[T, H, W, 3]` that a player decodes from it.

    aperture: how far apart the lips are in each frame, in face heights, by the landmark model.
    """

    video: Path
    frames: NDArray[np.uint8]
    chunks: tuple[int, ...]
    aperture: NDArray[np.float64]


class Film:
    """Makes videos, and measures them with the landmark model: what was meant does not count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._detector, self._mesh = FaceDetector(), FaceMesh()
        self._engine = PreviewEngine()
        self._engine.load()

    def record(
        self, samples: NDArray[np.int16], *, size: Size, portrait: Path = PORTRAIT, seed: int = 7
    ) -> Footage:
        """Makes the portrait say these 16 kHz mono samples."""
        video = self.make(samples, size=size, portrait=portrait, seed=seed)
        with av.open(str(video)) as container:
            frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
        # A head that sways stays where it was found: looking for it again only costs time.
        face = self._detector.find_faces(frames[0])[0]
        aperture = np.array([self._aperture(frame, face) for frame in frames])
        return Footage(video, frames, self.chunks, aperture)

    def make(
        self, samples: NDArray[np.int16], *, size: Size, portrait: Path = PORTRAIT, seed: int = 7
    ) -> Path:
        """The same without looking at it."""
        name = f"{portrait.stem}-{len(samples)}-{size.width}x{size.height}-{seed}"
        audio = write_wav(self._folder / f"{name}.wav", samples, RATE_HZ)
        frames = frames_for(len(samples) / RATE_HZ)
        request = RenderRequest("job", portrait, audio, "", seed, size, frames)
        plan = self._engine.plan(request)
        self.chunks = plan.chunks
        video = self._folder / f"{name}.mp4"
        ffmpeg = find_ffmpeg(os.environ.get("FFMPEG_PATH"))
        with Encoder(video, audio, plan, ffmpeg=ffmpeg) as encoder:
            for chunk in self._engine.render(request, plan, Unwatched(), None):
                encoder.write(chunk.frames)
            encoder.finish()
        return video

    def landmarks(self, picture: Image) -> Points:
        """The mesh on the main face."""
        points = self._mesh.locate(picture, self._detector.find_faces(picture)[0])
        assert points is not None
        return points

    def _aperture(self, frame: Image, face: DetectedFace) -> float:
        points = self._mesh.locate(frame, face)
        assert points is not None
        gap = points[INNER_LOWER_LIP, 1] - points[INNER_UPPER_LIP, 1]
        return float(gap / (points[CHIN, 1] - points[FOREHEAD, 1]))


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film(tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="session")
def voice() -> NDArray[np.int16]:
    with wave.open(str(VOICE)) as reader:
        assert (reader.getframerate(), reader.getnchannels()) == (RATE_HZ, 1)
        return np.frombuffer(reader.readframes(reader.getnframes()), np.int16)


@pytest.fixture(scope="session")
def speaking(film: Film, voice: NDArray[np.int16]) -> Footage:
    return film.record(voice, size=Size(480, 480))


@pytest.fixture(scope="session")
def smiling(film: Film, voice: NDArray[np.int16]) -> Footage:
    """The harder portrait: a small face that shows its teeth."""
    return film.record(voice[: 5 * RATE_HZ], size=Size(720, 720), portrait=SMILE)


@pytest.fixture(scope="session")
def silent(film: Film) -> Footage:
    return film.record(np.zeros(RATE_HZ * 3, np.int16), size=Size(480, 480))


@pytest.fixture(scope="session")
def portrait() -> Image:
    picture = read_image(PORTRAIT)
    assert picture is not None
    return picture


@pytest.fixture(scope="session")
def loudness(voice: NDArray[np.int16]) -> NDArray[np.float64]:
    """Level of speech in each frame in dB, measured here and in no other way than this."""
    step = RATE_HZ // FPS
    whole = voice[: len(voice) // step * step].reshape(-1, step).astype(np.float64)
    return 20 * np.log10(np.sqrt((whole**2).mean(axis=1)) + 30)
