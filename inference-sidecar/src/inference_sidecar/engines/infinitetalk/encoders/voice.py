"""Embeds speech, one embedding per video frame, with wav2vec 2.0 from transformers.

Upstream subclasses the model, which current versions of transformers do not support. Here the stock
model runs in stages: its features are interpolated to the video's frame rate in between, and a hook
on every layer collects the hidden states.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

from inference_sidecar.engines.engine import FPS
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import MissingTensor
from inference_sidecar.engines.infinitetalk.encoders.stored_voice import SilentVoice, StoredVoice
from inference_sidecar.engines.infinitetalk.encoders.voice_features import features_in_pieces
from inference_sidecar.engines.infinitetalk.sampling.interfaces import AS_UPSTREAM, SAMPLE_RATE
from inference_sidecar.engines.infinitetalk.sampling.render_settings import VoiceEnds

_EXACT_FRAMES: Final = 1_500
"""Up to a minute, convolutions run in one piece and attention stores its scores (108 MB per layer),
so that both round like upstream's. Longer voices use convolutions in pieces, whose memory stays
constant, and attention whose memory does not grow with the square of the length."""
_PREFIXES: Final = ("feature_extractor.", "feature_projection.", "encoder.")
"""Prefixes of the tensors that are used. Other tensors belong to training heads; an unknown tensor
with one of these prefixes is an error."""
_NOT_NEEDED: Final = {"masked_spec_embed"}
"""Used only in training, and missing from some files."""


class Wav2Vec2:
    """`interfaces.VoiceEncoder` from a folder with weights, config and preprocessor config."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._extractor = cast("Any", Wav2Vec2FeatureExtractor).from_pretrained(
            str(folder), local_files_only=True
        )
        model = _read_model(folder)
        self._model = model.eval().requires_grad_(False).to(self._device)

    @functools.cached_property
    def _silence(self) -> Tensor:
        """A second of embedded silence, from the middle of two: once per process."""
        track = self.embed(np.zeros(2 * SAMPLE_RATE, dtype=np.float32), 2 * FPS)
        # Of five neighbours, the frame itself.
        return track.window(FPS // 2, FPS, is_last=False)[:, 2]

    @torch.inference_mode()
    def embed(
        self, samples: NDArray[np.floating[Any]], frames: int, ends: VoiceEnds = AS_UPSTREAM
    ) -> StoredVoice:
        """See `interfaces.VoiceEncoder.embed`."""
        prepared = self._extractor(samples, sampling_rate=SAMPLE_RATE).input_values
        waveform = torch.from_numpy(np.squeeze(prepared)).float()[None].to(self._device)
        extractor = self._model.feature_extractor
        is_exact = frames <= _EXACT_FRAMES
        features = extractor(waveform) if is_exact else features_in_pieces(extractor, waveform)
        stretched = functional.interpolate(
            features, size=frames, mode="linear", align_corners=True
        ).transpose(1, 2)
        hidden, _ = self._model.feature_projection(stretched)
        del features, stretched
        return self._collect(hidden, ends)

    def silent(self, frames: int) -> SilentVoice:
        """See `interfaces.VoiceEncoder.silent`."""
        return SilentVoice(self._silence, frames)

    def _collect(self, hidden: Tensor, ends: VoiceEnds) -> StoredVoice:
        layers = self._model.encoder.layers
        silence = None if ends == AS_UPSTREAM else self._silence
        track = StoredVoice(hidden.shape[1], len(layers), hidden.shape[2], ends, silence)

        def keep(index: int) -> Any:  # noqa: ANN401 - torch's signature of a hook
            def hook(_module: object, _inputs: object, output: Any) -> None:  # noqa: ANN401
                track.store(index, (output[0] if isinstance(output, tuple) else output)[0])

            return hook

        hooks = [layer.register_forward_hook(keep(at)) for at, layer in enumerate(layers)]
        exact = hidden.shape[1] <= _EXACT_FRAMES
        self._model.set_attn_implementation("eager" if exact else "sdpa")
        try:
            last = self._model.encoder(hidden).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        # Some variants have a norm after the last layer, which a hook on the layer does not see.
        track.store(len(layers) - 1, last[0])
        return track


def _read_model(folder: Path) -> Any:  # noqa: ANN401 - transformers is only partly typed
    """Raises `MissingTensor`, and `ValueError` for an unknown tensor.

    Without these checks transformers would initialise missing tensors randomly and continue.
    """
    model, found = cast("Any", Wav2Vec2Model).from_pretrained(
        str(folder), local_files_only=True, dtype=torch.float32, output_loading_info=True
    )
    if missing := sorted(set(found["missing_keys"]) - _NOT_NEEDED):
        raise MissingTensor(f"The speech encoder's weights lack {', '.join(missing[:5])}.")
    if wrong := sorted(found["mismatched_keys"]):
        raise MissingTensor(f"The speech encoder's weights and config.json differ: {wrong[:5]}.")
    unexpected = (name.removeprefix("wav2vec2.") for name in sorted(found["unexpected_keys"]))
    if unknown := [name for name in unexpected if name.startswith(_PREFIXES)]:
        raise ValueError(f"The speech encoder has no tensors named {', '.join(unknown[:5])}.")
    return model
