"""A start in stages, as heartbeats and spans tell it."""

from __future__ import annotations

import time

from inference_sidecar.rendering.start_spans import spans_of_start
from inference_sidecar.rendering.worker_start import WorkerStart

SECOND = 1_000_000_000


def started() -> WorkerStart:
    start = WorkerStart()
    start.start_ns = start.stages[0].start_ns = time.time_ns() - 10 * SECOND
    return start


def test_until_the_process_says_a_word_it_is_spawned() -> None:
    current = started().current()
    assert current is not None
    assert current.stage == "spawn"
    assert current.seconds >= 10


def test_a_start_tells_its_stages_and_all_of_it_once_it_is_over() -> None:
    start = started()
    begin = start.start_ns
    for name, at, until in (("weights", 2, 5), ("engine", 5, 6), ("calibrate", 6, 9)):
        start.begin(name, begin + at * SECOND)
        current = start.current()
        assert current is not None
        assert current.stage == name
        assert start.told() is None
        start.end(name, begin + until * SECOND, None)
    start.finish()

    assert start.current() is None
    told = {stage.stage: stage.seconds for stage in start.told() or []}
    assert told.pop("total") >= 10
    assert told == {"spawn": 2, "weights": 3, "engine": 1, "calibrate": 3}


def test_stages_of_an_engine_of_ones_own_are_ignored() -> None:
    start = started()
    start.begin("warm the coffee", start.start_ns + SECOND)
    start.finish()
    assert [stage.stage for stage in start.told() or []] == ["spawn", "total"]


def test_a_start_that_fails_tells_no_stages_and_its_spans_show_where() -> None:
    start = started()
    start.begin("weights", start.start_ns + SECOND)
    start.finish("RENDER_PROCESS_DIED")

    assert start.told() is None
    assert start.current() is None
    root, spawn, weights = spans_of_start(start, "w1", "null")
    assert (root.name, root.parent_id, root.error) == ("start worker", None, "RENDER_PROCESS_DIED")
    assert (spawn.name, spawn.parent_id, spawn.error) == ("spawn", root.span_id, None)
    assert (weights.name, weights.error) == ("weights", "RENDER_PROCESS_DIED")
    assert root.attributes == {"avatar.worker": "w1", "avatar.engine": "null"}
    assert {span.trace_id for span in (spawn, weights)} == {root.trace_id}
