"""B0 and B1: matrix products and attention, which set the ceilings of this card."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_bench.measure import Bench, Budget, Device
from gpu_bench.table import Row
from inference_sidecar.engines.infinitetalk.capacity.flops import tokens_of

_FP8_MAX: Final = 448.0
_REFUSALS: Final = (RuntimeError, NotImplementedError, AttributeError)
"""How torch says that a kernel does not run on a device."""
_BACKENDS: Final = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


class KernelBench(Bench):
    """Measures the kernels that most of a forward consists of."""

    def matmuls(self, budget: Budget) -> None:
        """B0: a large square matrix, and the transformer's own shapes at the smaller size."""
        scale, device = self.scale, self.device
        tokens = tokens_of(scale.sizes[0], scale.frames)
        dim, ffn = scale.shape.dim, scale.shape.ffn_dim
        shapes = [(scale.square,) * 3, (tokens, dim, dim), (tokens, dim, ffn), (tokens, ffn, dim)]
        for rows, inner, columns in shapes:
            left, right = (
                torch.randn(a, b, device=device.torch) for a, b in ((rows, inner), (columns, inner))
            )
            flops = 2.0 * rows * inner * columns
            for precision, name, multiply in _multiplications(device, left, right):
                case = f"matmul {rows} x {inner} x {columns}, {name}"
                if timed := self.time_or_skip("B0", case, budget, lambda: multiply, _REFUSALS):  # noqa: B023 - called at once
                    self.ceilings.note_matmul(precision, flops, min(timed.seconds))
                    self.table.add(Row("B0", case, timed.seconds, None, flops))

    def attention(self, budget: Budget) -> None:
        """B1: each attention kernel except `math`, which would store every score."""
        heads, dim = self.scale.shape.heads, self.scale.shape.dim
        where, dtype = self.device.torch, torch.bfloat16 if self.device.is_cuda else torch.float32
        for size in self.scale.sizes:
            tokens = tokens_of(size, self.scale.frames)
            q, k, v = (
                torch.randn(1, heads, tokens, dim // heads, device=where, dtype=dtype)
                for _ in range(3)
            )
            flops = 4.0 * tokens * tokens * dim
            for name, attend in _attentions(self.device, q, k, v).items():
                case = f"attention {size.width}x{size.height}, {tokens} tokens, {name}"
                if timed := self.time_or_skip("B1", case, budget, lambda: attend, _REFUSALS):  # noqa: B023 - called at once
                    self.ceilings.note_attention(flops, min(timed.seconds))
                    self.table.add(Row("B1", case, timed.seconds, None, flops, timed.peak_bytes))


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
