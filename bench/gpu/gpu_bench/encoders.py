"""B9: the encoders that run once per job (speech, prompt, portrait), in the published shapes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gpu_bench.measure import Bench, Budget, Device
from gpu_bench.scale import Scale
from gpu_bench.table import Row
from gpu_bench.weights import random_tensor
from inference_sidecar.engines.infinitetalk.checkpoints import layout
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    image_shapes,
    text_shapes,
)

if TYPE_CHECKING:
    from inference_sidecar.engines.infinitetalk.encoders.image import ClipImage

_RATE = 16_000


def make_image_encoder(device: Device, scale: Scale) -> ClipImage:
    """CLIP's image half with random weights."""
    from inference_sidecar.engines.infinitetalk.encoders.image import ClipImage  # noqa: PLC0415 - as in codec

    dtype = torch.bfloat16 if device.is_cuda else torch.float32
    tensors = {
        name: random_tensor(shape or (1,), device.torch, dtype).reshape(shape)
        for name, shape in image_shapes(scale.weights).items()
    }
    return ClipImage(tensors, device.torch, dtype)


class EncoderBench(Bench):
    """Measures each encoder where the engine runs it."""

    def measure_all(self, image_encoder: ClipImage, budget: Budget) -> None:
        """Speech, prompt, portrait."""
        from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (  # noqa: PLC0415 - ditto
            write_tiny_weights,
        )

        picture = torch.rand(3, 480, 832, device=self.device.torch) * 2 - 1
        self._one("portrait (CLIP)", lambda: lambda: image_encoder.embed(picture), budget)
        with tempfile.TemporaryDirectory() as folder:
            tiny = write_tiny_weights(Path(folder) / "tiny", TinySizes())
            seconds = self.scale.speech_seconds
            self._one(f"{seconds} s of speech (wav2vec2)", lambda: self._speech(tiny), budget)
            self._one("prompt (umT5)", lambda: self._prompt(tiny), budget)

    def _speech(self, tiny: Path) -> Callable[[], object]:
        from inference_sidecar.engines.infinitetalk.encoders.voice import Wav2Vec2  # noqa: PLC0415 - ditto

        encoder = Wav2Vec2(tiny / layout.VOICE, self.device.torch)
        samples = np.random.default_rng(1).standard_normal(self.scale.speech_seconds * _RATE)
        frames = self.scale.speech_seconds * 25
        return lambda: encoder.embed(samples.astype(np.float32) * 0.1, frames)

    def _prompt(self, tiny: Path) -> Callable[[], object]:
        from inference_sidecar.engines.infinitetalk.encoders.text import UmT5  # noqa: PLC0415 - ditto

        dtype = torch.bfloat16 if self.device.is_cuda else torch.float32
        tensors = {
            name: random_tensor(shape, self.device.torch, dtype)
            for name, shape in text_shapes(self.scale.weights).items()
        }
        tokenizer = tiny / layout.BASE / layout.TOKENIZER
        encoder = UmT5(tensors, tokenizer, self.scale.weights.text_tokens, self.device.torch)
        text = "a woman is talking to the camera in the studio " * 6
        return lambda: encoder.embed([text])

    def _one(self, what: str, make: Callable[[], Callable[[], object]], budget: Budget) -> None:
        if timed := self.time_or_skip("B9", what, budget, make):
            self.table.add(Row("B9", what, timed.seconds, None, None, timed.peak_bytes))
