"""Every LoRA format updates the right tensors with the right strength, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.prepare.lora import read_lora

WriteLora = Callable[[dict[str, Tensor]], Path]
Q = "blocks.0.self_attn.q"
SHAPES: dict[str, tuple[int, ...]] = {
    f"{Q}.weight": (12, 8),
    f"{Q}.bias": (12,),
    "blocks.0.norm3.weight": (12,),
    "blocks.0.modulation": (1, 6, 12),
    "blocks.0.cross_attn.k_img.weight": (12, 8),
    "patch_embedding.weight": (12, 4, 1, 2, 2),
}
RANK = 4
UP, DOWN = torch.randn(12, RANK), torch.randn(RANK, 8)


def change_of(path: Path, name: str, scale: float = 1.0) -> Tensor:
    """The sum of all updates of a tensor, computed in two pieces."""
    changes = read_lora(path, "0" * 64, scale, SHAPES).changes[name]
    zeros = torch.zeros(SHAPES[name])
    half = SHAPES[name][0] // 2 or 1
    pieces = [(0, zeros[:half]), (half, zeros[half:])]
    return sum(
        (
            torch.cat([change.rows(start, rows) for start, rows in pieces if len(rows)])
            for change in changes
        ),
        start=zeros,
    )


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("lora_down.weight", "lora_up.weight"),
        ("lora_A.weight", "lora_B.weight"),
        ("lora_A.default.weight", "lora_B.default.weight"),
        ("lora.down.weight", "lora.up.weight"),
    ],
)
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "diffusion_model.",
        "model.diffusion_model.",
        "base_model.model.",
        "base_model.model.diffusion_model.",
        "transformer.",
    ],
)
def test_both_pairs_of_names_are_read_under_every_prefix(
    write_lora: WriteLora, prefix: str, down: str, up: str
) -> None:
    path = write_lora({f"{prefix}{Q}.{down}": DOWN, f"{prefix}{Q}.{up}": UP})
    torch.testing.assert_close(change_of(path, f"{Q}.weight"), UP @ DOWN)


@pytest.mark.parametrize("prefix", ["lora_unet_", "lora_unet__"])
def test_names_with_underscores_are_read(write_lora: WriteLora, prefix: str) -> None:
    name = f"{prefix}blocks_0_cross_attn_k_img"
    path = write_lora({f"{name}.lora_down.weight": DOWN, f"{name}.lora_up.weight": UP})
    torch.testing.assert_close(change_of(path, "blocks.0.cross_attn.k_img.weight"), UP @ DOWN)


@pytest.mark.parametrize(("alpha", "strength"), [(None, 1.0), (8.0, 2.0), (1.0, 0.25)])
@pytest.mark.parametrize("scale", [1.0, 0.5, -1.0])
def test_the_strength_is_scale_times_alpha_over_rank(
    write_lora: WriteLora, alpha: float | None, strength: float, scale: float
) -> None:
    tensors = {f"diffusion_model.{Q}.lora_A.weight": DOWN, f"diffusion_model.{Q}.lora_B.weight": UP}
    if alpha is not None:
        tensors[f"diffusion_model.{Q}.alpha"] = torch.tensor(alpha)
    change = change_of(write_lora(tensors), f"{Q}.weight", scale)
    torch.testing.assert_close(change, UP @ DOWN * strength * scale)


def test_full_differences_of_weight_bias_and_modulation_are_read(write_lora: WriteLora) -> None:
    weight, bias = torch.randn(12, 8), torch.randn(12)
    norm, modulation = torch.randn(12), torch.randn(1, 6, 12)
    path = write_lora(
        {
            f"diffusion_model.{Q}.diff": weight,
            f"diffusion_model.{Q}.diff_b": bias,
            "diffusion_model.blocks.0.norm3.diff": norm,
            "diffusion_model.blocks.0.diff_m": modulation,
        }
    )
    torch.testing.assert_close(change_of(path, f"{Q}.weight", 0.5), weight / 2)
    torch.testing.assert_close(change_of(path, f"{Q}.bias", 0.5), bias / 2)
    torch.testing.assert_close(change_of(path, "blocks.0.norm3.weight"), norm)
    torch.testing.assert_close(change_of(path, "blocks.0.modulation"), modulation)


def test_a_difference_may_be_named_after_the_tensor_itself(write_lora: WriteLora) -> None:
    modulation = torch.randn(1, 6, 12)
    path = write_lora({"diffusion_model.blocks.0.modulation.diff": modulation})
    torch.testing.assert_close(change_of(path, "blocks.0.modulation"), modulation)


def test_a_pair_and_a_difference_of_one_layer_are_both_added(write_lora: WriteLora) -> None:
    whole = torch.randn(12, 8)
    path = write_lora({f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": UP, f"{Q}.diff": whole})
    torch.testing.assert_close(change_of(path, f"{Q}.weight"), UP @ DOWN + whole)


def test_a_convolution_is_updated_as_a_matrix(write_lora: WriteLora) -> None:
    down, up = torch.randn(RANK, 4, 1, 2, 2), torch.randn(12, RANK, 1, 1, 1)
    name = "diffusion_model.patch_embedding"
    path = write_lora({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up})
    expected = (up.flatten(1) @ down.flatten(1)).reshape(12, 4, 1, 2, 2)
    torch.testing.assert_close(change_of(path, "patch_embedding.weight"), expected)


def test_unknown_names_are_refused_and_listed(write_lora: WriteLora) -> None:
    known = {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": UP}
    strangers = {f"diffusion_model.blocks.{i}.new.lora_A.weight": DOWN for i in range(12)}
    with pytest.raises(WeightsError) as error:
        read_lora(write_lora(known | strangers), "", 1.0, SHAPES)
    assert "diffusion_model.blocks.0.new.lora_A.weight" in str(error.value)
    assert "and 2 more" in str(error.value)
    assert Q not in str(error.value)


@pytest.mark.parametrize("ending", ["dora_scale", "lora_mid.weight", "hada_w1_a", "weight"])
def test_other_kinds_of_updates_are_refused(write_lora: WriteLora, ending: str) -> None:
    tensors = {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": UP, f"{Q}.{ending}": DOWN}
    with pytest.raises(WeightsError, match=ending):
        read_lora(write_lora(tensors), "", 1.0, SHAPES)


@pytest.mark.parametrize(
    "tensors",
    [
        {f"{Q}.lora_A.weight": DOWN},
        {f"{Q}.lora_B.weight": UP},
        {f"{Q}.alpha": torch.tensor(1.0)},
        {f"{Q}.lora_A.weight": torch.randn(RANK, 9), f"{Q}.lora_B.weight": UP},
        {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": torch.randn(13, RANK)},
        {f"{Q}.lora_A.weight": DOWN, f"{Q}.lora_B.weight": torch.randn(12, RANK + 1)},
        {f"{Q}.diff": torch.randn(12, 9)},
        {"patch_embedding.diff_b": torch.randn(12)},
    ],
)
def test_tensors_without_counterpart_or_of_another_shape_are_refused(
    write_lora: WriteLora, tensors: dict[str, Tensor]
) -> None:
    with pytest.raises(WeightsError, match="without their counterpart, or of other shapes"):
        read_lora(write_lora(tensors), "", 1.0, SHAPES)


def test_a_file_without_any_update_is_refused(write_lora: WriteLora) -> None:
    with pytest.raises(WeightsError, match="changes nothing"):
        read_lora(write_lora({}), "", 1.0, SHAPES)


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    with pytest.raises(WeightsError, match="There is no LoRA"):
        read_lora(path, "", 1.0, SHAPES)
    path.write_bytes(b"not a LoRA at all")
    with pytest.raises(WeightsError, match="is not a LoRA in safetensors format"):
        read_lora(path, "", 1.0, SHAPES)
