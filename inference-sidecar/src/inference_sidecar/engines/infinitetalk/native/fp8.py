"""8-bit floats: how tensors are quantised, and how two of them are multiplied.

A quantised tensor is `values * scale` with values in e4m3 (4 exponent bits, 3 mantissa bits,
largest value 448). Scales are float32, one per row or one for the whole tensor. Weights are
quantised once, activations at every call.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.native.kernel_choice import Timer, fastest, timer_of

E4M3: Final = torch.float8_e4m3fn
E4M3_MAX: Final = 448.0
_SMALLEST_SCALE: Final = 1e-12
"""For a row of zeros, whose scale would otherwise be zero."""

_ROW_BLOCK: Final = 8192
_SCALE_BLOCK: Final = 256
"""In some torch versions the row-wise kernel reads scales up to a full tile of rows."""


_TIMED_SIZES: Final = (32_760, 5120, (5120, 13_824))
"""A window of 832x480, and the widths of the published transformer."""


class Granularity(StrEnum):
    """Which values share a scale."""

    ROW = "row"
    TENSOR = "tensor"


class Kernel(StrEnum):
    """How two quantised tensors are multiplied, best first.

    ROW: one kernel that applies a scale per row and per column.
    TENSOR: a kernel that takes one scale per operand; row scales are applied to its result.
    DEQUANTISED: weights are converted to bf16 at each call; activations are not quantised.
    """

    ROW = "row-wise"
    TENSOR = "tensor-wise"
    DEQUANTISED = "dequantised"


@dataclass(frozen=True)
class Quantised:
    """`values * scale`. values: e4m3 `[rows, columns]`; scale: float32 `[rows]`, or `[]`."""

    values: Tensor
    scale: Tensor

    def dequantised(self, dtype: torch.dtype) -> Tensor:
        """The tensor that it represents."""
        scale = self.scale if self.scale.ndim == 0 else self.scale.unsqueeze(1)
        return (self.values.to(torch.float32) * scale).to(dtype)


@dataclass(frozen=True)
class QuantisedRows(Quantised):
    """Quantised activations. dtype: before quantisation, and of products with them."""

    dtype: torch.dtype


class NotFinite(ValueError):
    """A weight holds infinities or NaNs: the file is damaged, or was read wrongly."""


def quantise_weight(weight: Tensor, granularity: Granularity = Granularity.ROW) -> Quantised:
    """Quantises `[out, in]`, computing in float32. Raises `NotFinite`."""
    exact = weight.to(torch.float32)
    largest = torch.linalg.vector_norm(exact, ord=float("inf"), dim=1)
    if granularity is Granularity.TENSOR:
        largest = largest.amax()
    if not bool(torch.isfinite(largest).all()):
        raise NotFinite("The weight has values that are not finite.")
    return quantise_by(exact, largest)


def quantise_by(exact: Tensor, largest: Tensor) -> Quantised:
    """Quantises float32 rows with known largest absolute values, one per row or one for all."""
    scale = (largest / E4M3_MAX).clamp(min=_SMALLEST_SCALE)
    divisor = scale if scale.ndim == 0 else scale.unsqueeze(1)
    # Values exceed the range at most by the rounding error of the scale, which rounds back.
    return Quantised((exact / divisor).to(E4M3), scale)


def row_scales(rows: Tensor) -> Tensor:
    """An uninitialised float32 scale per row, padded in memory for kernels that read past the
    end."""
    return rows.new_empty(_whole_blocks(rows.shape[0]), dtype=torch.float32)[: rows.shape[0]]


def quantise_activation(rows: Tensor, granularity: Granularity = Granularity.ROW) -> QuantisedRows:
    """Quantises `[rows, in]` by its own largest values, without synchronising with the device."""
    scales = row_scales(rows)
    torch.linalg.vector_norm(rows, ord=float("inf"), dim=1, dtype=torch.float32, out=scales)
    scales.div_(E4M3_MAX).clamp_(min=_SMALLEST_SCALE)
    if granularity is Granularity.TENSOR:
        scale = scales.amax()
        return QuantisedRows(_divided(rows, scale.expand(rows.shape[0], 1)), scale, rows.dtype)
    return QuantisedRows(_divided(rows, scales.unsqueeze(1)), scales, rows.dtype)


def multiply(
    rows: Quantised, weight: Quantised, bias: Tensor | None, dtype: torch.dtype, kernel: Kernel
) -> Tensor:
    """`rows @ weight.T + bias` in `dtype`, accumulated in float32. Not for `DEQUANTISED`."""
    by_rows = rows.scale.ndim == 1 or weight.scale.ndim == 1
    if by_rows and kernel is Kernel.TENSOR:
        one = torch.ones((), dtype=torch.float32, device=rows.values.device)
        product = _scaled_mm(rows.values, weight.values, one, one, None, dtype)
        product = product.mul_(_column(rows.scale)).mul_(_column(weight.scale).t())
        return product if bias is None else product.add_(bias)
    left, right = rows.scale, weight.scale
    if by_rows:
        left = _column(left.expand(rows.values.shape[0]))
        right = _column(right.expand(weight.values.shape[0])).t().contiguous()
    return _scaled_mm(rows.values, weight.values, left, right, bias, dtype)


def multiply_emulated(
    rows: Quantised, weight: Quantised, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The same in plain float32: the reference for the kernels."""
    product = rows.values.to(torch.float32) @ weight.values.to(torch.float32).t()
    product = product * _column(rows.scale) * _column(weight.scale).t()
    return (product if bias is None else product + bias).to(dtype)


