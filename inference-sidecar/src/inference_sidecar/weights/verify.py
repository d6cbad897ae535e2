"""Compares everything on the volume with its pins, and prints a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from inference_sidecar.weights.hashes import sha256_of
from inference_sidecar.weights.manifest import WeightFile
from inference_sidecar.weights.pins import Pin, Pins, ResidentPin
from inference_sidecar.weights.volume import explained, require_volume


class State(StrEnum):
    """The state of a file."""

    OK = "ok"
    MISSING = "missing"
    INCOMPLETE = "incomplete"
    WRONG_SIZE = "wrong size"
    WRONG_HASH = "wrong sha256"
    UNPINNED = "not pinned"


@dataclass(frozen=True)
class Finding:
    """One line of the table. size: of the file in bytes; None if it is missing."""

    name: str
    state: State
    size: int | None


def verify(
    folder: Path,
    files: Sequence[WeightFile],
    *,
    reads_content: bool = True,
) -> list[Finding]:
    """Checks every file, including those that `prepare` made. Changes nothing.

    reads_content: verifies hashes, not only sizes.
    """
    folder = require_volume(folder)
    pins = Pins(folder)
    findings: list[Finding] = []
    with explained(folder):
        for file in files:
            pin = pins.find(file)
            path = folder / file.local
            findings.append(_look(path, file.local, pin, reads_content=reads_content))
        for name, made in pins.resident.items():
            findings.append(_look(folder / name, name, made, reads_content=reads_content))
    return findings


def table(findings: Iterable[Finding]) -> str:
    """The findings in columns, with a summary in the last line."""
    rows = list(findings)
    width = max((len(row.name) for row in rows), default=0)
    lines = [f"{row.name:<{width}}  {_gigabytes(row.size):>12}  {row.state.value}" for row in rows]
    wrong = sum(row.state is not State.OK for row in rows)
    total = _gigabytes(sum(row.size or 0 for row in rows))
    summary = "all as pinned" if wrong == 0 else f"{wrong} not as pinned"
    return "\n".join([*lines, f"{len(rows)} files, {total.strip()}: {summary}"])


def _look(path: Path, name: str, pin: Pin | ResidentPin | None, *, reads_content: bool) -> Finding:
    if not path.is_file():
        has_part = path.with_name(f"{path.name}.part").is_file()
        return Finding(name, State.INCOMPLETE if has_part else State.MISSING, None)
    size = path.stat().st_size
    if pin is None:
        return Finding(name, State.UNPINNED, size)
    if size != pin.size:
        return Finding(name, State.WRONG_SIZE, size)
    if pin.sha256 is None:
        return Finding(name, State.UNPINNED, size)
    if reads_content and sha256_of(path) != pin.sha256:
        return Finding(name, State.WRONG_HASH, size)
    return Finding(name, State.OK, size)


def _gigabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e9:.3f} GB"
