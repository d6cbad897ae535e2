"""What parent and render process say to each other: JSON lines over a socket pair."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from inference_sidecar.engine import RenderRequest, Size

MAX_LINE_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class RenderResult:
    """One finished render: the encoded file and the facts that go on the job's result."""

    path: str
    width: int
    height: int
    frames: int
    bytes: int
    generation: tuple[int, int]
    degraded: bool
    started_at_ms: int
    ended_at_ms: int


def request_to_json(request: RenderRequest, output: Path) -> dict[str, Any]:
    """A render order as the render process reads it."""
    fields = asdict(request)
    return {
        **fields,
        "image": str(request.image),
        "audio": str(request.audio),
        "output": str(output),
    }


def request_from_json(fields: dict[str, Any]) -> tuple[RenderRequest, Path]:
    """The other way round."""
    return (
        RenderRequest(
            job_id=fields["job_id"],
            image=Path(fields["image"]),
            audio=Path(fields["audio"]),
            prompt=fields["prompt"],
            seed=fields["seed"],
            delivery=Size(*fields["delivery"]),
            frames=fields["frames"],
            options=fields["options"],
        ),
        Path(fields["output"]),
    )


class Lines:
    """One end of the pair, for blocking use in the render process."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._reader: IO[str] = self._socket.makefile("r", encoding="utf-8")

    def send(self, kind: str, **fields: object) -> None:
        """Says something to the parent."""
        self._socket.sendall(json.dumps({"kind": kind, **fields}).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """The next thing the parent says; None when it is gone."""
        line = self._reader.readline()
        return json.loads(line) if line else None
