"""Ports for the servers of the tests."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """A free port below those that the kernel gives to outgoing connections, which could otherwise
    take it while a server restarts."""
    while True:
        port = random.randrange(8_200, 10_240)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
