"""The model from resident files, compared with the same model from the published files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.layout import PublishedLayout
from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import (
    Precision,
    ResidentFolder,
)
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_files import (
    SafetensorsFiles,
    read_pickle,
)
from inference_sidecar.engines.infinitetalk.encoders.codec import WanCodec
from inference_sidecar.engines.infinitetalk.encoders.image import ClipImage
from inference_sidecar.engines.infinitetalk.encoders.text import UmT5
from inference_sidecar.engines.infinitetalk.native.denoiser import NativeDenoiser
from inference_sidecar.engines.infinitetalk.native.dit import Dit, build_dit
from inference_sidecar.engines.infinitetalk.native.fp8 import Granularity
from inference_sidecar.engines.infinitetalk.native.linear import (
    AudioInFp8,
    audio_branch_of,
    precision_of,
    resident_linear,
)
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Text
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (
    write_tiny_weights,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes
from inference_sidecar.weights.prepare.command import Preparation

CPU = torch.device("cpu")
SIZES = TinySizes(dim=64, ffn=128)
"""Multiples of 16, which the fp8 kernels need."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_tiny_weights(tmp_path_factory.mktemp("weights"), SIZES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference_sidecar.weights.volume.RESERVE_BYTES", 0)
        Preparation(root, precisions=("fp8", "bf16", "fp32"), loras=()).run()
    return root


def published_dit(storage: Path) -> Dit:
    layout = PublishedLayout(storage)
    files = SafetensorsFiles(layout.transformer_files, dtype=torch.float32)
    return build_dit(files, layout.transformer_config)


def resident_dit(storage: Path, precision: Precision) -> Dit:
    file = ResidentFolder(storage).transformer(precision)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    return build_dit(file.load(CPU), file.info.config, resident_linear, dtype)


def velocity(dit: Dit) -> Tensor:
    """One forward with all inputs, the same for every model."""
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    conditions = Conditions(
        prompt=noise(7, SIZES.text_dim),
        negative=None,
        image=noise(257, 1280),
        anchor=noise(20, 3, 8, 8),
    )
    with torch.inference_mode():
        ready = NativeDenoiser(dit).condition(conditions)
        audio = ready.embed_audio(noise(1, 9, 5, 12, 768))
        return ready.predict(noise(16, 3, 8, 8), 700.0, Text.PROMPT, audio)


def error(result: Tensor, exact: Tensor) -> float:
    return float((result - exact).norm() / exact.norm())


def test_the_float32_resident_model_matches_the_published_one(storage: Path) -> None:
    # The values are the same, but their alignment in memory decides the order of sums.
    result = velocity(resident_dit(storage, "fp32"))
    assert error(result, velocity(published_dit(storage))) < 1e-6


def test_bf16_is_within_two_percent(storage: Path) -> None:
    dit = resident_dit(storage, "bf16")
    assert precision_of(dit) == "bfloat16"
    assert 0 < error(velocity(dit), velocity(published_dit(storage))) < 0.02


def test_fp8_is_within_eight_percent_of_float32(storage: Path) -> None:
    dit = resident_dit(storage, "fp8")
    assert precision_of(dit) == "fp8 (scale per row, row-wise kernel)"
    assert 0.01 < error(velocity(dit), velocity(published_dit(storage))) < 0.08


def test_the_layers_that_hear_the_voice_are_bf16_and_can_be_quantised_at_load(
    storage: Path,
) -> None:
    file = ResidentFolder(storage).transformer("fp8")
    kept = resident_dit(storage, "fp8")
    assert audio_branch_of(kept) == "bf16"
    quantised = build_dit(
        file.load(CPU), file.info.config, AudioInFp8(Granularity.ROW), torch.bfloat16
    )
    assert audio_branch_of(quantised) == "fp8"
    assert audio_branch_of(resident_dit(storage, "fp32")) == "fp32"
    assert 0 < error(velocity(quantised), velocity(kept)) < 0.05


def test_fp8_with_one_scale_per_tensor_is_within_ten_percent(tmp_path: Path, storage: Path) -> None:
    root = write_tiny_weights(tmp_path / "weights", SIZES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference_sidecar.weights.volume.RESERVE_BYTES", 0)
        Preparation(root, granularity=Granularity.TENSOR, loras=(), has_encoders=False).run()
    dit = resident_dit(root, "fp8")
    assert precision_of(dit) == "fp8 (scale per tensor, row-wise kernel)"
    assert 0.01 < error(velocity(dit), velocity(published_dit(storage))) < 0.1


def test_the_resident_encoders_match_the_published_ones(storage: Path) -> None:
    layout, folder = PublishedLayout(storage), ResidentFolder(storage)
    picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1

    image = ClipImage(read_pickle(layout.image_weights, torch.float32)).embed(picture)
    kept = {name: t.float() for name, t in folder.part("image").load(CPU).items()}
    assert error(ClipImage(kept).embed(picture), image) < 2e-3

    frames = picture[:, None]
    codec = WanCodec(read_pickle(layout.codec_weights, torch.float32)).encode(frames)
    assert torch.equal(WanCodec(folder.part("codec").load(CPU)).encode(frames), codec)

    prompt = ["A woman is talking to the camera."]
    exact = UmT5(read_pickle(layout.text_weights, torch.bfloat16), layout.tokenizer, 80)
    resident = UmT5(folder.part("text").load(CPU), folder.tokenizer, 80)
    assert torch.equal(resident.embed(prompt)[0], exact.embed(prompt)[0])
