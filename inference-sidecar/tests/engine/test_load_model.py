"""Loading prepared weights, and the errors when they are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from inference_sidecar.engines.infinitetalk.capacity.device import Device, DeviceMissing
from inference_sidecar.engines.infinitetalk.checkpoints import resident_file
from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import (
    ResidentFile,
    ResidentFolder,
)
from inference_sidecar.engines.infinitetalk.engine import InfiniteTalkEngine
from inference_sidecar.engines.infinitetalk.loading.load_model import load_model
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Listeners
from inference_sidecar.engines.infinitetalk.upstream.compatibility import UpstreamUnusable
from inference_sidecar.engines.stages import Untimed
from inference_sidecar.foundation.errors import GpuOutOfMemory, WeightsError
from stage.tiny_engine import TINY, Watched, a_request, tiny_settings


def test_shapes_and_precision_come_from_the_files(resident_folder: Path) -> None:
    settings = tiny_settings(model_storage_path=resident_folder)
    model = load_model(settings, Device("cpu"))
    shape = model.shape
    assert (shape.dim, shape.ffn_dim, shape.layers, shape.heads) == (
        TINY.dim,
        TINY.ffn,
        TINY.layers,
        TINY.heads,
    )
    assert (shape.text_tokens, shape.audio_tokens) == (TINY.text_tokens, TINY.audio_tokens)
    assert model.text_dim == TINY.text_dim
    assert (model.precision, model.codec_bytes_per_value) == ("fp32", 4)
    fp8 = tiny_settings(model_storage_path=resident_folder, infinitetalk_precision="fp8")
    assert load_model(fp8, Device("cpu")).weights != model.weights


class Loading(Untimed):
    """Keeps what it is told of the weights."""

    def __init__(self) -> None:
        self.fractions: list[float] = []

    def loading(self, part: str, fraction: float) -> None:
        assert part == "weights"
        self.fractions.append(fraction)


def test_both_audio_branches_are_loaded_and_the_second_can_be_left_out(
    resident_folder: Path,
) -> None:
    def loaded(**changes: object) -> LoadedModel:
        settings = tiny_settings(model_storage_path=resident_folder, **changes)
        return load_model(settings, Device("cpu"))

    both, single = loaded(), loaded(infinitetalk_multi="off")
    assert both.has_multi
    assert not single.has_multi
    assert both.weights.startswith(single.weights)
    assert both.weights != single.weights
    voices = torch.randn(2, 17, 5, 12, 768)
    masks = torch.zeros(3, 4, 6)
    masks[0, :, :2] = masks[1, :, 2:4] = masks[2, :, 4:] = 1

    def tokens(model: LoadedModel, persons: int) -> torch.Tensor:
        conditions = Conditions(
            prompt=torch.zeros(3, model.text_dim),
            negative=None,
            image=torch.zeros(257, 1280),
            anchor=torch.zeros(20, 5, 4, 6),
            listeners=Listeners(masks) if persons == 2 else None,
        )
        return model.models.denoiser.condition(conditions).embed_audio(voices[:persons])

    # One voice takes the branch for one, whatever else is loaded; two take that for two.
    assert torch.equal(tokens(both, 1), tokens(single, 1))
    assert not torch.equal(tokens(both, 2), tokens(single, 2))


def test_the_weights_are_counted_as_they_are_read(resident_folder: Path) -> None:
    stages = Loading()
    load_model(tiny_settings(model_storage_path=resident_folder), Device("cpu"), stages)
    assert stages.fractions == sorted(set(stages.fractions))
    assert stages.fractions[-1] == 1


def test_a_file_for_a_device_is_counted_group_by_group(
    resident_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident_file, "_GROUP_BYTES", 4096)
    path = ResidentFolder(resident_folder).transformer_path("fp32")
    counted: list[int] = []
    # As for a device; what it reads it leaves on the CPU here.
    tensors = dict(ResidentFile(path)._uploaded(torch.device("cpu"), counted.append))
    assert len(counted) > 1
    assert 0.9 * path.stat().st_size < sum(counted) <= path.stat().st_size
    assert tensors.keys() == ResidentFile(path).load(torch.device("cpu")).keys()


def test_fp8_weights_render_nearly_the_same_frames_as_float32(
    resident_folder: Path, tmp_path: Path
) -> None:
    frames = []
    for precision in ("fp32", "fp8"):
        settings = tiny_settings(
            model_storage_path=resident_folder, infinitetalk_precision=precision
        )
        engine = InfiniteTalkEngine(settings)
        assert engine.load().precision.startswith(precision)
        request = a_request(tmp_path, 17)
        chunk = next(engine.render(request, engine.plan(request), Watched(), None))
        frames.append(chunk.frames.astype(np.float32))
    difference = np.abs(frames[0] - frames[1])
    assert 0 < difference.mean() < 8


def test_a_prompt_is_embedded_once_for_all_processes(
    resident_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    shutil.copytree(resident_folder, folder)
    settings = tiny_settings(model_storage_path=folder)
    first = load_model(settings, Device("cpu")).text.embed(["a man is singing quietly"])
    # Like another process; it must not need the text encoder.
    monkeypatch.setattr("inference_sidecar.engines.infinitetalk.loading.load_model.UmT5", None)
    again = load_model(settings, Device("cpu")).text
    assert torch.equal(again.embed(["a man is singing quietly"])[0], first[0])
    with pytest.raises(TypeError):
        again.embed(["another prompt"])


@pytest.mark.parametrize("missing", ["transformer-fp32", "image", "codec", "text"])
def test_missing_weights_name_the_command_to_run(
    resident_folder: Path, tmp_path: Path, missing: str
) -> None:
    folder = tmp_path / "models"
    shutil.copytree(resident_folder, folder)
    (folder / "resident" / f"{missing}.safetensors").unlink()
    engine = InfiniteTalkEngine(tiny_settings(model_storage_path=folder))
    with pytest.raises(WeightsError, match=r"python -m inference_sidecar\.weights"):
        engine.load()


def test_a_truncated_file_is_never_loaded(resident_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(resident_folder, folder)
    path = folder / "resident" / "transformer-fp32.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    engine = InfiniteTalkEngine(tiny_settings(model_storage_path=folder))
    with pytest.raises(WeightsError, match="prepare"):
        engine.load()


def test_a_missing_volume_is_reported(tmp_path: Path) -> None:
    engine = InfiniteTalkEngine(tiny_settings(model_storage_path=tmp_path / "absent"))
    with pytest.raises(WeightsError, match="absent"):
        engine.load()


def test_missing_upstream_code_is_reported_before_anything_is_read(tmp_path: Path) -> None:
    settings = tiny_settings(
        model_storage_path=tmp_path / "absent", infinitetalk_upstream=tmp_path / "code"
    )
    with pytest.raises(UpstreamUnusable, match="is the submodule checked out"):
        InfiniteTalkEngine(settings).load()


def test_weights_that_do_not_fit_are_not_read(
    resident_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Device, "free_bytes", lambda _device: 2**20)
    monkeypatch.setattr(Device, "name", "a card")
    device = Device("cpu")
    device.is_cuda = True
    with pytest.raises(GpuOutOfMemory, match="The weights take"):
        load_model(tiny_settings(model_storage_path=resident_folder), device)


def test_a_missing_gpu_is_reported() -> None:
    with pytest.raises(DeviceMissing, match="INFINITETALK_DEVICE"):
        Device("cuda")


def test_free_memory_includes_the_page_cache_and_respects_the_limit() -> None:
    free = Device("cpu").free_bytes()
    available = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable")
    )
    assert free == pytest.approx(available, rel=0.2)
    assert Device("cpu", 2**20).free_bytes() == 2**20
