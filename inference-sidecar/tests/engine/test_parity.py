"""Our rendering compared with upstream's own code. Needs its checkout and `--with reference`."""

from __future__ import annotations

import contextlib
import importlib
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference_sidecar.engines.infinitetalk.checkpoints.codec_names import codec_weights
from inference_sidecar.engines.infinitetalk.checkpoints.image_names import image_weights
from inference_sidecar.engines.infinitetalk.checkpoints.layout import VOICE
from inference_sidecar.engines.infinitetalk.checkpoints.text_names import text_weights
from inference_sidecar.engines.infinitetalk.encoders import codec_layers
from inference_sidecar.engines.infinitetalk.engine import InfiniteTalkEngine
from inference_sidecar.engines.infinitetalk.native import rope, who
from inference_sidecar.engines.infinitetalk.native.dit import build_dit
from inference_sidecar.engines.infinitetalk.upstream_checks.parity import (
    CASES,
    GATE_CASES,
    SPEAKER_CASES,
    VIDEO_CASES,
    Bench,
    Case,
    write_voice,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.replay import embed_speech, main
from inference_sidecar.engines.infinitetalk.upstream_checks.speech import upstream_voice
from stage.pretended_cuda import DEVICE, pretended_cuda
from stage.tiny_engine import Watched, a_request, no_triton, tiny_settings

CODE = Path(os.environ.get("INFINITETALK_SOURCE") or Path(__file__).parents[3] / "InfiniteTalk")
HAS_CODE = (CODE / "wan" / "multitalk.py").is_file()
HAS_PACKAGES = all(find_spec(name) for name in ("easydict", "einops", "librosa", "skimage"))

pytestmark = [
    pytest.mark.skipif(
        not HAS_CODE, reason=f"upstream is not at {CODE}: git submodule update --init"
    ),
    pytest.mark.skipif(
        not HAS_PACKAGES, reason="upstream needs packages: npm run setup -- --with reference"
    ),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(CODE, tmp_path_factory.mktemp("parity"))


@pytest.mark.parametrize("case", CASES[::5], ids=str)
def test_every_chunk_agrees_with_upstreams(bench: Bench, case: Case) -> None:
    outcome = bench.run(case)
    assert outcome.is_equal, str(outcome)
    assert len(outcome.differences) == (1 if case.is_clip else 3)


@pytest.mark.parametrize("case", [*SPEAKER_CASES[1::3], *VIDEO_CASES[1:3], GATE_CASES[1]], ids=str)
def test_two_voices_videos_and_the_gate_agree_with_upstreams(
    bench: Bench, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    margins: list[float] = []
    place = who.positions_of

    def watched(found: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        best = found.topk(2, dim=0).values
        margins.append(float((best[0] - best[1]).min() / (found.max() - found.min())))
        return place(found, masks)

    monkeypatch.setattr(who, "positions_of", watched)
    outcome = bench.run(case)
    assert outcome.is_equal, str(outcome)
    assert len(outcome.differences) >= 3
    # A token whose two largest values are equal up to rounding may choose anybody.
    assert bool(margins) is (case.voices > 1)
    assert all(margin >= 1e-6 for margin in margins)


def test_a_replay_matches_upstream_from_files_to_frames(bench: Bench, tmp_path: Path) -> None:
    case = Case(1.0, 1.0, (48, 64), 0.0)
    out = tmp_path / "frames.npy"
    options = {
        "weights": bench.weights,
        "image": bench.image,
        "audio": bench.audio,
        "mode": "streaming",
        "size": "48x64",
        "frames": case.settings.frames,
        "motion": case.settings.motion,
        "steps": case.settings.steps,
        "shift": 5,
        "text-guide": 1,
        "audio-guide": 1,
        "color": 0,
        "seed": 7,
        "prompt": "A woman is talking to the camera",
        "negative": "",
        "out": out,
    }
    assert main([part for key, value in options.items() for part in (f"--{key}", str(value))]) == 0
    theirs = bench.render_upstream(case).numpy()
    ours = np.load(out)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-6


def test_a_rotary_base_that_is_one_percent_off_is_detected(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(5.0, 4.0, (64, 48), 0.0)
    assert bench.run(case).is_equal
    monkeypatch.setattr(rope, "_THETA", 9_900.0)
    assert max(bench.run(case).differences) > 2 * case.bound


def test_a_truncated_video_is_truncated_like_upstreams(bench: Bench) -> None:
    """27 of 34 frames: the second window is the last, and its voice continues after its end."""
    case = Case(1.0, 2.0, (48, 64), 0.0)
    theirs = bench.render_upstream(case, max_frames=27)
    ours = torch.cat(list(bench.render_ours(case, frames=27)), dim=1)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-6


def test_a_voice_of_more_than_a_minute_is_embedded_like_upstreams(
    bench: Bench, tmp_path: Path
) -> None:
    """Beyond 1,500 frames convolutions run in pieces, and attention does not store its scores."""
    frames = 1_510
    write_voice(tmp_path / "long.wav", frames)
    theirs = upstream_voice(bench.weights / VOICE, tmp_path / "long.wav")
    ours, heard = embed_speech(bench.ours.voice, tmp_path / "long.wav", 17)
    assert heard == len(theirs) == frames
    for start in range(0, frames, 151):
        window = ours.window(start, 151, is_last=False)[:, 2]
        assert (window - theirs[start : start + 151]).abs().max() <= 2e-5


def test_our_loop_over_upstreams_models_matches_upstreams_loop(bench: Bench) -> None:
    case = Case(5.0, 4.0, (48, 64), 0.0)
    theirs = bench.render_upstream(case)
    frames = torch.cat(list(bench.render_ours(case, bench.upstream.models())), dim=1)
    assert (frames - theirs).abs().max() <= 1e-6


def test_upstreams_pipeline_and_its_models_run_on_a_gpu(bench: Bench) -> None:
    case = Case(5.0, 4.0, (48, 64), 1.0)
    with pretended_cuda():
        on_gpu = Bench(CODE, bench.weights.parent, device=DEVICE)
        outcome = on_gpu.run(case)
        assert outcome.is_equal, str(outcome)
        theirs = on_gpu.render_upstream(case)
        ours = torch.cat(list(on_gpu.render_ours(case, on_gpu.upstream.models())), dim=1)
        assert (ours - theirs).abs().max() <= case.bound


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_operator_can_render_with_upstreams_transformer(
    resident_folder: Path, tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = a_request(tmp_path, 41)

    def frames(**changes: object) -> NDArray[np.uint8]:
        engine = InfiniteTalkEngine(tiny_settings(model_storage_path=resident_folder, **changes))
        told = engine.load()
        assert told.attention_backend == ("upstream" if changes else "cpu")
        chunks = engine.render(request, engine.plan(request), Watched(), None)
        return np.concatenate([chunk.frames for chunk in chunks])

    ours = frames()
    monkeypatch.setattr(codec_layers, "_triton_norm", no_triton)
    with pretended_cuda() if device == "cuda" else contextlib.nullcontext():
        theirs = frames(infinitetalk_upstream=CODE, infinitetalk_device=device)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_every_tensor_of_the_published_models_is_used_exactly_once(bench: Bench) -> None:
    """Upstream's own classes in their published sizes, on the meta device: 25 billion
    parameters."""
    assert bench.upstream.pipeline is not None
    transformer, text, image, codec = (
        importlib.import_module(f"wan.modules.{name}")
        for name in ("multitalk_model", "t5", "clip", "vae")
    )
    sizes = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40, "freq_dim": 256}
    with torch.device("meta"):
        dit = transformer.WanModel(weight_init=False, in_dim=36, out_dim=16, **sizes)
        vae = codec.WanVAE_(dim=96, z_dim=16, temperal_downsample=[False, True, True])
    build_dit(dit.state_dict(), sizes)
    codec_weights(vae.state_dict())
    text_weights(text.umt5_xxl(encoder_only=True, device="meta").state_dict())
    image_weights(image.clip_xlm_roberta_vit_h_14(device="meta").state_dict())
