"""JSON lines on standard output, with the keys the TypeScript services write."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final

from inference_sidecar.foundation.errors import SidecarError
from inference_sidecar.foundation.log_line import write_line
from inference_sidecar.foundation.scrub import scrub_secrets

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = ["Log", "configure_log", "log_libraries", "scrub_secrets"]

_LEVELS: Final = {
    # One environment serves both languages, so every level of the TypeScript side is accepted.
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "silent": logging.CRITICAL + 1,
}
_LABELS: Final = {logging.WARNING: "warn", logging.CRITICAL: "fatal"}
_OURS: Final = "avatar"


class Log:
    """A logger with bound keys. The message is a constant sentence, the data goes into keys."""

    def __init__(self, bound: Mapping[str, object] | None = None) -> None:
        self._bound = dict(bound or {})
        self._logger = logging.getLogger(_OURS)

    def bind(self, **keys: object) -> Log:
        """The same logger with more keys in every line."""
        return Log({**self._bound, **keys})

    def debug(self, message: str, **keys: object) -> None:
        """For developers."""
        self._write(logging.DEBUG, message, keys)

    def info(self, message: str, **keys: object) -> None:
        """For what is expected to happen."""
        self._write(logging.INFO, message, keys)

    def warning(self, message: str, **keys: object) -> None:
        """For what somebody may want to look at."""
        self._write(logging.WARNING, message, keys)

    def error(self, message: str, **keys: object) -> None:
        """For what somebody must look at; adds the exception being handled as `err`.

        A `SidecarError` explains itself, so it is not added.
        """
        error = sys.exception()
        if error is not None and not isinstance(error, SidecarError) and "err" not in keys:
            keys["err"] = error
        self._write(logging.ERROR, message, keys)

    def _write(self, level: int, message: str, keys: Mapping[str, object]) -> None:
        self._logger.log(level, message, extra={"keys": {**self._bound, **keys}})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = _LABELS.get(record.levelno, record.levelname.lower())
        keys: dict[str, object] = dict(getattr(record, "keys", {}))
        if record.exc_info is not None and record.exc_info[1] is not None:
            keys["err"] = record.exc_info[1]
        if hasattr(record, "keys"):
            return write_line(level, record.getMessage(), keys, record.created)
        # Whatever a library says is data, and no constant sentence.
        keys |= {"logger": record.name, "text": record.getMessage()}
        return write_line(level, "a library said", keys, record.created)


class _Libraries(logging.StreamHandler[IO[str]]):
    """Writes what libraries log, from warnings on."""


def configure_log(level: str, stream: IO[str] = sys.stdout) -> Log:
    """Sets up the logging of the process, and returns the logger that all others are bound from."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines())
    logger = logging.getLogger(_OURS)
    logger.handlers = [handler]
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
    # The NATS client logs, with tracebacks, what we log as one line.
    logging.getLogger("nats").handlers = [logging.NullHandler()]
    logging.getLogger("nats").propagate = False
    log_libraries(stream, _LEVELS[level])
    return Log()


def log_libraries(stream: IO[str] = sys.stdout, level: int = logging.WARNING) -> None:
    """From here on what libraries log or warn of, and what Python would print itself, are lines.

    So asyncio tells of failures that nobody handled, and OpenTelemetry of spans that it lost.
    """
    handler = _Libraries(stream)
    handler.setLevel(max(level, logging.WARNING))
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, _Libraries)]
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    sys.unraisablehook = _log_unraisable


def _log_unraisable(unraisable: UnraisableHookArgs) -> None:
    """An error in a destructor or a callback of C, which can end nothing."""
    error: BaseException | None = unraisable.exc_value
    trace: TracebackType | None = unraisable.exc_traceback
    kind = unraisable.exc_type
    information = None if error is None else (kind, error, trace)
    text = unraisable.err_msg or "Exception ignored"
    logging.getLogger("python").warning("%s in: %r", text, unraisable.object, exc_info=information)
