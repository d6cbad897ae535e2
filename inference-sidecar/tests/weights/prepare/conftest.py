"""A folder in the published layout, and LoRA files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import Tensor

from stage.published import write_published


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the weights as `fetch` leaves it."""
    monkeypatch.setattr("inference_sidecar.weights.volume.RESERVE_BYTES", 0)
    write_published(tmp_path / "storage")
    return tmp_path / "storage"


@pytest.fixture
def write_lora(tmp_path: Path) -> Callable[[dict[str, Tensor]], Path]:
    def write(tensors: dict[str, Tensor]) -> Path:
        path = tmp_path / "lora.safetensors"
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
        return path

    return write
