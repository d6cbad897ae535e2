"""How one worker has spent its time since its start."""

from __future__ import annotations

import time
from typing import Literal

from inference_sidecar.foundation.contracts import WorkerTime

Activity = Literal["loading", "idle", "rendering"]


class TimeSpent:
    """Adds up the seconds of each activity, by the monotonic clock. It begins with loading."""

    def __init__(self) -> None:
        self._seconds: dict[Activity, float] = {"loading": 0.0, "idle": 0.0, "rendering": 0.0}
        self._activity: Activity = "loading"
        self._since = time.monotonic()

    def begin(self, activity: Activity) -> None:
        """Ends what it did before; the same again is fine."""
        now = time.monotonic()
        self._seconds[self._activity] += now - self._since
        self._activity, self._since = activity, now

    def so_far(self) -> WorkerTime:
        """The sums, to the millisecond."""
        self.begin(self._activity)
        return WorkerTime(
            loading_seconds=round(self._seconds["loading"], 3),
            idle_seconds=round(self._seconds["idle"], 3),
            rendering_seconds=round(self._seconds["rendering"], 3),
        )
