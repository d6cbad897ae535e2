"""Engines without a model take every job, and say what they leave out of it."""

from dataclasses import replace

# ruff: noqa: F811
# pytest finds the imported fixtures here by their names, which the arguments of tests repeat.
from conformance.test_engines import Watched, engine, job  # noqa: F401
from inference_sidecar.engines.engine import QUALITIES, Engine, How, RenderRequest, Voice


def test_every_job_is_taken_and_what_is_left_out_is_told(
    engine: Engine, job: RenderRequest
) -> None:
    offers = engine.load().offers
    assert (set(offers.paces), offers.speakers, offers.video) == (set(QUALITIES), 2, True)
    assert engine.plan(job).warnings == ()
    second = replace(job, voices=(Voice(job.audio), Voice(job.audio, 0.5)), frames=100)
    asked = replace(second, video=job.image, how=How(quality="high", camera="drift"))
    (warning,) = engine.plan(asked).warnings
    assert warning.code == "LEFT_OUT"
    for what in ("quality high", "second voice", "source video", "camera"):
        assert what in warning.message
    plan = engine.plan(second)
    frames = [len(chunk.frames) for chunk in engine.render(second, plan, Watched(), None)]
    assert sum(frames) == 100
