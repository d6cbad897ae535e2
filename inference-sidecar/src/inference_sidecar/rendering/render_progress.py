"""One render as it is told to others: how far it is, when it ends, what it has used."""

from __future__ import annotations

import time

from inference_sidecar.foundation.contracts import Used


class RenderProgress:
    """Follows one render, which may outlive the process that began it. By the monotonic clock.

    fraction: how much of the video is done, 0 to 1. first_fraction: how much of that an earlier
    process did.
    """

    def __init__(self) -> None:
        self.fraction = 0.0
        self.first_fraction = 0.0
        self._engine: str | None = None
        self._device: str | None = None
        self._size: str | None = None
        self._is_cut = False
        self._frames_per_chunk: int | None = None
        self._seconds_per_video_second: float | None = None
        self._is_resumed = False
        self._used_seconds = 0.0
        self._ordered_at: float | None = None
        self._estimated_seconds = 0.0
        self._started_at: float | None = None
        self._advanced_after = 0.0
        self._is_over = False

    def order(
        self,
        engine: str,
        device: str,
        frames_per_chunk: int | None = None,
        seconds_per_video_second: float | None = None,
    ) -> None:
        """A process is given the order: from now on the device is this render's."""
        self._engine, self._device = engine, device
        self._frames_per_chunk = frames_per_chunk
        self._seconds_per_video_second = seconds_per_video_second
        self._ordered_at, self._started_at = time.monotonic(), None
        self._advanced_after = self.fraction = self.first_fraction = 0.0

    def plan(self, size: str, *, is_cut: bool = False) -> None:
        """The engine chose this size; a smaller one after the memory ran out.

        is_cut: it renders more chunks than the length tells, so nothing is learned from its time.
        """
        self._size, self._is_cut = size, is_cut

    def start(self, estimated_seconds: float, fraction: float) -> None:
        """The first forward pass of this process begins, after this fraction."""
        self._started_at, self._estimated_seconds = time.monotonic(), estimated_seconds
        self.fraction = self.first_fraction = fraction
        self._advanced_after = 0.0
        self._is_resumed = self._is_resumed or fraction > 0 or self._used_seconds > 0

    def advance(self, fraction: float) -> None:
        """This fraction of the video is done."""
        self.fraction, self._advanced_after = fraction, self.elapsed_seconds

    def leave(self) -> None:
        """The process is done with the order, or dead: the device is free."""
        self._used_seconds = self.gpu_seconds
        self._ordered_at = None

    def end(self) -> None:
        """The last frame is made, or none will come."""
        self._is_over = True

    @property
    def elapsed_seconds(self) -> float:
        """Since the first forward pass of this process; 0 before it."""
        return 0.0 if self._started_at is None else time.monotonic() - self._started_at

    @property
    def gpu_seconds(self) -> float:
        """How long this render has had the device, in all processes together."""
        since = 0.0 if self._ordered_at is None else time.monotonic() - self._ordered_at
        return self._used_seconds + since

    def used(self) -> Used:
        """What the attempt used. No engine, size or device if no order was given."""
        return Used(
            gpu_seconds=round(self.gpu_seconds, 3),
            size=self._size,
            engine=self._engine,
            device=self._device,
            frames_per_chunk=None if self._is_cut else self._frames_per_chunk,
            seconds_per_video_second=self._seconds_per_video_second,
            is_resumed=self._is_resumed or None,
        )

    def least_remaining_seconds(self) -> tuple[float, float]:
        """Seconds left by its pace alone, and seconds of all of it.

        Before the first progress it counts on the estimate, and past that on an end at any moment:
        the next job is fetched rather too early than too late.
        """
        done = self.fraction - self.first_fraction
        if done <= 0:
            rest = self._estimated_seconds * (1 - self.first_fraction)
            return max(0.0, rest - self.elapsed_seconds), self._estimated_seconds
        elapsed = self.elapsed_seconds
        return elapsed * (1 - self.fraction) / done, elapsed / done

    def remaining_seconds(self) -> float | None:
        """Until the last frame, as it is told to people; None before the first forward pass."""
        if self._is_over:
            return 0.0
        if self._started_at is None:
            return None
        whole = 1 - self.first_fraction
        done = (self.fraction - self.first_fraction) / whole if whole > 0 else 1.0
        then = remaining_seconds(done, self._advanced_after, self._estimated_seconds * whole)
        # An engine may tell its progress once a minute. Until it does, time passes.
        return max(0.0, then - (self.elapsed_seconds - self._advanced_after))


def remaining_seconds(done: float, elapsed_seconds: float, estimated_seconds: float) -> float:
    """Goes over from the estimate to the pace so far, without a step anywhere.

    That is (1 - done) x ((1 - w) x estimate + w x elapsed / done), with w = min(1, 2 x done).
    """
    trust_in_estimate = 1 - min(1.0, 2 * done)
    # w / done, which is also right at 0.
    per_elapsed = 2.0 if done <= 0.5 else 1 / done
    return (1 - done) * (trust_in_estimate * estimated_seconds + per_elapsed * elapsed_seconds)
