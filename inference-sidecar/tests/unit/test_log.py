"""The format of a log line, and what one never contains."""

from __future__ import annotations

import io
import json
import logging
import re
import sys

from inference_sidecar.foundation.contracts import LOG_LINE_MAX_BYTES
from inference_sidecar.foundation.errors import RenderFailed
from inference_sidecar.foundation.log import configure_log


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
    assert first["err"]["type"] == "ZeroDivisionError"
    assert first["err"]["message"] == "integer division or modulo by zero"
    assert "in test_an_error_adds" in first["err"]["stack"]
    assert "err" not in second


def test_a_failure_with_a_code_needs_no_traceback() -> None:
    stream = io.StringIO()
    log = configure_log("info", stream)
    try:
        raise RenderFailed("as expected")  # noqa: TRY301
    except RenderFailed:
        log.error("broken")  # noqa: TRY400 - our own logger
    assert "err" not in json.loads(stream.getvalue())


def test_a_traceback_of_another_process_is_an_error_as_well() -> None:
    stream = io.StringIO()
    log = configure_log("info", stream)
    told = "Traceback (most recent call last):\n  File x\nValueError: a: b\n"
    log.error("broken", err=told)
    assert json.loads(stream.getvalue())["err"] == {
        "type": "ValueError",
        "message": "a: b",
        "stack": told,
    }


def test_an_error_brings_its_causes_and_no_more_than_that() -> None:
    stream = io.StringIO()
    error = RenderFailed("outer", context={"exitStatus": 3})
    error.__cause__ = error
    configure_log("info", stream).warning("broken", err=error)
    told = json.loads(stream.getvalue())["err"]
    assert (told["type"], told["code"]) == ("RenderFailed", "RENDER_FAILED")
    assert told["details"] == {"exitStatus": 3}
    assert told["cause"]["message"] == "outer"


def test_keys_without_a_name_in_the_contracts_are_details() -> None:
    stream = io.StringIO()
    configure_log("info", stream).info("x", jobId="j", width=7)
    line = json.loads(stream.getvalue())
    assert (line["jobId"], line["details"]) == ("j", {"width": 7})


def test_a_line_is_at_most_16_kb_and_loses_its_stack_first() -> None:
    stream = io.StringIO()
    log = configure_log("info", stream)
    log.error("x", err="Traceback\n" + "at ü\n" * 9_000 + "ValueError: small")
    log.error("y", reason='"' * 40_000)
    log.error("z", facts={f"name{n}": n for n in range(5_000)})
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) < LOG_LINE_MAX_BYTES
    first, second, third = map(json.loads, lines)
    assert first["err"]["message"] == "small"
    assert first["err"]["stack"].endswith("[cut]")
    assert second["reason"].endswith("[cut]")
    assert (third["level"], third["msg"]) == ("error", "z")


def test_what_libraries_and_python_itself_say_is_a_line() -> None:
    stream = io.StringIO()
    configure_log("info", stream)
    logging.getLogger("opentelemetry.sdk").error("spans lost")

    class Broken:
        def __del__(self) -> None:
            raise ValueError("in a destructor")

    Broken()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["logger"] for line in lines] == ["opentelemetry.sdk", "python"]
    assert [line["level"] for line in lines] == ["error", "warn"]
    assert lines[1]["err"]["message"] == "in a destructor"
    assert {line["msg"] for line in lines} == {"a library said"}
    sys.unraisablehook = sys.__unraisablehook__


def test_a_failure_reported_by_asyncio_has_its_traceback() -> None:
    stream = io.StringIO()
    configure_log("info", stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    line = json.loads(stream.getvalue())
    assert (line["level"], line["service"]) == ("error", "sidecar")
    assert line["err"]["type"] == "ZeroDivisionError"
    assert line["text"] == "Task exception was never retrieved"
