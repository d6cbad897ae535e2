"""What a process prints becomes lines: all of them, but never too many, and no secret."""

from __future__ import annotations

import asyncio
import io
import json
import os
from typing import Any

import pytest

from inference_sidecar.foundation.log import configure_log
from inference_sidecar.rendering.said import Said
from stage.until import PATIENCE_SECONDS


class Printer:
    """Prints to the pipe of a `Said`, as a process would."""

    def __init__(self) -> None:
        self._lines = io.StringIO()
        self.said = Said(configure_log("debug", self._lines))
        self._pipe = -1

    async def open(self) -> None:
        self._pipe = await self.said.open()

    async def prints(self, content: bytes) -> None:
        left = content
        while left:
            # In a thread, because a full pipe holds up whoever prints.
            left = left[await asyncio.to_thread(os.write, self._pipe, left) :]

    async def end(self) -> list[dict[str, Any]]:
        os.close(self._pipe)
        await self.said.ended(PATIENCE_SECONDS)
        return [json.loads(line) for line in self._lines.getvalue().splitlines()]


@pytest.fixture
async def printer() -> Printer:
    made = Printer()
    await made.open()
    return made


async def test_each_line_is_told_and_the_last_one_too_without_its_end(printer: Printer) -> None:
    await printer.prints(b"Loading weights\n\n  10%\r 20%\r")
    await printer.prints(b"caf\xc3\xa9 \xff\nSegmentation fault")
    lines = await printer.end()
    assert {(line["level"], line["msg"]) for line in lines} == {("info", "render process said")}
    assert [line["text"] for line in lines] == [
        *("Loading weights", "10%", "20%", "caf\u00e9 \ufffd", "Segmentation fault")
    ]
    assert printer.said.tail().endswith("20%\ncaf\u00e9 \ufffd\nSegmentation fault")


async def test_a_line_of_our_own_logger_keeps_its_level_and_its_error(printer: Printer) -> None:
    error = {"type": "ValueError", "message": "no such layer", "stack": "Traceback …"}
    for line in (
        {"level": "fatal", "msg": "uncaught error, the process ends", "err": error, "pid": 3},
        {"level": "warn", "msg": "a library said", "logger": "torch", "text": "deprecated"},
        {"level": "info"},
    ):
        await printer.prints(json.dumps(line).encode() + b"\n")
    fatal, warning, other = await printer.end()
    assert fatal["level"] == "error"
    assert fatal["text"] == "uncaught error, the process ends"
    assert fatal["err"] == error
    assert (warning["level"], warning["logger"], warning["text"]) == ("warn", "torch", "deprecated")
    assert (other["level"], other["text"]) == ("info", '{"level": "info"}')
    assert printer.said.tail().startswith(
        "uncaught error, the process ends: ValueError: no such layer\n"
    )


async def test_a_flood_is_read_but_for_the_most_part_only_counted(printer: Printer) -> None:
    await printer.prints(b"".join(b"%d\n" % number for number in range(100_000)))
    lines = await printer.end()

    told = [line for line in lines if line["msg"] == "render process said"]
    counted = [line for line in lines if line["msg"] == "render process said more than is told"]
    assert len(told) + sum(line["lines"] for line in counted) == 100_000
    assert 20 <= len(told) <= 20 * (1 + len(counted))
    assert printer.said.tail().splitlines() == [str(number) for number in range(99_980, 100_000)]


async def test_a_line_that_does_not_end_takes_no_more_memory_than_a_few(printer: Printer) -> None:
    await printer.prints(b"x" * (1 << 20))
    lines = await printer.end()
    assert 0 < len(lines) <= 20
    assert {len(line["text"]) for line in lines if "text" in line} <= set(range(2001))


async def test_secrets_are_scrubbed_before_a_line_is_cut(printer: Printer) -> None:
    secret = "hf_" + "s" * 30
    await printer.prints(f"{'x' * 1990} {secret}\n".encode())
    lines = await printer.end()
    assert "sss" not in json.dumps(lines)
    assert "sss" not in printer.said.tail()


async def test_whoever_keeps_the_pipe_open_is_not_waited_for(printer: Printer) -> None:
    await printer.prints(b"the last word\n")
    await printer.said.ended(0.5)
    assert printer.said.tail() == "the last word"
    os.close(printer._pipe)
