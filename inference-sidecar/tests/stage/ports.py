"""Where servers of the stage listen."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """Not one of those that the kernel gives to outgoing connections, which could take it between
    two lives of a server; nor one that the system itself would choose."""
    while True:
        port = random.randrange(8_200, 10_240)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