@functools.cache
def kernel_of(device: torch.device, dtype: torch.dtype) -> Kernel:
    """The best kernel that runs on this device and agrees with the emulation.

    It is tried on the device rather than looked up by compute capability, because builds of torch
    differ more in their kernels than the hardware does. Of two that are right, the tensor-wise one
    is taken where it is clearly faster.
    """
    right = [kernel for kernel in (Kernel.ROW, Kernel.TENSOR) if _is_correct(device, dtype, kernel)]
    if not right:
        return Kernel.DEQUANTISED
    timer = timer_of(device)
    return right[0] if timer is None else faster_product(right, device, dtype, timer)


def faster_product(
    kernels: Sequence[Kernel],
    device: torch.device,
    dtype: torch.dtype,
    timer: Timer,
    sizes: tuple[int, int, Sequence[int]] = _TIMED_SIZES,
) -> Kernel:
    """The first of the kernels, or a clearly faster one, at the transformer's products.

    sizes: rows, inputs, and outputs of each product.
    """
    rows, inputs, all_outputs = sizes
    generator = torch.Generator(device).manual_seed(1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=torch.float32)

    quantised = quantise_activation(noise(rows, inputs).to(dtype))
    weights = [quantise_weight(noise(outputs, inputs)) for outputs in all_outputs]

    def run(kernel: Kernel) -> None:
        for weight in weights:
            multiply(quantised, weight, None, dtype, kernel)

    runs = {kernel: functools.partial(run, kernel) for kernel in kernels}
    return fastest(f"fp8 products of {rows} rows", runs, kernels[0], timer)


def _is_correct(device: torch.device, dtype: torch.dtype, kernel: Kernel) -> bool:
    generator = torch.Generator().manual_seed(1)
    # An odd number of rows, as in a video; columns in multiples of 16, as the kernels require.
    rows = torch.randn(257, 64, generator=generator).to(device=device, dtype=dtype)
    weight = quantise_weight(torch.randn(96, 64, generator=generator).to(device))
    bias = torch.randn(96, generator=generator).to(device=device, dtype=dtype)
    quantised = quantise_activation(rows)
    expected = multiply_emulated(quantised, weight, bias, torch.float32)
    try:
        result = multiply(quantised, weight, bias, dtype, kernel).to(torch.float32)
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return bool((result - expected).abs().max() <= 0.02 * expected.abs().max())


@functools.cache
def _writes_e4m3(device: torch.device) -> bool:
    """Whether a product can be written directly as e4m3, which saves two passes over memory."""
    ones = torch.ones(4, 16, dtype=torch.bfloat16, device=device)
    values = torch.empty(4, 16, dtype=E4M3, device=device)
    try:
        torch.mul(ones, torch.full((4, 1), 2.0, device=device), out=values)
    except RuntimeError:
        return False
    return bool((values.to(torch.float32) == 2).all())


def _divided(rows: Tensor, scales: Tensor) -> Tensor:
    """`rows / scales` as e4m3. The scales come from the same rows, so nothing exceeds the range."""
    values = torch.empty(rows.shape, dtype=E4M3, device=rows.device)
    factors = scales.reciprocal()
    if _writes_e4m3(rows.device):
        return torch.mul(rows, factors, out=values)
    # In blocks, because the float32 product is four times as large as the result.
    for start in range(0, rows.shape[0], _ROW_BLOCK):
        block = slice(start, start + _ROW_BLOCK)
        values[block] = (rows[block] * factors[block]).to(E4M3)
    return values


def _scaled_mm(
    rows: Tensor,
    weight: Tensor,
    left: Tensor,
    right: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    # The public `scaled_mm` of torch.nn.functional is missing from the torch of some GPU images.
    return torch._scaled_mm(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        rows,
        weight.t(),
        scale_a=left,
        scale_b=right,
        bias=bias,
        out_dtype=dtype,
        # A third faster on Hopper; its error is a hundredth of that of e4m3.
        use_fast_accum=True,
    )


def _column(scale: Tensor) -> Tensor:
    return scale.reshape(-1, 1)


def _whole_blocks(rows: int) -> int:
    return -(-rows // _SCALE_BLOCK) * _SCALE_BLOCK
