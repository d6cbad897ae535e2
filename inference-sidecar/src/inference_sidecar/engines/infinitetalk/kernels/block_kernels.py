"""GPU kernels for the operations between the linear layers: each value is read and written once.

One program processes one token's whole row and computes in float32, whatever the dtype in memory.
With `QUANTISE` it writes e4m3 and a scale for the row, like `fp8.quantise_activation`, instead of
the dtype of the output pointer. Rows are contiguous. Widths are padded to a power of two with lanes
that neither read nor write. Several rows per program, which would read norm weights only once, are
no faster on an H100.
"""

# Triton's language is untyped; arguments in capitals are compile-time constants.
# ruff: noqa: ANN001, ANN201, ANN202, N803
# pyright: basic

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

E4M3_MAX = tl.constexpr(448.0)
SMALLEST_SCALE = tl.constexpr(1e-12)


@triton.jit
def _store_row(values, out, scales, row, columns, inside, width, QUANTISE: tl.constexpr):
    """Writes a row unchanged, or as e4m3 with its scale. `values` is 0 outside the row."""
    if QUANTISE:
        scale = tl.maximum(tl.max(tl.abs(values), axis=0) / E4M3_MAX, SMALLEST_SCALE)
        tl.store(scales + row, scale)
        values = values * (1.0 / scale)
    tl.store(out + row * width + columns, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _load_row(x, row, columns, inside, width):
    return tl.load(x + row * width + columns, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _turned(values, cos, sin, row, HEAD_DIM: tl.constexpr, PADDED_HEADS: tl.constexpr):
    """Each pair of neighbours of each head, rotated by the row's angles."""
    pairs = row * (HEAD_DIM // 2) + tl.arange(0, HEAD_DIM // 2)
    turn_cos = tl.load(cos + pairs)[None, :]
    turn_sin = tl.load(sin + pairs)[None, :]
    even, odd = tl.split(tl.reshape(values, (PADDED_HEADS, HEAD_DIM // 2, 2)))
    turned = tl.join(even * turn_cos - odd * turn_sin, even * turn_sin + odd * turn_cos)
    return tl.reshape(turned, (PADDED_HEADS, HEAD_DIM))


@triton.jit
def layer_norm_kernel(
    x,
    update,
    gate,
    factor,
    summand,
    summed,
    out,
    scales,
    width,
    epsilon,
    ADD: tl.constexpr,
    GATE: tl.constexpr,
    QUANTISE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """`layer_norm(x) * factor + summand`. With ADD, normalises `x + update` and stores the sum in
    `summed`; with GATE, the sum is `x + update * gate`. gate, factor and summand are float32, one
    value per column."""
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    a = tl.load(factor + columns, mask=inside, other=0.0)
    b = tl.load(summand + columns, mask=inside, other=0.0)
    row = tl.program_id(0).to(tl.int64)
    values = _load_row(x, row, columns, inside, width)
    if ADD:
        added = _load_row(update, row, columns, inside, width)
        if GATE:
            added *= tl.load(gate + columns, mask=inside, other=0.0)
        rounded = (values + added).to(summed.dtype.element_ty)
        tl.store(summed + row * width + columns, rounded, mask=inside)
        values = rounded.to(tl.float32)
    mean = tl.sum(values, axis=0) / width
    centred = tl.where(inside, values - mean, 0.0)
    inverse_deviation = tl.rsqrt(tl.sum(centred * centred, axis=0) / width + epsilon)
    normed = centred * inverse_deviation * a + b
    _store_row(normed, out, scales, row, columns, inside, width, QUANTISE)


@triton.jit
def rms_norm_kernel(
    x,
    weight,
    cos,
    sin,
    out,
    epsilon,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PADDED_HEADS: tl.constexpr,
    ROTATE: tl.constexpr,
):
    """`rms_norm(x) * weight`, then rotates each pair of neighbours of each head by its angle.

    cos and sin: float32 `[tokens, HEAD_DIM / 2]`. HEAD_DIM must be a power of two.
    """
    width: tl.constexpr = HEADS * HEAD_DIM
    heads = tl.arange(0, PADDED_HEADS)
    columns = heads[:, None] * HEAD_DIM + tl.arange(0, HEAD_DIM)[None, :]
    inside = (heads < HEADS)[:, None] & (columns >= 0)
    factor = tl.load(weight + columns, mask=inside, other=0.0)
    row = tl.program_id(0).to(tl.int64)
    values = _load_row(x, row, columns, inside, width)
    mean_square = tl.sum(tl.sum(values * values, axis=1), axis=0) / width
    values = values * tl.rsqrt(mean_square + epsilon) * factor
    if ROTATE:
        values = _turned(values, cos, sin, row, HEAD_DIM, PADDED_HEADS)
    tl.store(out + row * width + columns, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def turn_kernel(
    x, cos, sin, out, HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, PADDED_HEADS: tl.constexpr
):
    """Rotates like `rms_norm_kernel`, without its norm."""
    width: tl.constexpr = HEADS * HEAD_DIM
    heads = tl.arange(0, PADDED_HEADS)
    columns = heads[:, None] * HEAD_DIM + tl.arange(0, HEAD_DIM)[None, :]
    inside = (heads < HEADS)[:, None] & (columns >= 0)
    row = tl.program_id(0).to(tl.int64)
    values = _load_row(x, row, columns, inside, width)
    values = _turned(values, cos, sin, row, HEAD_DIM, PADDED_HEADS)
    tl.store(out + row * width + columns, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def gated_sum_kernel(x, update, gate, out, width, BLOCK: tl.constexpr):
    """`x + update * gate`; gate is float32, one value per column."""
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    factor = tl.load(gate + columns, mask=inside, other=0.0)
    row = tl.program_id(0).to(tl.int64)
    values = _load_row(x, row, columns, inside, width)
    values += _load_row(update, row, columns, inside, width) * factor
    tl.store(out + row * width + columns, values.to(out.dtype.element_ty), mask=inside)


@triton.jit
def quantise_kernel(
    x, other, out, scales, width, ADD: tl.constexpr, GELU: tl.constexpr, BLOCK: tl.constexpr
):
    """e4m3 of `x`, of `x + other` (ADD), or of `gelu(x)`, tanh approximation (GELU)."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    values = _load_row(x, row, columns, inside, width)
    if ADD:
        values += _load_row(other, row, columns, inside, width)
    if GELU:
        # 0.5 * (1 + tanh(u)) is the logistic function of 2u.
        doubled = 1.5957691216057308 * (values + 0.044715 * values * values * values)
        values = values / (1.0 + tl.exp(-doubled))
    _store_row(values, out, scales, row, columns, inside, width, True)
