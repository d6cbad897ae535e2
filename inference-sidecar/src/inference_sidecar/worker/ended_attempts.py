"""Attempts whose end was told: named in the heartbeats until it is handled."""

from __future__ import annotations

import time
from collections.abc import Collection

from inference_sidecar.foundation.contracts import HeldJob


class EndedAttempts:
    """Without it, the silence about an attempt may be noticed before the event of its end arrives.

    It would then be counted as a death that never was.
    """

    def __init__(self, named_seconds: float) -> None:
        self._named_seconds = named_seconds
        self._attempts: dict[str, tuple[HeldJob, float]] = {}

    def add(self, job: HeldJob) -> None:
        """Its end is stored in the stream; `job` is what the heartbeats said of it until now."""
        self._attempts.pop(job.job_id, None)
        ended = job.model_copy(update={"stage": "ended", "remaining_seconds": None})
        self._attempts[job.job_id] = ended, time.monotonic()

    def handled(self, job_id: str, epoch: int) -> None:
        """The orchestrator has said so."""
        if self.epoch_of(job_id) == epoch:
            del self._attempts[job_id]

    def epoch_of(self, job_id: str) -> int | None:
        """Under which epoch the job is named; None if it is not."""
        attempt = self._attempts.get(job_id)
        return None if attempt is None else attempt[0].epoch

    def named(self, in_hand: Collection[str], most: int) -> list[HeldJob]:
        """For the next heartbeat: at most so many, the latest.

        Those named for long are dropped, and those whose jobs are in hand again: handled by then.
        """
        since = time.monotonic() - self._named_seconds
        self._attempts = {
            job_id: (job, ended_at)
            for job_id, (job, ended_at) in self._attempts.items()
            if ended_at > since and job_id not in in_hand
        }
        jobs = [job for job, _ in self._attempts.values()]
        return jobs[max(0, len(jobs) - most) :]
