"""The lines that a process writes when no logger can: its last one, and its refusal to start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Final

from inference_sidecar.foundation.log_line import describe_error, write_line

STANDARD_OUTPUT: Final = 1
_STANDARD_ERROR: Final = 2
_AT_A_LOSS: Final = (
    b'{"level":"fatal","time":"1970-01-01T00:00:00.000Z","service":"sidecar",'
    b'"msg":"uncaught error, the process ends"}\n'
)
"""Without the time, which takes memory."""


def say_last_words(error: BaseException | None, origin: str) -> None:
    """The line of a process that ends by an error which nobody caught; it raises nothing.

    origin: how the error came to end it.
    """
    keys: dict[str, object] = {"origin": origin}
    try:
        if error is not None:
            keys["err"] = describe_error(error)
        _say(STANDARD_OUTPUT, "uncaught error, the process ends", keys)
    except BaseException:  # noqa: BLE001 - for instance for lack of memory
        with contextlib.suppress(BaseException):
            os.write(STANDARD_OUTPUT, _AT_A_LOSS)


def refuse_configuration(problems: Sequence[str]) -> None:
    """The line of a process that does not start, on standard error. `avatar up` explains it."""
    _say(_STANDARD_ERROR, "the configuration is not valid", {"problems": list(problems)})


def _say(descriptor: int, message: str, keys: dict[str, object]) -> None:
    os.write(descriptor, write_line("fatal", message, keys).encode() + b"\n")
