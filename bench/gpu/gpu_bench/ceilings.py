"""B0 and B1: the card's fastest matrix products and attention, from which every floor is
derived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_bench.measure import Budget, Device, measure_or_skip
from gpu_bench.scale import Scale
from gpu_bench.table import Row, Table
from inference_sidecar.engines.infinitetalk.capacity.flops import tokens_of

_FP8_MAX: Final = 448.0
_REFUSALS: Final = (RuntimeError, NotImplementedError, AttributeError)
"""How torch says that a kernel does not run on a device."""
_BACKENDS: Final = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


@dataclass
class Ceilings:
    """The highest rates measured in this run, in FLOPs per second; empty means unknown.

    is_meaningful: False for tiny shapes, whose time goes to call overhead: they have no floor.
    """

    is_meaningful: bool = True
    matmul: dict[str, float] = field(default_factory=dict[str, float])
    attention: float | None = None

    def floor(self, precision: str, linear: float, attention: float) -> float | None:
        """The least seconds in which this device can do this much arithmetic; None if unknown."""
        rate = self.matmul.get(precision)
        if not self.is_meaningful or rate is None or (attention and self.attention is None):
            return None
        return linear / rate + (attention / self.attention if self.attention else 0.0)

    def note_matmul(self, precision: str, flops: float, fastest_seconds: float) -> None:
        """Records the fastest single run, so that no lucky run beats the floor."""
        rate = flops / fastest_seconds
        self.matmul[precision] = max(rate, self.matmul.get(precision, 0.0))

    def note_attention(self, flops: float, fastest_seconds: float) -> None:
        """See `note_matmul`."""
        self.attention = max(flops / fastest_seconds, self.attention or 0.0)


def measure_matmuls(
    device: Device, scale: Scale, table: Table, ceilings: Ceilings, budget: Budget
) -> None:
    """B0: a large square matrix, and the transformer's own shapes at the smaller size."""
    tokens, dim, ffn = tokens_of(scale.sizes[0], scale.frames), scale.shape.dim, scale.shape.ffn_dim
    shapes = [(scale.square,) * 3, (tokens, dim, dim), (tokens, dim, ffn), (tokens, ffn, dim)]
    for rows, inner, columns in shapes:
        left, right = (
            torch.randn(a, b, device=device.torch) for a, b in ((rows, inner), (columns, inner))
        )
        what = f"{rows} x {inner} x {columns}"
        for precision, name, multiply in _multiplications(device, left, right):
            case = f"matmul {what}, {name}"
            flops = 2.0 * rows * inner * columns
            row = (table, "B0", case)
            if timed := measure_or_skip(device, budget, lambda run=multiply: run, row, _REFUSALS):
                ceilings.note_matmul(precision, flops, min(timed.seconds))
                table.add(Row("B0", case, timed.seconds, None, flops, None))


def _multiplications(
    device: Device, left: Tensor, right: Tensor
) -> list[tuple[str, str, Callable[[], object]]]:
    """Precision, name and call. Inputs are random: zeros draw less power and run faster."""
    if not device.is_cuda:
        return [("bf16", "fp32 (CPU)", lambda: left @ right.t())]
    a, b = left.bfloat16(), right.bfloat16()
    a8, b8 = (_to_fp8(x) for x in (left, right))
    one = torch.ones((), device=device.torch)
    by_row, by_column = (
        torch.ones(shape, device=device.torch) for shape in ((len(left), 1), (1, len(right)))
    )
    # The public name in torch.nn.functional is missing from older versions of torch.
    scaled = torch._scaled_mm  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return [
        ("bf16", "bf16", lambda: a @ b.t()),
        (
            "fp8",
            "fp8, a scale per tensor",
            lambda: scaled(
                a8, b8.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
            ),
        ),
        (
            "fp8",
            "fp8, a scale per row",
            lambda: scaled(
                a8,
                b8.t(),
                scale_a=by_row,
                scale_b=by_column,
                out_dtype=torch.bfloat16,
                use_fast_accum=True,
            ),
        ),
    ]


def _to_fp8(x: Tensor) -> Tensor:
    return (x * (_FP8_MAX / x.abs().max())).to(torch.float8_e4m3fn)


def measure_attention(
    device: Device, scale: Scale, table: Table, ceilings: Ceilings, budget: Budget
) -> None:
    """B1: each attention kernel except `math`, which would store every score."""
    heads, dim = scale.shape.heads, scale.shape.dim
    for size in scale.sizes:
        tokens = tokens_of(size, scale.frames)
        dtype = torch.bfloat16 if device.is_cuda else torch.float32
        q, k, v = (
            torch.randn(1, heads, tokens, dim // heads, device=device.torch, dtype=dtype)
            for _ in range(3)
        )
        flops = 4.0 * tokens * tokens * dim
        for name, attend in _attentions(device, q, k, v).items():
            case = f"attention {size.width}x{size.height}, {tokens} tokens, {name}"
            row = (table, "B1", case)
            if timed := measure_or_skip(device, budget, lambda run=attend: run, row, _REFUSALS):
                ceilings.note_attention(flops, min(timed.seconds))
                table.add(Row("B1", case, timed.seconds, None, flops, timed.peak_bytes))


def _attentions(device: Device, q: Tensor, k: Tensor, v: Tensor) -> dict[str, Callable[[], object]]:
    if not device.is_cuda:
        return {"torch's choice (CPU)": lambda: functional.scaled_dot_product_attention(q, k, v)}

    def forced(backend: SDPBackend) -> Callable[[], object]:
        def attend() -> object:
            # With a single backend allowed, torch raises instead of falling back silently.
            with sdpa_kernel(backend):
                return functional.scaled_dot_product_attention(q, k, v)

        return attend

    found = {name: forced(backend) for name, backend in _BACKENDS.items()}
    if find_spec("sageattention") is not None:
        sage = cast("Any", import_module("sageattention")).sageattn
        found["sage"] = partial(sage, q, k, v, tensor_layout="HND")
    return found
