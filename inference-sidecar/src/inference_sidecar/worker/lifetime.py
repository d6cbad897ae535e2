"""How long a worker stays: decisions alone. Every `now` is a time of the monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inference_sidecar.foundation.contracts import (
    AUDIO_MAX_SECONDS,
    DEADLINE_FACTOR,
    DEADLINE_MIN_SECONDS,
)


@dataclass(frozen=True)
class Lifetime:
    """When a worker leaves by itself.

    began_at: when its process started. idle_seconds: how long it stays without a job in hand; 0 is
    for ever. lifetime_seconds: how long it stays at all, since began_at; 0 is for ever.
    reserve_seconds: what is kept of the lifetime behind the longest render, to upload and to leave.
    """

    began_at: float
    idle_seconds: float
    lifetime_seconds: float
    reserve_seconds: float

    def with_limits(self, idle_seconds: float, lifetime_seconds: float) -> Lifetime:
        """The same with the limits that somebody else gives, where there is none of its own."""
        return replace(
            self,
            idle_seconds=self.idle_seconds or idle_seconds,
            lifetime_seconds=self.lifetime_seconds or lifetime_seconds,
        )

    def left_seconds(self, now: float) -> float | None:
        """What is left of the lifetime, 0 at least; None if it has no end."""
        if self.lifetime_seconds == 0:
            return None
        return max(0.0, self.began_at + self.lifetime_seconds - now)

    def is_over(self, now: float) -> bool:
        """Whether nothing is left."""
        return self.left_seconds(now) == 0

    def fits(self, now: float, *, pace: float | None, in_hand_seconds: float) -> bool:
        """Whether the longest job could be taken now, and end and be uploaded in time.

        Which job an ask brings is not known before, so each must fit. pace: seconds per second of
        video; None before the engine is loaded. in_hand_seconds: how long what is in hand may still
        render.
        """
        left = self.left_seconds(now)
        needed = in_hand_seconds + longest_deadline_seconds(pace) + self.reserve_seconds
        return left is None or needed <= left

    def reason_to_leave(
        self, now: float, *, pace: float | None, idle_since: float | None, is_next_in_hand: bool
    ) -> str | None:
        """Why it should finish what is in hand, take nothing more, and end; None if it stays.

        idle_since: since when its engine is loaded and nothing is in hand; None if that is not so.
        is_next_in_hand: it holds a job that does not render yet, which was taken because it fits.
        """
        if not is_next_in_hand and not self.fits(now, pace=pace, in_hand_seconds=0):
            return f"no other job fits into its lifetime of {self.lifetime_seconds:g} s"
        if self.idle_seconds == 0 or idle_since is None or now - idle_since < self.idle_seconds:
            return None
        return f"no job for {self.idle_seconds:g} s"


def longest_deadline_seconds(pace: float | None) -> float:
    """The deadline of the longest voice that is accepted, at this pace."""
    return max(DEADLINE_MIN_SECONDS, DEADLINE_FACTOR * AUDIO_MAX_SECONDS * (pace or 0))
