"""Embeds a voice with upstream's own encoder class, called like its command line calls it."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyloudnorm
import torch
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor

_RATE: Final = 16_000
_FPS: Final = 25


Samples = np.ndarray[Any, Any]


def upstream_voice(folder: Path, audio: Path) -> Tensor:
    """`[frames, 12, 768]`. Upstream's code must be importable: create an `Upstream` first."""
    return _embedded(folder, _read(audio))


def upstream_voices(
    folder: Path, audios: Sequence[Path], *, in_turn: bool, silent: int | None
) -> tuple[Tensor, Tensor]:
    """Two voices as upstream's command line prepares them (`audio_prepare_multi`).

    audios: of both, or of the only one that is not silent. silent: the person, 1 or 2.
    """
    read = [_read(audio) for audio in audios]
    if silent is not None:
        (heard,) = read
        read = [np.zeros(heard.shape[0]), heard] if silent == 1 else [heard, np.zeros_like(heard)]
    first, second = read
    if in_turn:
        nothing = [np.zeros(one.shape[0]) for one in (first, second)]
        first, second = (
            np.concatenate([first, nothing[1]]),
            np.concatenate([nothing[0], second]),
        )
    return _embedded(folder, first), _embedded(folder, second)


def _read(audio: Path) -> Samples:
    # Only `--with reference` installs it, so its types may be missing.
    librosa = cast("Any", importlib.import_module("librosa"))
    return _levelled(librosa.load(str(audio), sr=_RATE)[0])


def _embedded(folder: Path, samples: Samples) -> Tensor:
    """With upstream's encoder class.

    Current versions of transformers return no hidden states to upstream's encoder, so hooks collect
    the same tensors.
    """
    theirs = cast("Any", importlib.import_module("src.audio_analysis.wav2vec2")).Wav2Vec2Model
    encoder = theirs.from_pretrained(
        str(folder), local_files_only=True, attn_implementation="eager"
    ).eval()
    extractor = cast("Any", Wav2Vec2FeatureExtractor).from_pretrained(
        str(folder), local_files_only=True
    )
    values = np.squeeze(extractor(samples, sampling_rate=_RATE).input_values)
    layers: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Any) -> None:  # noqa: ANN401 - torch's hook
        layers.append((output[0] if isinstance(output, tuple) else output)[0])

    hooks = [layer.register_forward_hook(keep) for layer in encoder.encoder.layers]
    with torch.no_grad():
        output = encoder(
            torch.from_numpy(values).float()[None],
            seq_len=int(len(samples) / _RATE * _FPS),
            output_hidden_states=True,
        )
    for hook in hooks:
        hook.remove()
    # Some variants have a norm after the last layer, which a hook on the layer does not see.
    layers[-1] = output.last_hidden_state[0]
    return torch.stack(layers, dim=1)


def _levelled(samples: Samples) -> Samples:
    loudness = pyloudnorm.Meter(_RATE).integrated_loudness(samples)
    if abs(loudness) > 100:
        return samples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pyloudnorm.normalize.loudness(samples, loudness, -23)
