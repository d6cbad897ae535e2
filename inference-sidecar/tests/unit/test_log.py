"""The format of a log line, and what one never contains."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest

from inference_sidecar.foundation.errors import RenderFailed
from inference_sidecar.foundation.log import configure_log, scrub_secrets


def test_a_line_has_the_keys_of_the_other_services() -> None:
    stream = io.StringIO()
    configure_log("info", stream).bind(jobId="j", traceId="t").info("rendered", durationMs=7)

    line = json.loads(stream.getvalue())

    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "service": "sidecar",
        "jobId": "j",
        "traceId": "t",
        "durationMs": 7,
        "msg": "rendered",
    }


def test_the_time_is_utc_to_the_millisecond() -> None:
    stream = io.StringIO()
    configure_log("warn", stream).warning("x")
    line = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert line["level"] == "warn"


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    log = configure_log("error", stream)
    log.debug("x")
    log.info("x")
    log.warning("x")
    assert stream.getvalue() == ""


def test_an_error_adds_the_traceback_of_the_exception_being_handled() -> None:
    stream = io.StringIO()
    log = configure_log("info", stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        log.error("broken")  # noqa: TRY400 - our own logger
    log.error("no exception here")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert "ZeroDivisionError" in first["err"]
    assert "err" not in second


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        (
            "GET http://s3/media/x?X-Amz-Signature=abc&X=1 failed",
            "GET http://s3/media/x?[redacted] failed",
        ),
        ("nats://sidecar:hunter2@127.0.0.1:4222", "nats://sidecar:[redacted]@127.0.0.1:4222"),
        ("PUT /media/x?X-Amz-Signature=abc&n=1", "PUT /media/x?X-Amz-Signature=[redacted]&n=1"),
        ("authorization: Bearer abc.def", "authorization: Bearer [redacted]"),
        ("key ava_live_abc_def", "key ava_live_[redacted]"),
        ("token hf_abcdefghijkl", "token hf_[redacted]"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_credentials_are_scrubbed(text: str, scrubbed: str) -> None:
    assert scrub_secrets(text) == scrubbed


def test_a_failure_with_a_code_needs_no_traceback() -> None:
    stream = io.StringIO()
    log = configure_log("info", stream)
    try:
        raise RenderFailed("as expected")  # noqa: TRY301
    except RenderFailed:
        log.error("broken")  # noqa: TRY400 - our own logger
    assert "err" not in json.loads(stream.getvalue())


def test_a_traceback_given_as_a_key_is_kept() -> None:
    stream = io.StringIO()
    log = configure_log("info", stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        log.error("broken", err="that of the render process")  # noqa: TRY400 - our own logger
    assert json.loads(stream.getvalue())["err"] == "that of the render process"


def test_a_failure_reported_by_asyncio_has_its_traceback() -> None:
    stream = io.StringIO()
    configure_log("info", stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    line = json.loads(stream.getvalue())
    assert (line["level"], line["service"]) == ("error", "sidecar")
    assert "ZeroDivisionError" in line["err"]
