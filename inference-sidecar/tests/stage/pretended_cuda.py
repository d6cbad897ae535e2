"""A CUDA device simulated by the CPU: its tensors refuse to be combined with those of the host.

The CPU does all the work. This checks device placement, which ordinary CPU tests cannot: a tensor
left on the host, or passed to NumPy without `cpu()`. It also follows autocast for CUDA, on which
upstream's code relies. It does not check kernels, memory or speed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

DEVICE = torch.device("cuda", 0)
NAME = "a pretended GPU"
UUID = "aaaaaaaa-0000-0000-0000-000000000000"
_HOST = torch.device("cpu")
_FREE_BYTES = 48 << 30

_MAY_MIX = {Tensor.copy_, Tensor.to, Tensor.__getitem__, Tensor.__setitem__}
_ANSWERS: Mapping[Any, object] = {
    Tensor.device.__get__: DEVICE,
    Tensor.is_cuda.__get__: True,
    Tensor.is_cpu.__get__: False,
    Tensor.get_device: 0,
}
_IN_LOW_PRECISION = {
    functional.linear,
    functional.scaled_dot_product_attention,
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.matmul,
    torch.bmm,
    Tensor.matmul,
    Tensor.__matmul__,
}
_IN_FULL_PRECISION = {functional.layer_norm, functional.softmax, torch.softmax, Tensor.softmax}
_CUDA: Mapping[str, Callable[..., object]] = {
    "is_available": lambda: True,
    "current_device": lambda: 0,
    "get_device_name": lambda *_: NAME,
    "get_device_properties": lambda *_: SimpleNamespace(uuid=UUID),
    "mem_get_info": lambda *_: (_FREE_BYTES, _FREE_BYTES),
    "memory_reserved": lambda *_: 0,
    "memory_allocated": lambda *_: 0,
    "max_memory_allocated": lambda *_: 1,
    "reset_peak_memory_stats": lambda *_: None,
    "synchronize": lambda *_: None,
    "empty_cache": lambda: None,
    "ipc_collect": lambda: None,
}


class OnDevice(Tensor):
    """A tensor that claims to be on the device."""


class _Placement(TorchFunctionMode):
    """Tracks which tensors are on the device, and answers questions about it."""

    def __init__(self) -> None:
        super().__init__()
        self.autocasts: list[torch.dtype | None] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        ours = [x for x in tensors if isinstance(x, OnDevice)]
        if ours and func in _ANSWERS:
            return _ANSWERS[func]
        if ours and func in {Tensor.numpy, Tensor.__array__}:
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu()")
        if func is torch._has_compatible_shallow_copy_type and len(ours) == 1:
            return False
        if ours and func not in _MAY_MIX:
            _require_one_place(func, tensors)
        wanted = _wanted_place(func, args, kwargs)
        is_on_device = bool(ours) if wanted is None else wanted
        func, args, kwargs = _on_host(func, args, kwargs)
        if ours:
            args, kwargs = self._cast(func, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass(), _any_kernel(func):
            made = func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            return pytree.tree_map(lambda x: _placed(x, is_on_device=is_on_device), made)

    def _cast(self, func, args, kwargs):
        """Casts like autocast for CUDA."""
        wanted = self.autocasts[-1] if self.autocasts else None
        if wanted is None or func not in _IN_LOW_PRECISION | _IN_FULL_PRECISION:
            return args, kwargs
        dtype = wanted if func in _IN_LOW_PRECISION else torch.float32
        with torch._C.DisableTorchFunction():
            return pytree.tree_map(
                lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x,
                (args, kwargs),
            )


def _require_one_place(func: object, tensors: list[Tensor]) -> None:
    """Scalars may come from any device."""
    if all(isinstance(x, OnDevice) or x.dim() == 0 for x in tensors):
        return
    where = [("device" if isinstance(x, OnDevice) else "host", tuple(x.shape)) for x in tensors]
    raise RuntimeError(f"tensors of {func} are on different devices: {where}")


def _wanted_place(func: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool | None:
    """Whether the result is on the device; None if that follows from the inputs."""
    if func in {Tensor.cuda, Tensor.cpu}:
        return func is Tensor.cuda
    if kwargs.get("device") is not None:
        return _is_cuda(kwargs["device"])
    if func is Tensor.to:
        for wanted in args[1:]:
            if isinstance(wanted, torch.device | str):
                return _is_cuda(wanted)
            if isinstance(wanted, Tensor):
                return isinstance(wanted, OnDevice)
    return isinstance(args[0], OnDevice) if func in _MAY_MIX else None


def _on_host(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The same call without the device argument."""
    if func in {Tensor.cuda, Tensor.cpu}:
        return Tensor.to, (args[0], _HOST), {}
    if func is Tensor.to:
        args = tuple(_HOST if isinstance(x, torch.device | str) else x for x in args)
    if kwargs.get("device") is not None:
        kwargs = kwargs | {"device": _HOST}
    return func, args, kwargs


def _is_cuda(device: torch.device | str | int) -> bool:
    return torch.device(device).type == "cuda"


@contextlib.contextmanager
def _any_kernel(func: object) -> Generator[None]:
    """The chosen attention kernel runs only on a GPU."""
    if func is not functional.scaled_dot_product_attention:
        yield
        return
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        yield


def _placed(x: object, *, is_on_device: bool) -> object:
    if not isinstance(x, Tensor) or isinstance(x, OnDevice) == is_on_device:
        return x
    # A tensor that leaves the device is always a copy.
    return x.as_subclass(OnDevice) if is_on_device else x.detach().clone().as_subclass(Tensor)


@contextlib.contextmanager
def pretended_cuda() -> Generator[None]:
    """While it runs, `torch.cuda` has a device."""
    placement = _Placement()
    generator = torch.Generator

    class HostGenerator(generator):
        def __new__(cls, *_: object, **__: object) -> torch.Generator:
            return generator()

    class Autocast(contextlib.ContextDecorator):
        def __init__(
            self, *_: object, dtype: torch.dtype = torch.float16, enabled: bool = True
        ) -> None:
            self._dtype = dtype if enabled else None

        def __enter__(self) -> None:
            placement.autocasts.append(self._dtype)

        def __exit__(self, *_: object) -> None:
            placement.autocasts.pop()

    with contextlib.ExitStack() as stack:
        for name, answer in _CUDA.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        stack.enter_context(mock.patch.object(torch, "Generator", HostGenerator))
        for owner in (torch, torch.amp, torch.cuda.amp):
            stack.enter_context(mock.patch.object(owner, "autocast", Autocast))
        stack.enter_context(torch.no_grad())
        stack.enter_context(placement)
        yield
