"""Quantised linear layers: their error, their kernel, and what readiness reports."""

import pytest
import torch
from torch import Tensor, nn

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import TensorSource
from inference_sidecar.engines.infinitetalk.native import fp8
from inference_sidecar.engines.infinitetalk.native.fp8 import (
    E4M3,
    E4M3_MAX,
    Granularity,
    Kernel,
    NotFinite,
    Quantised,
    kernel_of,
    multiply,
    multiply_emulated,
    quantise_activation,
    quantise_weight,
)
from inference_sidecar.engines.infinitetalk.native.linear import (
    Fp8Linear,
    plain_linear,
    precision_of,
    resident_linear,
    takes_rows,
)
from stage.noise import noise

CPU = torch.device("cpu")
ROW, TENSOR = Granularity.ROW, Granularity.TENSOR


def quantised_linear(
    weight: Tensor, bias: Tensor | None, granularity: Granularity = ROW
) -> Fp8Linear:
    return Fp8Linear(quantise_weight(weight, granularity), bias)


def relative_error(result: Tensor, exact: Tensor) -> float:
    return float((result.float() - exact).norm() / exact.norm())


@pytest.fixture(autouse=True)
def fresh_probes() -> None:
    fp8.kernel_of.cache_clear()
    fp8._writes_e4m3.cache_clear()


def test_a_quantised_weight_is_within_half_a_step_of_each_value() -> None:
    weight = noise(64, 128)
    restored = quantise_weight(weight).dequantised(torch.float32)
    # With three mantissa bits the error is at most 1/16 of the value, or half the smallest step.
    smallest = weight.abs().amax(dim=1, keepdim=True) / E4M3_MAX * 2**-10
    assert bool(((restored - weight).abs() <= weight.abs() / 16 + smallest).all())


def test_the_largest_value_of_a_row_is_exact_and_nothing_overflows() -> None:
    weight = noise(32, 64) * 1e4
    quantised = quantise_weight(weight)
    assert bool(torch.isfinite(quantised.values.float()).all())
    assert torch.equal(quantised.values.float().abs().amax(dim=1), torch.full((32,), E4M3_MAX))


def test_a_row_of_zeros_stays_zero() -> None:
    weight = noise(16, 32)
    weight[3] = 0
    assert bool((quantise_weight(weight).dequantised(torch.float32)[3] == 0).all())
    rows = quantise_activation(torch.zeros(4, 32))
    assert bool((rows.dequantised(torch.float32) == 0).all())


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(broken: float) -> None:
    weight = noise(16, 32)
    weight[2, 5] = broken
    with pytest.raises(NotFinite):
        quantise_weight(weight)


def test_rows_of_very_different_magnitude_need_a_scale_each() -> None:
    weight = noise(64, 256) * torch.logspace(-5, 1, 64).unsqueeze(1)
    by_row = quantise_weight(weight, ROW).dequantised(torch.float32)
    by_tensor = quantise_weight(weight, TENSOR).dequantised(torch.float32)
    errors_by_row = (by_row - weight).norm(dim=1) / weight.norm(dim=1)
    errors_by_tensor = (by_tensor - weight).norm(dim=1) / weight.norm(dim=1)
    assert float(errors_by_row.max()) < 0.03
    assert float(errors_by_tensor.max()) > 0.5


@pytest.mark.parametrize("is_direct", [True, False])
def test_activations_are_scaled_row_by_row(
    monkeypatch: pytest.MonkeyPatch, *, is_direct: bool
) -> None:
    monkeypatch.setattr(fp8, "_writes_e4m3", lambda _: is_direct)
    monkeypatch.setattr(fp8, "_ROW_BLOCK", 100)
    rows = (noise(257, 64) * torch.logspace(-3, 3, 257).unsqueeze(1)).bfloat16()
    quantised = quantise_activation(rows)
    assert quantised.values.dtype == E4M3
    assert quantised.scale.shape == (257,)
    exact = rows.float()
    errors = (quantised.dequantised(torch.float32) - exact).norm(dim=1) / exact.norm(dim=1)
    assert float(errors.max()) < 0.04


@pytest.mark.parametrize("granularity", [ROW, TENSOR])
@pytest.mark.parametrize("kernel", [Kernel.ROW, Kernel.TENSOR])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_kernel_matches_the_emulation(
    granularity: Granularity, kernel: Kernel, dtype: torch.dtype
) -> None:
    rows = quantise_activation(noise(33, 128).to(dtype), granularity)
    weight = quantise_weight(noise(48, 128, seed=1), granularity)
    bias = noise(48, seed=2).to(dtype)
    expected = multiply_emulated(rows, weight, bias, torch.float32)
    result = multiply(rows, weight, bias, dtype, kernel)
    assert result.dtype == dtype
    steps = 2**-7 if dtype == torch.bfloat16 else 1e-5
    assert float((result.float() - expected).abs().max()) < steps * float(expected.abs().max())


@pytest.mark.parametrize(("granularity", "bound"), [(ROW, 0.042), (TENSOR, 0.042)])
@pytest.mark.parametrize("shape", [(512, 512), (1536, 512), (512, 1536)])
def test_a_layer_is_within_four_percent_of_float32(
    granularity: Granularity, bound: float, shape: tuple[int, int]
) -> None:
    weight, bias = noise(*shape, seed=1) / shape[1] ** 0.5, noise(shape[0], seed=2)
    x = noise(3, 50, shape[1], seed=3)
    exact = nn.functional.linear(x, weight, bias)
    layer = quantised_linear(weight, bias, granularity)
    result = layer(x.bfloat16())
    assert result.dtype == torch.bfloat16
    assert result.shape == exact.shape
    error = relative_error(result, exact)
    assert 0.005 < error < bound


