"""Stages of a start or a render, timed for whoever watches."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Stages(Protocol):
    """Times what an engine does, as far as somebody wants to know."""

    def stage(self, name: str, **counts: int) -> AbstractContextManager[None]:
        """Times its `with` block, which costs two readings of the clock and two short lines.

        A device works asynchronously, so let a block end where the host waits for it anyway. No
        `yield` belongs inside: the time until the generator is resumed is somebody else's.

        counts: what it was about, such as `chunk=3, frames=25, steps=4`; others are ignored.
        """
        ...


class LoadStages(Stages, Protocol):
    """`Stages` of a start, which is also told how far it is."""

    def loading(self, part: str, fraction: float) -> None:
        """How much of `part` is read, 0 to 1. Call it as often as you like."""
        ...


class Untimed:
    """`LoadStages` that nobody watches."""

    def stage(self, name: str, **counts: int) -> AbstractContextManager[None]:  # noqa: ARG002
        """Times nothing."""
        return nullcontext()

    def loading(self, part: str, fraction: float) -> None:
        """Tells nobody."""
