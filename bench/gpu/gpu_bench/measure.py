"""Timing: with warm-up and repeats, on the device's own clock, within a time budget."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from gpu_bench.table import Table

REPEATS: Final = 5
LONG_SECONDS: Final = 4.0
"""Longer runs get one warm-up and three repeats, so that everything fits into ten minutes."""
LONG_REPEATS: Final = 3


class OutOfTime(Exception):
    """Not enough time is left for a sound measurement."""


@dataclass(frozen=True)
class Budget:
    """A time limit. ends_at: on the clock of `time.monotonic`."""

    ends_at: float

    @classmethod
    def of(cls, seconds: float) -> Budget:
        """A budget of this many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left; negative when exceeded."""
        return self.ends_at - time.monotonic()

    def share(self, seconds: float) -> Budget:
        """A budget for one section that never ends after this one."""
        return Budget(min(self.ends_at, time.monotonic() + seconds))


@dataclass(frozen=True)
class Timed:
    """Seconds of every repeat, and the peak of allocated memory during them."""

    seconds: tuple[float, ...]
    peak_bytes: int | None


class Device:
    """The device under test, with its clock."""

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        self.is_cuda = self.torch.type == "cuda"

    def synchronise(self) -> None:
        """Waits until the device has finished all queued work."""
        if self.is_cuda:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Frees unreferenced memory."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()

    def peak_bytes(self) -> int | None:
        """Peak of allocated memory since `reset_peak`; None on a CPU."""
        return torch.cuda.max_memory_allocated() if self.is_cuda else None

    def reset_peak(self) -> None:
        """Starts a new measurement of the peak."""
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()

    def time(self, work: Callable[[], object]) -> float:
        """Seconds of one run; on CUDA, between two events."""
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
    """Warms up, then times. Raises `OutOfTime` if that does not fit into the budget."""
    device.free()
    device.reset_peak()
    device.synchronise()
    if budget.left <= 0:
        raise OutOfTime
    # The first run includes compilation and memory allocation, and may be long for that alone.
    warm = device.time(work)
    if warm <= 2 * LONG_SECONDS:
        warm = device.time(work)
    repeats = LONG_REPEATS if warm > LONG_SECONDS else REPEATS
    if warm > LONG_SECONDS:
        # A figure from fewer repeats, with their number beside it, is better than none.
        repeats = min(repeats, int(budget.left / warm))
    if repeats < 1 or warm * repeats > budget.left:
        raise OutOfTime
    seconds = tuple(device.time(work) for _ in range(repeats))
    return Timed(seconds, device.peak_bytes())


def measure_or_skip(
    device: Device,
    budget: Budget,
    make: Callable[[], Callable[[], object]],
    row: tuple[Table, str, str],
    refusals: tuple[type[Exception], ...] = (),
) -> Timed | None:
    """Times what `make` returns; if that is impossible, adds a row with the reason to the table.

    row: table, case and description. refusals: errors that count as such a reason, beside too
    little time or memory.
    """
    table, case, what = row
    try:
        return measure(device, budget, make())
    except OutOfTime:
        reason = "no time left"
    except torch.OutOfMemoryError:
        reason = "out of memory"
    except refusals as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    table.skip(case, what, reason)
    return None
