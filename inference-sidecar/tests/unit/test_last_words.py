"""What a process says that ends by an error, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

_SECRET = "marked-secret-value"
_BEGIN = f"""
import threading
from concurrent.futures import ThreadPoolExecutor
from inference_sidecar.foundation.process_death import end_at_uncaught_exceptions
from inference_sidecar.foundation.scrub import hide_value
hide_value("{_SECRET}")
end_at_uncaught_exceptions()
def fail():
    raise ValueError("told {_SECRET}")
"""


def _run(program: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and every line of standard output and error."""
    ended = subprocess.run(
        [sys.executable, "-c", _BEGIN + program], capture_output=True, text=True, check=False
    )
    said = ended.stdout + ended.stderr
    assert _SECRET not in said
    return ended.returncode, [json.loads(line) for line in said.splitlines()]


@pytest.mark.parametrize(
    ("program", "origin"),
    [
        ("fail()", "sys.excepthook"),
        (
            "threading.Thread(target=fail).start(); threading.Event().wait()",
            "threading.excepthook",
        ),
    ],
)
def test_an_error_that_nobody_caught_is_one_line(program: str, origin: str) -> None:
    status, lines = _run(program)
    assert status == 1
    [line] = lines
    assert (line["level"], line["service"], line["origin"]) == ("fatal", "sidecar", origin)
    assert line["err"]["message"] == "told [redacted]"
    assert "in fail" in line["err"]["stack"]


def test_an_error_without_words_is_a_line_too() -> None:
    status, lines = _run("""
class Mute(Exception):
    def __str__(self):
        raise MemoryError
raise Mute
""")
    assert status == 1
    assert [line["msg"] for line in lines] == ["uncaught error, the process ends"]


def test_the_thread_of_an_executor_that_cannot_go_on_ends_the_process_by_a_line() -> None:
    status, lines = _run("""
import logging
try:
    fail()
except ValueError:
    logging.getLogger("concurrent.futures").critical("Exception in worker", exc_info=True)
""")
    assert status == 1
    assert lines[-1]["origin"] == "concurrent.futures"


def test_what_is_no_failure_ends_the_process_without_a_word() -> None:
    assert _run("raise KeyboardInterrupt") == (1, [])
    assert _run("raise SystemExit(3)") == (3, [])


def test_a_warning_of_a_library_is_a_line_and_ends_nothing() -> None:
    status, lines = _run("import warnings; warnings.warn('password=hunter22')")
    assert status == 0
    [line] = lines
    assert (line["level"], line["logger"]) == ("warn", "py.warnings")
    assert "password=[redacted]" in line["text"]