def test_the_error_does_not_grow_with_outliers_in_single_rows() -> None:
    weight = noise(256, 256, seed=1) / 16
    x = noise(64, 256, seed=3)
    x[5] *= 1e6
    exact = nn.functional.linear(x, weight)
    by_row = quantised_linear(weight, None, ROW)(x)
    by_tensor = quantised_linear(weight, None, TENSOR)(x)
    others = [row for row in range(64) if row != 5]
    assert relative_error(by_row[others], exact[others]) < 0.042
    assert relative_error(by_tensor[others], exact[others]) > 0.1


def test_the_bias_is_kept_in_float32_and_not_quantised() -> None:
    bias = noise(64) + 1e-4
    layer = quantised_linear(torch.zeros(64, 32), bias)
    assert layer.bias is not None
    assert layer.bias.dtype == torch.float32
    torch.testing.assert_close(layer(noise(2, 32)), bias.expand(2, 64), rtol=0, atol=1e-6)


def test_a_device_without_fp8_kernels_dequantises_and_reports_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight = noise(64, 32, seed=1)
    layer = quantised_linear(weight, None)
    x = noise(7, 32, seed=2)

    def refused(*_: object, **__: object) -> Tensor:
        raise RuntimeError("torch._scaled_mm is only supported on devices of another kind")

    monkeypatch.setattr(torch, "_scaled_mm", refused)
    assert kernel_of(CPU, torch.float32) is Kernel.DEQUANTISED
    exact = nn.functional.linear(x, weight)
    # Only the weight is rounded, so this is closer than a real fp8 product.
    assert relative_error(layer(x), exact) < 0.03
    assert precision_of(nn.Sequential(layer)) == (
        "fp8 weights (row), bf16 arithmetic: this device cannot multiply fp8"
    )


def test_a_kernel_with_wrong_results_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = torch._scaled_mm

    def without_row_scales(*args: Tensor, **options: object) -> Tensor:
        if isinstance(left := options["scale_a"], Tensor) and left.numel() > 1:
            options["scale_a"] = torch.ones_like(left)
        return genuine(*args, **options)

    monkeypatch.setattr(torch, "_scaled_mm", without_row_scales)
    assert kernel_of(CPU, torch.bfloat16) is Kernel.TENSOR


def test_a_device_with_row_wise_kernels_uses_them() -> None:
    assert kernel_of(CPU, torch.bfloat16) is Kernel.ROW
    layer = quantised_linear(noise(64, 32), None)
    assert precision_of(nn.Sequential(layer)) == "fp8 (scale per row, row-wise kernel)"


def test_a_layer_that_the_kernels_cannot_tile_is_dequantised() -> None:
    weight = noise(24, 20, seed=1)
    x = noise(5, 20, seed=2)
    layer = quantised_linear(weight, None)
    assert relative_error(layer(x), nn.functional.linear(x, weight)) < 0.03


def test_a_resident_file_decides_for_each_layer() -> None:
    weight = noise(32, 16, seed=1)
    quantised = quantise_weight(weight)
    tensors = {
        "a.weight": quantised.values,
        "a.weight_scale": quantised.scale,
        "a.bias": noise(32, seed=2),
        "b.weight": weight.bfloat16(),
        "b.bias": noise(32, seed=3),
    }
    source = TensorSource(tensors)
    a, b = resident_linear(source, "a"), resident_linear(source, "b")
    assert isinstance(a, Fp8Linear)
    assert isinstance(b, nn.Linear)
    assert source.leftovers() == []
    x = noise(4, 16, seed=4)
    exact = nn.functional.linear(x, weight, tensors["a.bias"])
    assert relative_error(a(x), exact) < 0.05
    assert precision_of(nn.Sequential(b)) == "bfloat16"


def test_a_plain_layer_computes_in_the_dtype_of_its_weight() -> None:
    source = TensorSource({"a.weight": noise(8, 4), "a.bias": noise(8).bfloat16()})
    layer = plain_linear(source, "a")
    assert layer(noise(2, 4)).dtype == torch.float32


def test_scales_that_do_not_fit_the_weight_are_refused() -> None:
    values = noise(8, 4).to(E4M3)
    with pytest.raises(ValueError, match="8 rows need 8 scales or one"):
        Fp8Linear(Quantised(values, torch.ones(4)), None)
    with pytest.raises(ValueError, match="float8_e4m3fn"):
        Fp8Linear(Quantised(noise(8, 4), torch.ones(8)), None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_input_that_several_layers_share_is_quantised_once(dtype: torch.dtype) -> None:
    x = noise(5, 64).to(dtype)
    rows = quantise_activation(x)
    for seed in (1, 2):
        layer = quantised_linear(noise(32, 64, seed=seed), noise(32, seed=seed))
        assert takes_rows(layer, dtype)
        assert torch.equal(layer(rows), layer(x))
        assert layer(rows).dtype == dtype


def test_only_layers_that_multiply_row_by_row_take_quantised_rows() -> None:
    plain = plain_linear(TensorSource({"a.weight": noise(32, 64), "a.bias": noise(32)}), "a")
    by_tensor = quantised_linear(noise(32, 64), None, TENSOR)
    untiled = quantised_linear(noise(24, 72), None)
    assert not any(takes_rows(layer, torch.bfloat16) for layer in (plain, by_tensor, untiled))
