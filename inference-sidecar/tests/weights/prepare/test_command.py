"""The `prepare` command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import ResidentFolder
from inference_sidecar.weights.__main__ import main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inference_sidecar.weights", "prepare", *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_prepare_makes_all_files_in_every_precision(storage: Path) -> None:
    if shutil.disk_usage(storage).free < 2_000_000_000:
        pytest.skip("this disk is too full for a volume")
    made = run(
        "--dir", str(storage), "--no-lora", "--precision", "bf16,fp8", "--fp8-scale", "tensor"
    )
    assert made.returncode == 0, made.stderr
    folder = ResidentFolder(storage)
    assert folder.transformer("fp8").info.precision == "fp8-tensor"
    assert folder.transformer("bf16").info.precision == "bf16"
    assert {p.name for p in folder.path.iterdir()} == {
        "transformer-bf16.safetensors",
        "transformer-fp8.safetensors",
        "text.safetensors",
        "image.safetensors",
        "codec.safetensors",
        "tokenizer",
        "voice",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--lora", "x", "--no-lora"], "--lora and --no-lora contradict each other"),
        (
            ["--lora", "x", "--lora", "y", *("--lora-scale", "1") * 3],
            "2 LoRAs need one --lora-scale or one for each, not 3",
        ),
        (["--lora", "/absent.safetensors"], "There is no LoRA /absent.safetensors"),
        ([], "rank64.safetensors is missing: run `python -m inference_sidecar.weights fetch`"),
    ],
)
def test_options_that_cannot_work_end_in_one_sentence(
    storage: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["prepare", "--dir", str(storage), "--only", "transformer", *arguments]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("weights: ")
    assert sentence in last


def test_a_missing_volume_ends_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "--dir", str(tmp_path / "absent")]) == 1
    assert capsys.readouterr().err == (
        f"weights: {tmp_path}/absent does not exist: mount the volume for the weights there, or"
        " make the folder.\n"
    )


def test_an_unknown_precision_shows_the_usage(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "--dir", str(storage), "--precision", "int8"])
    assert ended.value.code == 2
    assert "no precision: int8" in capsys.readouterr().err


def test_loras_take_one_strength_for_all_or_one_for_each(
    storage: Path, write_lora: Callable[[dict[str, Tensor]], Path]
) -> None:
    lora = str(write_lora({"blocks.0.self_attn.q.diff": torch.ones(32, 32)}))
    common = ["prepare", "--dir", str(storage), "--only", "transformer", "--precision", "fp32"]
    common += ["--recipe", "lightx2v-4"]

    def strengths(*scales: str) -> list[float]:
        assert main([*common, "--lora", lora, "--lora", lora, *scales]) == 0
        info = ResidentFolder(storage).transformer("fp32").info
        return [merged.scale for merged in info.loras]

    assert strengths() == [1.0, 1.0]
    assert strengths("--lora-scale", "0.8") == [0.8, 0.8]
    assert strengths("--lora-scale", "0.8", "--lora-scale", "0.2") == [0.8, 0.2]
