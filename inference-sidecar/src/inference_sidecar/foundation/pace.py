"""How long a second of video takes on this machine, learned from its renders."""

from __future__ import annotations

from typing import Final

_FULL_WEIGHT_SECONDS: Final = 5.0
"""A video of this length counts fully; of a shorter one, most of the time is start-up."""
_WEIGHT: Final = 0.6
"""How much one render counts against all before it: a machine may be busy for a while."""
LEAST_PACE: Final = 0.001
"""A pace is never zero, because every estimate is multiplied by it."""


class Pace:
    """Starts with a calibration, then follows the renders."""

    def __init__(self, seconds_per_video_second: float) -> None:
        self.seconds_per_video_second = max(LEAST_PACE, seconds_per_video_second)

    def observe(self, video_seconds: float, took_seconds: float) -> None:
        """Takes one render into account."""
        if video_seconds <= 0:
            return
        weight = _WEIGHT * min(1.0, video_seconds / _FULL_WEIGHT_SECONDS)
        seen = max(LEAST_PACE, took_seconds / video_seconds)
        self.seconds_per_video_second += weight * (seen - self.seconds_per_video_second)
