"""Where servers of the stage listen."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """Not one of those that the kernel gives to outgoing connections, which could take it between
    two lives of a server."""
    while True:
        port = random.randrange(10_240, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
