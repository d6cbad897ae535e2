"""Full attention with one chosen kernel, and no fallback during a render.

`scaled_dot_product_attention` can fall back to a kernel that stores every score: 43 GB at 480p. On
a GPU that is never allowed; a shape that the chosen kernel does not take is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from inference_sidecar.engines.infinitetalk.native.attention_check import (
    AttentionSizes,
    Kernel,
    disagreement,
    inputs_of,
)
from inference_sidecar.engines.infinitetalk.native.kernel_choice import Timer, fastest, timer_of

_log = logging.getLogger("avatar")


class AttentionBackend(StrEnum):
    """The kernel that computes attention.

    AUTO and FAST are resolved once: AUTO to the fastest exact kernel, FAST to SAGE where that
    agrees with an exact kernel and is faster.
    """

    AUTO = "auto"
    FAST = "fast"
    SAGE = "sage"
    CUDNN = "cudnn"
    FLASH = "flash"
    EFFICIENT = "efficient"
    CPU = "cpu"


_KERNELS = {
    AttentionBackend.CUDNN: SDPBackend.CUDNN_ATTENTION,
    AttentionBackend.FLASH: SDPBackend.FLASH_ATTENTION,
    AttentionBackend.EFFICIENT: SDPBackend.EFFICIENT_ATTENTION,
}


class Attention:
    """Attention with one kernel. `backend` is the kernel that is really used, never AUTO or FAST.

    sizes: at which a fast kernel is held against an exact one, and kernels are timed; without them
    neither is done. sage: imports SageAttention; timer: times kernels. Tests give their own.
    """

    def __init__(
        self,
        wanted: AttentionBackend,
        device: torch.device,
        dtype: torch.dtype,
        sizes: AttentionSizes | None = None,
        sage: Callable[[], Kernel] | None = None,
        timer: Timer | None = None,
    ) -> None:
        """Raises `ValueError` for a kernel that this device or dtype does not support, and for one
        that was asked for by name and is wrong."""
        timing = _Timing(sizes, timer or timer_of(device), device, dtype)
        self._exact = timing.exact(_exact(wanted, device, dtype), wanted)
        self.backend = self._exact
        self._kernel: Kernel = partial(_attend, self._exact)
        if wanted not in {AttentionBackend.SAGE, AttentionBackend.FAST}:
            return
        objection = None if sage is not None else _objection(device, dtype)
        fast = (sage or _sage)() if objection is None else None
        if fast is not None and sizes is not None:
            wrong = disagreement(fast, self._kernel, sizes, device, dtype)
            objection = wrong and f"Attention by sage is wrong on {device}: {wrong}."
        if objection is not None and wanted is AttentionBackend.SAGE:
            raise ValueError(objection)
        if objection is not None or fast is None:
            _log.warning("Attention stays exact, rendering takes longer: %s", objection)
        elif wanted is AttentionBackend.SAGE or timing.is_faster(fast, self._exact):
            self.backend, self._kernel = AttentionBackend.SAGE, fast

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`[batch, tokens, heads, head_dim]` each → the shape of `query`."""
        return self._kernel(query, key, value)

    def exactly(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The same with the exact kernel, for values whose last bits decide something."""
        return _attend(self._exact, query, key, value)

    def make_exact(self) -> bool:
        """Takes an exact kernel from now on; False if it already does."""
        if self.backend is self._exact:
            return False
        self.backend, self._kernel = self._exact, partial(_attend, self._exact)
        return True


@dataclass(frozen=True)
class _Timing:
    """Times kernels at the usual size; without a size or a timer, the usual one stays."""

    sizes: AttentionSizes | None
    timer: Timer | None
    device: torch.device
    dtype: torch.dtype

    def exact(self, usual: AttentionBackend, wanted: AttentionBackend) -> AttentionBackend:
        """The fastest of the exact kernels, unless one was asked for by name."""
        if wanted == usual or usual is not AttentionBackend.CUDNN:
            return usual
        candidates = (AttentionBackend.CUDNN, AttentionBackend.FLASH)
        return self._fastest({one: partial(_attend, one) for one in candidates}, usual)

    def is_faster(self, fast: Kernel, exact: AttentionBackend) -> bool:
        """Whether the fast kernel is worth its error; True where that cannot be timed."""
        if self.timer is None or self.sizes is None or self.sizes.usual_tokens == 0:
            return True
        kernels = {exact: partial(_attend, exact), AttentionBackend.SAGE: fast}
        return self._fastest(kernels, exact) is AttentionBackend.SAGE

    def _fastest(
        self, kernels: Mapping[AttentionBackend, Kernel], usual: AttentionBackend
    ) -> AttentionBackend:
        sizes, timer = self.sizes, self.timer
        if timer is None or sizes is None or sizes.usual_tokens == 0:
            return usual
        tokens = sizes.usual_tokens
        inputs = inputs_of(tokens, tokens, sizes, self.device, self.dtype)
        runs = {name: partial(kernel, *inputs) for name, kernel in kernels.items()}
        return fastest(f"Attention at {tokens} tokens", runs, usual, timer)


def _attend(backend: AttentionBackend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    if backend is AttentionBackend.CPU:
        attended = functional.scaled_dot_product_attention(q, k, v)
    else:
        with sdpa_kernel(_KERNELS[backend]):
            attended = functional.scaled_dot_product_attention(q, k, v)
    return attended.transpose(1, 2)


def _exact(wanted: AttentionBackend, device: torch.device, dtype: torch.dtype) -> AttentionBackend:
    """The exact kernel that is asked for, or the best one beside a fast one."""
    is_chosen = wanted in {*_KERNELS, AttentionBackend.CPU}
    if device.type != "cuda":
        if is_chosen and wanted is not AttentionBackend.CPU:
            raise ValueError(f"Attention by {wanted} needs a CUDA device, not {device}.")
        return AttentionBackend.CPU
    is_half = dtype in {torch.bfloat16, torch.float16}
    if not is_chosen:
        return AttentionBackend.CUDNN if is_half else AttentionBackend.EFFICIENT
    if wanted is AttentionBackend.CPU:
        raise ValueError(f"Attention by cpu cannot run on {device}.")
    if wanted is not AttentionBackend.EFFICIENT and not is_half:
        raise ValueError(f"Attention by {wanted} needs bf16, not {dtype}.")
    return wanted


def _objection(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why SageAttention cannot run here."""
    if device.type != "cuda":
        return f"Attention by sage needs a CUDA device, not {device}."
    if dtype not in {torch.bfloat16, torch.float16}:
        return f"Attention by sage needs bf16, not {dtype}."
    if find_spec("sageattention") is None:
        return "Attention by sage needs the package sageattention."
    return None


def _sage() -> Kernel:
    """Used only when configured: it changes results, so being installed is not enough."""
    kernel = cast("Any", import_module("sageattention")).sageattn
    return partial(kernel, tensor_layout="NHD")
