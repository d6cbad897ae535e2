"""wav2vec 2.0: every tensor of a folder is used, and long voices are convolved in pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)

from inference_sidecar.engines.infinitetalk.checkpoints.layout import PublishedLayout
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import MissingTensor
from inference_sidecar.engines.infinitetalk.encoders import voice as voice_module
from inference_sidecar.engines.infinitetalk.encoders.voice import Wav2Vec2
from inference_sidecar.engines.infinitetalk.encoders.voice_features import features_in_pieces
from inference_sidecar.engines.infinitetalk.inputs.speech import SAMPLE_RATE, SAMPLES_PER_FRAME
from inference_sidecar.engines.infinitetalk.sampling.render_settings import Tail, VoiceEnds

WEIGHT_NORM = {"original0": "weight_g", "original1": "weight_v"}


def config_of(**changes: Any) -> Any:
    sizes: dict[str, Any] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 32,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }
    return cast("Any", Wav2Vec2Config)(**(sizes | changes))


def as_published(folder: Path) -> dict[str, torch.Tensor]:
    """A folder like the published one: a model with its training heads, and the older names of
    weight norm."""
    model = cast("Any", Wav2Vec2ForPreTraining)(config_of())
    model.save_pretrained(str(folder))
    cast("Any", Wav2Vec2FeatureExtractor)().save_pretrained(str(folder))
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        prefix, found, last = name.rpartition(".parametrizations.weight.")
        tensors[f"{prefix}.{WEIGHT_NORM[last]}" if found else name] = tensor
    return tensors


@pytest.mark.parametrize("format_name", ["model.safetensors", "pytorch_model.bin"])
def test_every_tensor_of_the_published_file_has_exactly_one_place(
    tmp_path: Path, format_name: str
) -> None:
    tensors = as_published(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    if format_name.endswith("bin"):
        torch.save(tensors, tmp_path / format_name)
    else:
        save_file(tensors, tmp_path / format_name, {"format": "pt"})
    found = cast("Any", Wav2Vec2(tmp_path))._model.state_dict()
    for name, tensor in tensors.items():
        if not name.startswith("wav2vec2."):
            assert name.startswith(("quantizer.", "project_hid.", "project_q."))
            continue
        ours = name.removeprefix("wav2vec2.")
        for new, old in WEIGHT_NORM.items():
            ours = ours.replace(f".{old}", f".parametrizations.weight.{new}")
        assert torch.equal(found.pop(ours), tensor), name
    assert not found, "nothing is left as it was made"


def test_a_missing_or_unknown_tensor_is_refused_instead_of_initialised_randomly(
    tmp_path: Path,
) -> None:
    tensors = as_published(tmp_path)
    lost = "wav2vec2.encoder.layers.3.attention.k_proj.weight"
    fewer = {name: tensor for name, tensor in tensors.items() if name != lost}
    save_file(fewer, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingTensor, match=r"layers\.3\.attention\.k_proj\.weight"):
        Wav2Vec2(tmp_path)
    more = tensors | {"wav2vec2.encoder.layers.12.final_layer_norm.bias": torch.zeros(768)}
    save_file(more, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"layers\.12"):
        Wav2Vec2(tmp_path)
    tuned = tensors | {"lm_head.weight": torch.zeros(32, 768)}
    save_file(tuned, tmp_path / "model.safetensors", {"format": "pt"})
    Wav2Vec2(tmp_path)


def test_a_config_that_does_not_fit_the_tensors_is_refused(tmp_path: Path) -> None:
    tensors = as_published(tmp_path)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises((MissingTensor, RuntimeError)):
        Wav2Vec2(tmp_path)


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("samples", [400, 719, 720, 64_000, 64_319])
def test_convolutions_in_pieces_match_those_of_the_whole(norm: str, samples: int) -> None:
    torch.manual_seed(samples)
    model = cast("Any", Wav2Vec2Model)(
        config_of(num_hidden_layers=1, feat_extract_norm=norm, conv_bias=norm == "layer")
    ).eval()
    for parameter in model.feature_extractor.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    # Louder at the end, so that each piece has another mean and deviation than the whole.
    waveform = torch.randn(1, samples) * torch.linspace(0.1, 3, samples) + 0.3
    with torch.inference_mode():
        whole = model.feature_extractor(waveform)
        pieces = features_in_pieces(model.feature_extractor, waveform, most=13)
    assert pieces.shape == whole.shape
    assert (pieces - whole).abs().max() <= 2e-6 * max(1.0, whole.abs().max().item())


def test_a_long_voice_is_convolved_in_pieces_with_the_same_result(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Wav2Vec2(tiny_folder / "chinese-wav2vec2-base")
    frames = 1_001
    samples = np.random.default_rng(1).normal(0, 0.1, frames * SAMPLES_PER_FRAME)
    exact = encoder.embed(samples, frames)
    monkeypatch.setattr(voice_module, "_EXACT_FRAMES", frames - 1)
    convolved: list[int] = []
    first = cast("Any", encoder)._model.feature_extractor.conv_layers[0].conv
    hook = first.register_forward_hook(lambda _m, given, _o: convolved.append(given[0].shape[-1]))
    pieced = encoder.embed(samples, frames)
    hook.remove()
    assert max(convolved) <= 20.1 * SAMPLE_RATE
    # Convolutions in pieces, and attention that does not store its scores.
    every = torch.arange(0, frames, 100)
    apart = [
        (pieced.window(int(at), 1, is_last=False) - exact.window(int(at), 1, is_last=False))
        .abs()
        .max()
        .item()
        for at in every
    ]
    assert max(apart) <= 2e-5


def test_silence_is_embedded_once_per_process_and_leaves_the_voice_as_it_is(
    tiny_folder: Path,
) -> None:
    encoder = Wav2Vec2(PublishedLayout(tiny_folder).voice)
    samples = np.sin(np.arange(20 * SAMPLES_PER_FRAME) / 5)
    plain = encoder.embed(samples, 20).window(0, 20, is_last=False)
    calls: list[int] = []
    encoder._model.feature_extractor.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        voice = encoder.embed(samples, 20, VoiceEnds(tail=Tail.SILENCE))
        assert torch.equal(voice.window(0, 20, is_last=False), plain)
    assert len(calls) == 3
    after = voice.window(20, 30, is_last=True)[:, 2]
    assert torch.equal(after[25:], after[:5])
    quiet = encoder.embed(np.zeros(50 * SAMPLES_PER_FRAME), 50).window(12, 25, is_last=False)[:, 2]
    assert torch.equal(after[5:25], quiet[:20])
