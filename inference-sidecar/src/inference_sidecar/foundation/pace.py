"""How long a second of video takes on this machine, as far as renders have shown."""

from __future__ import annotations

from typing import Final

_TELLING_SECONDS: Final = 5.0
"""A video this long says all that one video can say; a shorter one is mostly its beginning."""
_TRUST: Final = 0.6
"""What a telling render counts against all before it: machines have busy times."""
_LEAST: Final = 0.001
"""A pace is never nothing: estimates are products of it."""


class Pace:
    """Starts with a calibration and follows the renders."""

    def __init__(self, seconds_per_video_second: float) -> None:
        self.seconds_per_video_second = max(_LEAST, seconds_per_video_second)

    def observe(self, video_seconds: float, took_seconds: float) -> None:
        """A render of so long a video took so long."""
        if video_seconds <= 0:
            return
        weight = _TRUST * min(1.0, video_seconds / _TELLING_SECONDS)
        seen = max(_LEAST, took_seconds / video_seconds)
        self.seconds_per_video_second += weight * (seen - self.seconds_per_video_second)
