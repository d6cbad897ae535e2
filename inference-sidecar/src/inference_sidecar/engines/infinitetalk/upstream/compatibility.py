"""Patches that let upstream's code start, and run on a CPU, without editing or copying it.

Written for commit 0107cd9 of MeiGen-AI/InfiniteTalk. Each patch works around code that fails with
current versions of its dependencies, or without a GPU:

==========================================  =====================================================
`from inspect import ArgSpec`               removed in Python 3.11; imported, never used
xfuser, xformers, decord, torchvision, …    may be missing; few of their functions are called
`torch.cuda.current_device()`               as a default argument: fails at import without CUDA
`torch.cuda.ipc_collect()`, `synchronize()` raise without CUDA
`torch.compile` at import                   needs a compiler, for a map that one person lacks
`flash_attention`                           asserts CUDA; replaced by torch's attention
`torch.device("cuda:0")` in the pipeline    hard-coded; on a CPU, the module gets another `torch`
`ffprobe`                                   asked for the codec of every image; skipped
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

_MAYBE_MISSING: Final = {
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
"""Packages that upstream imports, with submodules. Installed ones are used unchanged."""


class UpstreamUnusable(Exception):
    """The folder is not upstream's checkout, or a package it needs is not installed."""


def import_upstream(root: Path, device: torch.device) -> types.ModuleType:
    """Imports `wan.multitalk` from upstream's checkout, ready to run on `device`. Raises
    `UpstreamUnusable`."""
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
    """Everything that must happen before the first import."""
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    # diffusers and transformers look for torchvision and must not find the placeholder below.
    importlib.import_module("diffusers.utils")
    cast("Any", importlib.import_module("transformers.utils")).is_torchvision_available()
    if not hasattr(inspect, "ArgSpec"):
        cast("Any", inspect).ArgSpec = inspect.FullArgSpec
    for package, children in _MAYBE_MISSING.items():
        if package not in sys.modules and find_spec(package) is None:
            _add_placeholder(package, children)
    if device.type != "cuda":
        cuda = cast("Any", torch.cuda)
        cuda.current_device = lambda: 0
        cuda.ipc_collect = _nothing
        cuda.synchronize = _nothing
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


class _AnyAttribute(type):
    """Gives a class every attribute that is looked up on it."""

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Anything(metaclass=_AnyAttribute):
    """Stands for anything in a missing package: can be created, annotated with and subclassed."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


class _PlaceholderModule(types.ModuleType):
    """A missing module. Every name exists in it, and is a placeholder unless it was set."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything


def _add_placeholder(package: str, children: tuple[str, ...]) -> None:
    for name in (package, *(f"{package}.{child}" for child in children)):
        module = _PlaceholderModule(name)
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
    """Holds transforms, of which upstream calls only the last."""

    def __init__(self, transforms: list[object]) -> None:
        self.transforms = transforms


class _Normalize:
    """Normalises channels with a fixed mean and deviation."""

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
    """Full attention over `[batch, tokens, heads, width]`, without lengths: one GPU never pads."""
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
    """Replaces `flash_attention` in the two modules that import it by name."""
    if window_size != (-1, -1) or (k_lens is not None and int(k_lens.min()) != k.shape[1]):
        raise NotImplementedError("Upstream asked for masked attention, which is not supported.")
    # Rotated queries and keys are float32 whatever the model's dtype; upstream rounds them too.
    return _attention(q.to(v.dtype), k.to(v.dtype), v).to(q.dtype)


def _replace_attention() -> None:
    for name in ("wan.modules.multitalk_model", "wan.modules.clip"):
        cast("Any", sys.modules[name]).flash_attention = full_attention


class _CpuTorch:
    """`torch` with the CPU in place of CUDA devices."""

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
