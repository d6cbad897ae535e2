"""A child process that dies with its parent, on Linux."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_EXIT_PARENT_GONE: Final = 111

# Loaded before any fork: between fork and exec nothing may be loaded.
_libc = ctypes.CDLL(None)


def die_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` with which the kernel kills the child when we die; None except on Linux."""
    if sys.platform != "linux":
        return None
    parent = os.getpid()

    def ask_kernel() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # We may have died before this call, and then the signal would never come.
        if os.getppid() != parent:
            os._exit(_EXIT_PARENT_GONE)

    return ask_kernel
