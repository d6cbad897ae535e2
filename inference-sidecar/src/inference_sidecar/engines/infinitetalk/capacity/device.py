"""The device that renders: its name, its free memory, and how to release memory."""

from __future__ import annotations

import contextlib
import gc
import os
from pathlib import Path
from typing import Final, Literal

import torch

from inference_sidecar.foundation.errors import SidecarError


class DeviceMissing(SidecarError):
    """The configured device does not exist."""


class Device:
    """One device, as the engine and its memory plan see it.

    memory_limit_bytes: the most that this process may use of it, weights included; None means all
    that is free.
    """

    def __init__(
        self, wanted: Literal["auto", "cuda", "cpu"], memory_limit_bytes: int | None = None
    ) -> None:
        # Renders of different sizes fragment memory. CUDA reads this at its first use.
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
        has_cuda = torch.cuda.is_available()
        if wanted == "cuda" and not has_cuda:
            raise DeviceMissing(
                "There is no CUDA device: set INFINITETALK_DEVICE=auto, or give the worker a GPU."
            )
        self.is_cuda = has_cuda if wanted == "auto" else wanted == "cuda"
        self.torch = torch.device("cuda", torch.cuda.current_device()) if self.is_cuda else _CPU
        self._limit = memory_limit_bytes
        if self.is_cuda and memory_limit_bytes is not None:
            share = min(1.0, memory_limit_bytes / torch.cuda.mem_get_info()[1])
            torch.cuda.set_per_process_memory_fraction(share)

    @property
    def name(self) -> str:
        """As the worker reports it."""
        return torch.cuda.get_device_name(self.torch) if self.is_cuda else "cpu"

    @property
    def uuid(self) -> str | None:
        """By which the driver knows it; torch and the driver count devices differently."""
        if not self.is_cuda:
            return None
        # Older builds of torch do not tell it.
        uuid = getattr(torch.cuda.get_device_properties(self.torch), "uuid", None)
        return None if uuid is None else str(uuid)

    def free_bytes(self) -> int:
        """Bytes that can still be allocated; on a CPU, the machine's available memory."""
        if not self.is_cuda:
            free = _host_bytes()
            return free if self._limit is None else min(free, self._limit)
        reusable = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        free = torch.cuda.mem_get_info()[0] + reusable
        if self._limit is None:
            return free
        return min(free, self._limit - torch.cuda.memory_allocated())

    def peak_bytes(self) -> int:
        """The most that was allocated since `reset_peak`; 0 on a CPU, where it is not measured."""
        return torch.cuda.max_memory_allocated() if self.is_cuda else 0

    def reset_peak(self) -> None:
        """Starts a new measurement of the peak."""
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()

    def synchronise(self) -> None:
        """Waits until the device has finished all queued work."""
        if self.is_cuda:
            torch.cuda.synchronize()

    def release_unused(self) -> None:
        """Frees unreferenced memory. Not for use between forwards: it waits for the device."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()


_CPU: Final = torch.device("cpu")


def _host_bytes() -> int:
    """Available memory, counting what the page cache can give up."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
