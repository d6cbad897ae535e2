"""Device placement without a GPU: `stage.pretended_cuda` says what that can show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference_sidecar.engines.engine import ResumeState
from inference_sidecar.engines.infinitetalk.encoders import codec_layers
from inference_sidecar.engines.infinitetalk.engine import InfiniteTalkEngine
from stage.pretended_cuda import DEVICE, NAME, UUID, pretended_cuda
from stage.tiny_engine import Watched, a_request, no_triton, tiny_settings


@pytest.fixture
def on_gpu() -> Iterator[None]:
    with pretended_cuda():
        yield


@pytest.mark.usefixtures("on_gpu")
def test_the_pretended_device_refuses_tensors_of_the_host() -> None:
    x, stray = torch.ones(2, 3).to(DEVICE), torch.ones(2, 3)
    layer = torch.nn.Linear(3, 4).to(DEVICE)
    assert {x.device, layer(x).device, torch.zeros(2, device=DEVICE).device} == {DEVICE}
    with pytest.raises(RuntimeError, match="different devices"):
        layer(stray)
    with pytest.raises(RuntimeError, match="different devices"):
        torch.cat((x, stray))
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()
    x[0] = 5
    assert (x + torch.tensor(1.0)).cpu().numpy().max() == 6
    assert x.cpu().device.type == "cpu"


def rendered(device: str, folder: Path, inputs: Path) -> NDArray[np.uint8]:
    """Renders three chunks, and the last two again from the state after the first."""
    settings = tiny_settings(model_storage_path=folder, infinitetalk_device=device)
    engine = InfiniteTalkEngine(settings)
    told = engine.load()
    assert told.device == (NAME if device == "cuda" else "cpu")
    assert told.device_uuid == (UUID if device == "cuda" else None)
    request = a_request(inputs, 41)
    plan = engine.plan(request)
    chunks = list(engine.render(request, plan, Watched(), None))
    resume = ResumeState(1, chunks[0].state, engine.fingerprint(request, plan))
    again = list(engine.render(request, plan, Watched(), resume))
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(chunks[1:], again, strict=True))
    return np.concatenate([chunk.frames for chunk in chunks])


def test_a_render_never_mixes_device_and_host_tensors(
    resident_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_layers, "_triton_norm", no_triton)
    on_host = rendered("cpu", resident_folder, tmp_path)
    with pretended_cuda():
        on_device = rendered("cuda", resident_folder, tmp_path)
    assert on_device.shape == on_host.shape == (41, 32, 48, 3)
    assert np.abs(on_device.astype(int) - on_host.astype(int)).max() <= 1
