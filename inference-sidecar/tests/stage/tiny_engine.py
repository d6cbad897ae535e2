"""An engine over tiny random weights, and requests for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inference_sidecar.engines.engine import FPS, RenderRequest, Size
from inference_sidecar.engines.infinitetalk.capacity.flops import TransformerShape
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.engines.infinitetalk.recipes import RECIPES
from inference_sidecar.engines.infinitetalk.settings import InfiniteTalkSettings
from inference_sidecar.engines.infinitetalk.upstream_checks.published_models import load_published
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes
from inference_sidecar.engines.stages import Untimed
from stage.voice import write_wav

EXAMPLES = Path(__file__).parents[3] / "examples"
TINY = TinySizes()


def tiny_settings(**changes: Any) -> InfiniteTalkSettings:
    """17 frames of 48x32: three chunks are 41 frames."""
    defaults: dict[str, Any] = {
        "model_storage_path": Path("/nowhere"),
        "infinitetalk_device": "cpu",
        "infinitetalk_precision": "fp32",
        "infinitetalk_frames": 17,
        "infinitetalk_motion_frames": 5,
        "infinitetalk_steps": 2,
        "infinitetalk_audio_guide": 1.0,
        "infinitetalk_check": "finite",
        "infinitetalk_size_divisor": 16,
    }
    return InfiniteTalkSettings(**(defaults | changes))


def tiny_loaded_model(published: Path, *, is_multi: bool = False) -> LoadedModel:
    """A loaded model in float32 from the published layout.

    is_multi: its only audio branch is the one for two voices.
    """
    loaded = load_published(published, is_multi=is_multi)
    dit = loaded.models.denoiser
    return LoadedModel(
        models=loaded.models,
        codec=loaded.models.codec,
        text=loaded.text,
        voice=loaded.voice,
        shape=TransformerShape(
            dim=TINY.dim,
            ffn_dim=TINY.ffn,
            layers=TINY.layers,
            heads=TINY.heads,
            text_tokens=TINY.text_tokens,
            audio_tokens=TINY.audio_tokens,
            audio_dim=TINY.audio_dim,
        ),
        text_dim=TINY.text_dim,
        precision="fp32",
        attention=str(dit.attention),
        block_ops=dit.block_ops,
        weights="tiny",
        recipe=RECIPES["lightx2v-4"],
        codec_bytes_per_value=4,
        has_multi=is_multi,
    )


@dataclass
class Watched(Untimed):
    """Records progress; raises an error after a number of checks."""

    looks_left: int = 1_000_000
    error: type[Exception] = RuntimeError
    looks: int = 0
    fractions: list[float] = field(default_factory=list[float])
    on_look: Callable[[int], None] = lambda _look: None

    def check(self) -> None:
        self.looks += 1
        self.on_look(self.looks)
        if self.looks > self.looks_left:
            raise self.error

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)


def write_voice(path: Path, seconds: float, rate: int = 16_000) -> Path:
    """A voice-like sound: a tone of varying loudness."""
    moments = np.arange(round(seconds * rate)) / rate
    sound = np.sin(moments * 1200) * (0.3 + 0.3 * np.sin(moments * 9))
    return write_wav(path, (sound * 30_000).astype(np.int16), rate)


def a_request(folder: Path, frames: int, **changes: Any) -> RenderRequest:
    """The example portrait with a voice of this many frames."""
    voice = write_voice(folder / f"voice-{frames}.wav", frames / FPS)
    given: dict[str, Any] = {
        "job_id": "job",
        "image": EXAMPLES / "portrait.jpg",
        "audio": voice,
        "prompt": "a woman is talking",
        "seed": 7,
        "delivery": Size(96, 54),
        "frames": frames,
    }
    return RenderRequest(**(given | changes))


def no_triton() -> None:
    """Replaces a fused kernel in tests of something else."""
    raise ImportError("its kernels are interpreted here, and slowly; they have tests of their own")
