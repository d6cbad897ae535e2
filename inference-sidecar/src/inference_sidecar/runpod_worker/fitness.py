"""Whether this machine can work at all, asked before the first doorbell.

A check that raises ends the container with status 1, and RunPod starts another one elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from inference_sidecar.foundation.only_match import only_match

_NEEDS_GPU: Final = "infinitetalk"
_PORTS: Final = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}
_BROKER_SECONDS: Final = 10.0
_DRIVER_SECONDS: Final = 30.0
_HEADER_MAX_BYTES: Final = 100 << 20


class NotFit(Exception):
    """This machine cannot work."""


def check_weights() -> None:
    """The resident files are there and complete, as far as their headers tell. Reads no tensor."""
    if os.environ.get("ENGINE", "preview") != _NEEDS_GPU:
        return
    try:
        storage = only_match(Path(os.environ.get("MODEL_STORAGE_PATH", "")))
    except ValueError as error:
        raise NotFit(f"MODEL_STORAGE_PATH: {error}") from error
    folder = storage / "resident"
    files = sorted(folder.glob("*.safetensors"))
    if not any(file.name.startswith("transformer-") for file in files):
        raise NotFit(f"{folder} has no transformer: is the volume or the cached model there?")
    for file in files:
        _check_header(file)


def _check_header(file: Path) -> None:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if 0 < length <= _HEADER_MAX_BYTES else b""
    if len(header) != length or not header.startswith(b"{"):
        raise NotFit(f"{file} is cut off, or no file of tensors")


async def check_driver() -> None:
    """The driver answers. A GPU that has fallen off the bus lets it hang."""
    if os.environ.get("ENGINE", "preview") != _NEEDS_GPU:
        return
    asking = await asyncio.create_subprocess_exec(
        "nvidia-smi", "--query-gpu=name", "--format=csv,noheader", stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_DRIVER_SECONDS):
            names, _ = await asking.communicate()
    except TimeoutError:
        asking.kill()
        raise NotFit(f"nvidia-smi does not answer within {_DRIVER_SECONDS:g} s") from None
    if asking.returncode != 0 or not names.strip():
        raise NotFit(f"nvidia-smi finds no GPU (status {asking.returncode})")


async def check_broker() -> None:
    """The broker's door is open from here."""
    address = urlsplit(os.environ.get("NATS_URL", ""))
    port = address.port or _PORTS.get(address.scheme)
    if not address.hostname or port is None:
        raise NotFit("NATS_URL names no broker")
    try:
        async with asyncio.timeout(_BROKER_SECONDS):
            _, writer = await asyncio.open_connection(address.hostname, port)
    except (OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise NotFit(f"the broker at {address.hostname}:{port} is not reached: {reason}") from error
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
