"""What upstream's code needs to start, and to run on a CPU. Nothing of it is edited or copied.

Written for commit 0107cd9 of MeiGen-AI/InfiniteTalk. Each remedy stands for a line of it that fails
on current versions of its dependencies, or without a GPU:

==========================================  =====================================================
`from inspect import ArgSpec`               gone since Python 3.11; imported, never used
xfuser, xformers, decord, torchvision, …    absent; a few functions on the path, the rest unused
`torch.cuda.current_device()`               as a default argument: fails at import without CUDA
`torch.cuda.ipc_collect()`, `synchronize()` raise without CUDA
`torch.compile` at import                   would want a compiler for a map that one person lacks
`flash_attention`                           asserts CUDA; replaced by torch's own attention
`torch.device("cuda:0")` in the pipeline    hard-wired; on a CPU, that module sees another `torch`
`ffprobe`                                   asked for the codec of every image; absent is no AV1
==========================================  =====================================================
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import types
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.nn import functional

_MAYBE_ABSENT: Final = {
    "xfuser": ("core", "core.distributed", "core.long_ctx_attention"),
    "xformers": ("ops",),
    "decord": (),
    "torchvision": ("transforms", "transforms.functional", "utils", "io"),
    "cv2": (),
    "imageio": (),
    "soundfile": (),
    "librosa": (),
    "loguru": (),
}
"""Imported at the top of a module somewhere. What is installed is used as it is."""


class UpstreamUnusable(Exception):
    """The folder is not upstream's code, or something it needs is not installed."""


def import_upstream(root: Path, device: torch.device) -> types.ModuleType:
    """Imports `wan.multitalk` from upstream's folder, ready to run on `device`."""
    if not (root / "wan" / "multitalk.py").is_file():
        raise UpstreamUnusable(f"{root} has no wan/multitalk.py: is the submodule checked out?")
    _prepare(root, device)
    try:
        pipeline = importlib.import_module("wan.multitalk")
    except ImportError as cause:
        raise UpstreamUnusable(
            f"Upstream needs {cause.name or cause}: npm run setup -- --with reference"
        ) from cause
    _replace_attention()
    cast("Any", pipeline).get_video_codec = _no_codec
    cast("Any", pipeline).torch = torch if device.type == "cuda" else _CpuTorch(device)
    return pipeline


def _prepare(root: Path, device: torch.device) -> None:
    """All that must be done before the first import."""
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    # These two look for torchvision by themselves and must not find what stands in for it below.
    importlib.import_module("diffusers.utils")
    cast("Any", importlib.import_module("transformers.utils")).is_torchvision_available()
    if not hasattr(inspect, "ArgSpec"):
        cast("Any", inspect).ArgSpec = inspect.FullArgSpec
    for package, children in _MAYBE_ABSENT.items():
        if package not in sys.modules and find_spec(package) is None:
            _stand_in(package, children)
    if device.type != "cuda":
        cuda = cast("Any", torch.cuda)
        cuda.current_device = lambda: 0
        cuda.ipc_collect = _nothing
        cuda.synchronize = _nothing
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


class _AnyAttribute(type):
    """A class with any class attribute that it is asked for."""

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Anything(metaclass=_AnyAttribute):
    """Whatever an absent library would give: may be made, named and subclassed, not used."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


class _StandIn(types.ModuleType):
    """An absent module. A name that it was not given is there and good for nothing."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


def _stand_in(package: str, children: tuple[str, ...]) -> None:
    for name in (package, *(f"{package}.{child}" for child in children)):
        module = _StandIn(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__path__ = []
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    given = {
        "torchvision": {
            "transforms.Compose": _Compose,
            "transforms.Normalize": _Normalize,
            "transforms.functional.center_crop": _center_crop,
        },
        "xformers": {"ops.memory_efficient_attention": _attention},
    }
    for path, what in given.get(package, {}).items():
        module, _, name = path.rpartition(".")
        setattr(sys.modules[f"{package}.{module}"], name, what)


class _Compose:
    """Holds transforms; upstream calls only the last of them."""

    def __init__(self, transforms: list[object]) -> None:
        self.transforms = transforms


class _Normalize:
    """Channels to zero mean and unit deviation."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        self._mean = torch.tensor(mean).view(-1, 1, 1)
        self._std = torch.tensor(std).view(-1, 1, 1)

    def __call__(self, image: Tensor) -> Tensor:
        return (image - self._mean.to(image)) / self._std.to(image)


def _center_crop(image: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = (
        round((have - want) / 2.0) for have, want in zip(image.shape[-2:], size, strict=True)
    )
    return image[..., top : top + size[0], left : left + size[1]]


def _attention(query: Tensor, key: Tensor, value: Tensor, **_: object) -> Tensor:
    """Full attention over `[batch, tokens, heads, width]`. One GPU never pads, so no lengths."""
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous()


def full_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_lens: Tensor | None = None,
    window_size: tuple[int, int] = (-1, -1),
    **_: object,
) -> Tensor:
    """In the place of `flash_attention`, under whose name two modules have imported it."""
    if window_size != (-1, -1) or (k_lens is not None and int(k_lens.min()) != k.shape[1]):
        raise NotImplementedError("Upstream asked for masked attention, which it never did.")
    # Rotated queries and keys come in float32 whatever the model computes in; upstream rounds them.
    return _attention(q.to(v.dtype), k.to(v.dtype), v).to(q.dtype)


def _replace_attention() -> None:
    for name in ("wan.modules.multitalk_model", "wan.modules.clip"):
        cast("Any", sys.modules[name]).flash_attention = full_attention


class _CpuTorch:
    """`torch`, but its CUDA devices are the CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def device(self, *arguments: object) -> torch.device:
        wanted = cast("Any", torch.device)(*arguments)
        return self._device if wanted.type == "cuda" else wanted

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)


def _nothing(*_: object) -> None:
    pass


def _no_codec(_path: str) -> str:
    return ""
