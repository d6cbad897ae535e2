"""How something is timed: warmed up, repeated, on the device's own clock, within a budget."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

REPEATS: Final = 5
LONG_SECONDS: Final = 4.0
"""What takes longer is warm after one run and is timed three times, to fit in ten minutes."""
LONG_REPEATS: Final = 3


class OutOfTime(Exception):
    """There is no time left to measure this honestly."""


@dataclass(frozen=True)
class Budget:
    """Seconds that may still be used; on the clock of `time.monotonic`."""

    ends_at: float

    @classmethod
    def of(cls, seconds: float) -> Budget:
        """Begins now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left; negative when overdrawn."""
        return self.ends_at - time.monotonic()

    def share(self, seconds: float) -> Budget:
        """A part of this budget, for one section."""
        return Budget(min(self.ends_at, time.monotonic() + seconds))


@dataclass(frozen=True)
class Timed:
    """Times of every repetition, and the most memory in use meanwhile."""

    seconds: tuple[float, ...]
    peak_bytes: int | None


class Device:
    """Where things run, and its clock."""

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        self.is_cuda = self.torch.type == "cuda"

    def synchronise(self) -> None:
        """Waits until the device has done everything."""
        if self.is_cuda:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Gives memory back that nobody refers to any more."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()

    def peak_bytes(self) -> int | None:
        """Most memory in use since `reset_peak`."""
        return torch.cuda.max_memory_allocated() if self.is_cuda else None

    def reset_peak(self) -> None:
        """Starts watching anew."""
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()

    def time(self, work: Callable[[], object]) -> float:
        """Seconds of one run, on CUDA between two events."""
        if not self.is_cuda:
            began = time.perf_counter()
            work()
            return time.perf_counter() - began
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        work()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1000


def measure(device: Device, budget: Budget, work: Callable[[], object]) -> Timed:
    """Warms up, then times. Raises `OutOfTime` when that would not fit into the budget."""
    device.free()
    device.reset_peak()
    device.synchronise()
    if budget.left <= 0:
        raise OutOfTime
    # Compilation and the allocator's growth are in the first run, which may be long for them alone.
    warm = device.time(work)
    if warm <= 2 * LONG_SECONDS:
        warm = device.time(work)
    repeats = LONG_REPEATS if warm > LONG_SECONDS else REPEATS
    if warm > LONG_SECONDS:
        # One figure, with how often it was taken beside it, tells more than none.
        repeats = min(repeats, int(budget.left / warm))
    if repeats < 1 or warm * repeats > budget.left:
        raise OutOfTime
    seconds = tuple(device.time(work) for _ in range(repeats))
    return Timed(seconds, device.peak_bytes())
