"""Which ended attempts a heartbeat names."""

from __future__ import annotations

from inference_sidecar.foundation.contracts import HeldJob
from inference_sidecar.worker.ended_attempts import EndedAttempts


def a_job(number: int, epoch: int = 1) -> HeldJob:
    return HeldJob(
        job_id=f"b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e{number:04}",
        owner="acme",
        epoch=epoch,
        stage="rendering",
        percent=40,
        rendered_for_seconds=3,
        deadline_seconds=600,
        gpu_seconds=3.5,
        remaining_seconds=5,
    )


def named(ended: EndedAttempts, in_hand: tuple[str, ...] = (), most: int = 64) -> list[str]:
    return [job.job_id for job in ended.named(in_hand, most)]


def test_it_is_named_with_its_time_until_it_is_handled() -> None:
    ended = EndedAttempts(60)
    ended.add(a_job(1))
    (job,) = ended.named((), 64)
    assert (job.stage, job.gpu_seconds, job.remaining_seconds) == ("ended", 3.5, None)

    ended.handled(job.job_id, 2)
    assert named(ended) == [job.job_id]
    ended.handled(job.job_id, 1)
    assert named(ended) == []


def test_the_oldest_are_left_out_when_there_is_no_room() -> None:
    ended = EndedAttempts(60)
    for number in range(3):
        ended.add(a_job(number))
    assert named(ended, most=2) == [a_job(1).job_id, a_job(2).job_id]
    assert named(ended, most=0) == named(ended, most=-1) == []


def test_a_job_that_is_in_hand_again_is_not_named_twice() -> None:
    ended = EndedAttempts(60)
    ended.add(a_job(1))
    assert named(ended, (a_job(1).job_id,)) == []
    assert ended.epoch_of(a_job(1).job_id) is None


def test_none_is_named_for_longer_than_allowed() -> None:
    ended = EndedAttempts(0)
    ended.add(a_job(1))
    assert named(ended) == []
