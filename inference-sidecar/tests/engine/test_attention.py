"""A fast attention is held against an exact one before it is used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from inference_sidecar.engines.infinitetalk.native.attention import Attention, AttentionBackend
from inference_sidecar.engines.infinitetalk.native.attention_check import AttentionSizes, Kernel
from inference_sidecar.engines.infinitetalk.native.fp8 import Kernel as Kernel8
from inference_sidecar.engines.infinitetalk.native.fp8 import faster_product
from inference_sidecar.engines.infinitetalk.native.kernel_choice import Timer, fastest, timer_of

CPU = torch.device("cpu")
TOKENS = (100, 131, 160)
SIZES = AttentionSizes(heads=2, head_dim=16, token_counts=TOKENS)


def exact(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def rough(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return exact(query, key, value) * 1.01


def too_large(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return exact(query, key, value) * 1.1


def breaks_at(tokens: int, keys: int) -> Kernel:
    def kernel(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = exact(query, key, value)
        return found * torch.nan if (query.shape[1], key.shape[1]) == (tokens, keys) else found

    return kernel


def unsteady() -> Kernel:
    calls = iter(range(1_000))
    return lambda *inputs: exact(*inputs) * (1 + 1e-3 * next(calls))


def needs_contiguous(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Reads a value that lies between others as if it did not."""
    return exact(
        query, key, torch.as_strided(value, value.shape, torch.empty(value.shape).stride())
    )


def attention(wanted: AttentionBackend, kernel: Kernel) -> Attention:
    return Attention(wanted, CPU, torch.float32, SIZES, sage=lambda: kernel)


@pytest.mark.parametrize("wanted", [AttentionBackend.SAGE, AttentionBackend.FAST])
def test_a_kernel_that_agrees_is_used_until_it_is_given_up(wanted: AttentionBackend) -> None:
    attend = attention(wanted, rough)
    inputs = (torch.randn(1, 9, 2, 16), torch.randn(1, 7, 2, 16), torch.randn(1, 7, 2, 16))
    assert attend.backend is AttentionBackend.SAGE
    assert torch.equal(attend(*inputs), rough(*inputs))
    assert attend.make_exact()
    assert not attend.make_exact()
    assert attend.backend is AttentionBackend.CPU
    assert torch.equal(attend(*inputs), exact(*inputs))


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (lambda: too_large, r"10\.0% off at 100 queries and 100 keys"),
        (lambda: breaks_at(131, 131), "no numbers at 131 queries and 131 keys"),
        (lambda: breaks_at(100, 257), "no numbers at 100 queries and 257 keys"),
        (unsteady, "not repeatable at 100 queries"),
        (lambda: needs_contiguous, "off at 100 queries"),
    ],
)
def test_a_kernel_that_is_wrong_anywhere_stops_sage_and_is_passed_over_by_fast(
    kernel: Callable[[], Kernel], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=reason):
        attention(AttentionBackend.SAGE, kernel())
    assert attention(AttentionBackend.FAST, kernel()).backend is AttentionBackend.CPU
    assert "Attention stays exact" in caplog.text


def test_fast_without_the_package_or_a_gpu_is_exact() -> None:
    attend = Attention(AttentionBackend.FAST, CPU, torch.float32, SIZES)
    assert attend.backend is AttentionBackend.CPU
    with pytest.raises(ValueError, match="needs a CUDA device"):
        Attention(AttentionBackend.SAGE, CPU, torch.float32, SIZES)


def seconds(**of: float) -> Timer:
    """Answers with these seconds, in the order in which kernels are timed."""
    answers = iter(of.values())
    return lambda _run: next(answers)


@pytest.mark.parametrize(
    ("sage_seconds", "expected"),
    [(0.90, AttentionBackend.SAGE), (0.96, AttentionBackend.CPU), (1.2, AttentionBackend.CPU)],
)
def test_fast_takes_sage_only_where_it_is_clearly_faster(
    sage_seconds: float, expected: AttentionBackend
) -> None:
    sizes = AttentionSizes(heads=2, head_dim=16, token_counts=(100,), usual_tokens=100)
    attend = Attention(
        AttentionBackend.FAST,
        CPU,
        torch.float32,
        sizes,
        sage=lambda: rough,
        timer=seconds(exact=1.0, sage=sage_seconds),
    )
    assert attend.backend is expected


@pytest.mark.parametrize(
    ("row", "tensor", "expected"),
    [(1.0, 0.97, Kernel8.ROW), (1.0, 0.94, Kernel8.TENSOR), (1.0, 2.0, Kernel8.ROW)],
)
def test_another_product_is_taken_only_where_it_is_clearly_faster(
    row: float, tensor: float, expected: Kernel8
) -> None:
    timer = seconds(row=row, tensor=tensor)
    kernels = (Kernel8.ROW, Kernel8.TENSOR)
    found = faster_product(kernels, CPU, torch.bfloat16, timer, sizes=(32, 16, (16, 32)))
    assert found is expected


def test_the_timed_call_is_a_product_of_the_given_sizes() -> None:
    taken: list[str] = []

    def timer(run: Callable[[], object]) -> float:
        run()
        taken.append("timed")
        return 1.0

    kernels = (Kernel8.ROW, Kernel8.TENSOR)
    assert faster_product(kernels, CPU, torch.bfloat16, timer, (32, 16, (16,))) is Kernel8.ROW
    assert len(taken) == 2


def test_a_kernel_that_cannot_run_is_left_out_and_a_cpu_times_nothing() -> None:
    def timer(run: Callable[[], object]) -> float:
        run()
        return 0.5

    def fails() -> None:
        raise RuntimeError("no kernel image")

    assert fastest("x", {"usual": lambda: None, "other": fails}, "usual", timer) == "usual"
    assert timer_of(CPU) is None
