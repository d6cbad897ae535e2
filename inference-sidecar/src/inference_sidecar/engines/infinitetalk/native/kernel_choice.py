"""Chooses among kernels that compute the same by timing them on the device.

The usual one stays unless another is clearly faster: two machines of one type must choose alike,
because another kernel gives other last bits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import torch

_CLEARLY: Final = 0.05
_TIMED: Final = 3

_log = logging.getLogger("avatar")

Timer = Callable[[Callable[[], object]], float]
"""Seconds that a call takes."""
K = TypeVar("K", bound=str)


def timer_of(device: torch.device) -> Timer | None:
    """The fastest of three runs after a warm-up; None without CUDA, where there is no choice."""
    if device.type != "cuda" or torch.version.cuda is None:
        return None

    def seconds(run: Callable[[], object]) -> float:
        run()
        best = float("inf")
        for _ in range(_TIMED):
            torch.cuda.synchronize(device)
            began = time.perf_counter()
            run()
            torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - began)
        return best

    return seconds


def fastest(what: str, runs: Mapping[K, Callable[[], object]], usual: K, timer: Timer) -> K:
    """The kernel to use: `usual`, or another one that takes at least 5 % less.

    runs: one call of each. A kernel that cannot run is left out; `usual` must be able to. what: for
    the log, in a few words.
    """
    seconds = {usual: timer(runs[usual])}
    for kernel, run in runs.items():
        if kernel == usual:
            continue
        try:
            seconds[kernel] = timer(run)
        except RuntimeError:
            _log.info("%s: %s cannot run here.", what, kernel)
    best = min(seconds, key=lambda kernel: seconds[kernel])
    chosen = best if seconds[best] <= (1 - _CLEARLY) * seconds[usual] else usual
    table = ", ".join(f"{kernel} {taken * 1000:.2f} ms" for kernel, taken in seconds.items())
    _log.info("%s: %s; %s is used.", what, table, chosen)
    return chosen
