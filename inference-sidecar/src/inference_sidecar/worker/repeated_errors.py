"""Which errors of a connection that is tried four times a second are worth a line in the log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_LOG_AGAIN_SECONDS: Final = 10.0
_LOG_AGAIN_MAX_SECONDS: Final = 600.0
_VARYING: Final = re.compile(r'"[^"]*"|\d+')
"""What differs between two errors of one kind: names in quotes, and numbers."""

Kind = tuple[str, object]


@dataclass
class _Repetition:
    """again_at: when the next one is told. untold: how many came since the last one that was."""

    again_at: float
    gap_seconds: float = _LOG_AGAIN_SECONDS
    untold: int = 0


class RepeatedErrors:
    """The first of each kind is told, then one after 10 s, 20 s and so on up to 10 minutes."""

    def __init__(self) -> None:
        self._seen: dict[Kind, _Repetition] = {}

    def note(self, error: Exception, now: float) -> int | None:
        """How many of its kind a line tells of, this one included; None if it is not to be told.

        now: by the monotonic clock.
        """
        kind = kind_of(error)
        seen = self._seen.get(kind)
        if seen is None:
            self._seen[kind] = _Repetition(now + _LOG_AGAIN_SECONDS)
            return 1
        seen.untold += 1
        if now < seen.again_at:
            return None
        seen.gap_seconds = min(2 * seen.gap_seconds, _LOG_AGAIN_MAX_SECONDS)
        seen.again_at, count, seen.untold = now + seen.gap_seconds, seen.untold, 0
        return count

    def forget(self) -> None:
        """The connection is there: what comes from now on is news."""
        self._seen.clear()


def kind_of(error: Exception) -> Kind:
    """The class, and the code if there is one: an answer of a proxy has other text each time.

    Without a code the text is all there is, but for what varies in it.
    """
    code = getattr(error, "status", None) or getattr(error, "errno", None)
    return type(error).__qualname__, code or _VARYING.sub("", str(error))
