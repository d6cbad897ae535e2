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

# Looked up before any fork: between fork and exec nothing may be loaded.
_libc = ctypes.CDLL(None)


def die_with_parent() -> Callable[[], None] | None:
    """For the child between fork and exec: asks the kernel to kill it when we die (Linux only)."""
    if sys.platform != "linux":
        return None
    parent = os.getpid()

    def ask_kernel() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # We may have died before the call above; then nobody would ever send the signal.
        if os.getppid() != parent:
            os._exit(_EXIT_PARENT_GONE)

    return ask_kernel
