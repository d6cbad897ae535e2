"""JSON lines on standard output, with the keys the TypeScript services write."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Final

from inference_sidecar.foundation.errors import SidecarError

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
_SECRETS: Final = (
    # The query of a presigned URL is a credential.
    (re.compile(r"(https?://[^\s\"'?]+)\?[^\s\"']+"), r"\1?[redacted]"),
    (
        re.compile(r"(?i)(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"'\\]+"),
        r"\1[redacted]",
    ),
    (re.compile(r"ava_live_[0-9A-Za-z_]+"), "ava_live_[redacted]"),
    (re.compile(r"(?i)(Bearer\s+)[^\s\"\\]+"), r"\1[redacted]"),
    (re.compile(r"\bhf_[0-9A-Za-z]{8,}"), "hf_[redacted]"),
    (re.compile(r"(://[^:/\s\"'@]+:)[^@/\s\"']+@"), r"\1[redacted]@"),
)


class Log:
    """A logger with bound keys. The message is a constant sentence, the data goes into keys."""

    def __init__(self, bound: Mapping[str, object] | None = None) -> None:
        self._bound = dict(bound or {})
        self._logger = logging.getLogger("avatar")

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
        """For what somebody must look at; adds the traceback of the exception being handled.

        A `SidecarError` explains itself, so it brings none.
        """
        error = sys.exception()
        if error is not None and not isinstance(error, SidecarError) and "err" not in keys:
            keys["err"] = traceback.format_exc()
        self._write(logging.ERROR, message, keys)

    def _write(self, level: int, message: str, keys: Mapping[str, object]) -> None:
        self._logger.log(level, message, extra={"keys": {**self._bound, **keys}})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        keys: dict[str, object] = dict(getattr(record, "keys", {}))
        if record.exc_info is not None:
            # Not our own call: asyncio reports a task that failed and that nobody awaited.
            keys["err"] = self.formatException(record.exc_info)
        line = {
            "level": _LABELS.get(record.levelno, record.levelname.lower()),
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "service": "sidecar",
            **keys,
            "msg": record.getMessage(),
        }
        return scrub_secrets(json.dumps(line, default=str))


def scrub_secrets(text: str) -> str:
    """The text without credentials. The last line of defence, not the first."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def configure_log(level: str, stream: IO[str] = sys.stdout) -> Log:
    """Sets up the logging of the process, and returns the logger that all others are bound from."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines())
    logger = logging.getLogger("avatar")
    logger.handlers = [handler]
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
    # The NATS client logs, with tracebacks, what we log as one line.
    logging.getLogger("nats").handlers = [logging.NullHandler()]
    logging.getLogger("nats").propagate = False
    # asyncio reports the failures that nobody handled.
    asyncio_logger = logging.getLogger("asyncio")
    asyncio_logger.handlers = [handler]
    asyncio_logger.propagate = False
    return Log()
