"""`prepare` takes the host memory of a few rows, however large a tensor is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

SIDE = 5792
"""128 MiB per tensor in float32."""

CODE = """
import resource, sys
from pathlib import Path
from inference_sidecar.weights import volume
from inference_sidecar.weights.prepare import sources
from inference_sidecar.weights.prepare.command import Preparation

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

volume.RESERVE_BYTES = 0
sources.BLOCK_BYTES = 16 << 20
before = peak_mib()
Preparation(Path(sys.argv[1]), loras=(), has_encoders=False).run()
print(peak_mib() - before)
"""


def test_memory_is_that_of_a_few_pieces_and_not_of_a_tensor_or_a_file(tmp_path: Path) -> None:
    base = tmp_path / "Wan2.1-I2V-14B-480P"
    base.mkdir()
    weight = torch.ones(SIDE, SIDE)
    for index in range(3):
        name = f"diffusion_pytorch_model-{index}.safetensors"
        save_file({f"blocks.{index}.ffn.0.weight": weight}, base / name)
    (base / "config.json").write_text(json.dumps({}))
    audio = tmp_path / "InfiniteTalk/single/infinitetalk.safetensors"
    audio.parent.mkdir(parents=True)
    save_file({"blocks.0.audio_cross_attn.proj.weight": weight[:1024]}, audio)
    del weight

    run = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    grown_mib = int(run.stdout)
    # Five pieces of 16 MiB; a tensor is 128 MiB, all of them 400 MiB.
    assert grown_mib < 120
