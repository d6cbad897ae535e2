"""Timing: with warm-up and repeats, on the device's own clock, within a time budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from gpu_bench.ceilings import Ceilings
from gpu_bench.scale import Scale
from gpu_bench.table import Table
from inference_sidecar.engines.infinitetalk.capacity.device import Device as EngineDevice

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
    """Seconds of every repeat, and the peak of allocated memory during them; 0 on a CPU."""

    seconds: tuple[float, ...]
    peak_bytes: int


class Device(EngineDevice):
    """The device under test, with its clock."""

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
    device.release_unused()
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


@dataclass
class Bench:
    """What every section measures with, and the table that its figures go to."""

    device: Device
    scale: Scale
    table: Table
    ceilings: Ceilings

    def time_or_skip(
        self,
        case: str,
        what: str,
        budget: Budget,
        make: Callable[[], Callable[[], object]],
        refusals: tuple[type[Exception], ...] = (),
    ) -> Timed | None:
        """Times what `make` returns; if that is impossible, adds a row with the reason to the
        table.

        refusals: errors that count as such a reason, beside too little time or memory.
        """
        try:
            return measure(self.device, budget, make())
        except OutOfTime:
            reason = "no time left"
        except torch.OutOfMemoryError:
            reason = "out of memory"
        except refusals as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        self.table.skip(case, what, reason)
        return None
