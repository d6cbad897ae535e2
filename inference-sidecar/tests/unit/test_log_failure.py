"""The failure table decides at which level a failure is logged."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from inference_sidecar.foundation.contracts import FAILURES, FailureCode
from inference_sidecar.foundation.errors import NoFace, StoreError
from inference_sidecar.foundation.log import configure_log
from inference_sidecar.foundation.log_failure import log_failure

LEVELS = {"us": "error", "dependency": "warn", "caller": "info"}


@pytest.mark.parametrize("code", FAILURES)
def test_the_level_follows_from_whom_the_code_blames(code: FailureCode) -> None:
    stream = io.StringIO()
    log_failure(configure_log("info", stream), code, "it failed", jobId="j")
    line = _line(stream)
    assert (line["level"], line["code"], line["jobId"]) == (
        LEVELS[FAILURES[code]],
        code,
        "j",
    )


def test_an_error_brings_its_code_its_text_and_its_context() -> None:
    stream = io.StringIO()
    error = NoFace("nobody there", context={"width": 7})
    log_failure(configure_log("info", stream), error, "it failed")
    line = _line(stream)
    assert (line["code"], line["blame"]) == ("NO_FACE", "caller")
    assert line["err"] == {
        "type": "NoFace",
        "message": "nobody there",
        "code": "NO_FACE",
        "details": {"width": 7},
    }


def test_a_traceback_in_the_context_is_the_stack() -> None:
    stream = io.StringIO()
    error = StoreError("no answer", context={"err": "Traceback …"})
    log_failure(configure_log("info", stream), error, "it failed")
    told = _line(stream)["err"]
    assert told["stack"] == "Traceback …"
    assert "details" not in told


def _line(stream: io.StringIO) -> dict[str, Any]:
    return json.loads(stream.getvalue())
