"""JSON lines on standard output, with the keys the TypeScript services write."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "silent": logging.CRITICAL + 1,
}
_LABELS: Final = {logging.WARNING: "warn", logging.CRITICAL: "fatal"}
_QUERY_OF_URL: Final = re.compile(r"(https?://[^\s\"'?]+)\?[^\s\"']+")


class Log:
    """A logger with keys bound to it; the message is a constant sentence, the facts are keys."""

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
        """What is expected to happen."""
        self._write(logging.INFO, message, keys)

    def warning(self, message: str, **keys: object) -> None:
        """What somebody may want to look at."""
        self._write(logging.WARNING, message, keys)

    def error(self, message: str, **keys: object) -> None:
        """What somebody has to look at; with the traceback of the exception being handled."""
        self._write(logging.ERROR, message, {**keys, "err": traceback.format_exc()})

    def _write(self, level: int, message: str, keys: Mapping[str, object]) -> None:
        self._logger.log(level, message, extra={"keys": {**self._bound, **keys}})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        keys: dict[str, object] = getattr(record, "keys", {})
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
    """The text without the queries of URLs: a presigned URL's query is a credential."""
    return _QUERY_OF_URL.sub(r"\1?[redacted]", text)


def configure_log(level: str) -> Log:
    """Sets the process's logging up, and returns the logger everything else is bound from."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    logger = logging.getLogger("avatar")
    logger.handlers = [handler]
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
    return Log()
