"""Times the stages of an order, or of the engine's start, and tells them to the parent."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from inference_sidecar.foundation.contracts import SPAN_LIMIT_CHUNKS_PER_RENDER, Loading
from inference_sidecar.foundation.errors import SidecarError
from inference_sidecar.rendering.render_protocol import (
    Lines,
    LoadingLine,
    StageBegunLine,
    StageLine,
)


class ToldStages:
    """`LoadStages` of the render process. It knows nothing of spans: the parent makes them.

    order: None while the engine loads. Each stage is told twice, so that the parent knows which one
    a process died in; the same one at most 200 times. are_wanted: whether they are told at all.
    """

    def __init__(self, lines: Lines, order: int | None = None, *, are_wanted: bool = True) -> None:
        self._lines = lines
        self._order = order
        self._are_wanted = are_wanted
        self._came_at_ns, self._came_at = time.time_ns(), time.monotonic_ns()
        self._told: Counter[str] = Counter()
        self._loading: Loading | None = None

    def stage(self, name: str, **counts: int) -> AbstractContextManager[None]:
        """See `Stages.stage`."""
        if not self._are_wanted:
            return nullcontext()
        self._told[name] += 1
        if self._told[name] > SPAN_LIMIT_CHUNKS_PER_RENDER:
            return nullcontext()
        return _Stage(self, self._lines, self._order, name, counts)

    def loading(self, part: str, fraction: float) -> None:
        """See `LoadStages.loading`. Each whole percent is told once."""
        loading = Loading(part=part, percent=int(100 * max(0.0, min(1.0, fraction))))
        if loading != self._loading:
            self._loading = loading
            self._lines.send(LoadingLine(loading=loading))

    def now_ns(self) -> int:
        """Nanoseconds since 1970. A clock that is set meanwhile changes nothing."""
        return self._came_at_ns + time.monotonic_ns() - self._came_at


class _Stage(AbstractContextManager[None]):
    """A class rather than a generator: it keeps no frame alive, and with it no device memory."""

    def __init__(
        self, clock: ToldStages, lines: Lines, order: int | None, name: str, counts: dict[str, int]
    ) -> None:
        self._clock, self._lines = clock, lines
        self._order, self._name, self._counts = order, name, counts
        self._start_ns = 0

    def __enter__(self) -> None:
        self._start_ns = self._clock.now_ns()
        self._lines.send(
            StageBegunLine(
                order=self._order,
                name=self._name,
                start_ns=self._start_ns,
                attributes=self._counts,
            )
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failed = error.code if isinstance(error, SidecarError) else kind and kind.__name__
        self._lines.send(
            StageLine(
                order=self._order,
                name=self._name,
                start_ns=self._start_ns,
                end_ns=self._clock.now_ns(),
                attributes=self._counts,
                error=failed,
            )
        )
