"""One line of the log, as the contracts describe it: one JSON object, scrubbed, at most 16 KB."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

from inference_sidecar.foundation.contracts import LOG_KEYS, LOG_LINE_MAX_BYTES
from inference_sidecar.foundation.errors import SidecarError
from inference_sidecar.foundation.scrub import scrub_secrets

_CUT: Final = "… [cut]"
_LENGTHS: Final = (4_096, 1_024, 256, 64)
"""Strings are cut to these lengths, one after the other, until the line fits."""
_ITEMS_MAX: Final = 50
_DEEPEST_CAUSE: Final = 5
"""Causes below this are left out: an error may be its own cause."""


def write_line(
    level: str, message: str, keys: Mapping[str, object], at: float | None = None
) -> str:
    """The line, without its newline. Keys that have no name in the contracts go to `details`.

    at: seconds since the epoch; now if left out.
    """
    now = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    named = {key: value for key, value in keys.items() if key in LOG_KEYS}
    others = {key: value for key, value in keys.items() if key not in LOG_KEYS}
    if others:
        own = named.get("details")
        details = cast("dict[str, object]", own) if isinstance(own, dict) else {}
        named["details"] = {**details, **others}
    if "err" in named:
        named["err"] = _as_error(named["err"])
    line = {
        "level": level,
        "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "service": "sidecar",
        # Before the keys: whoever cuts the line at its end still knows what it is about.
        "msg": message,
        **named,
    }
    # Fitted last, because half a secret is not found.
    return _fit(scrub_secrets(json.dumps(line, default=str)))


def describe_error(error: BaseException, depth: int = 0) -> dict[str, object]:
    """An error with its traceback, and its causes one below the other.

    A `SidecarError` explains itself, so it brings no traceback.
    """
    told: dict[str, object] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, SidecarError):
        told["code"] = error.code
        told |= _details_of(error)
    else:
        told["stack"] = "".join(traceback.format_exception(error, chain=False))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth < _DEEPEST_CAUSE:
        told["cause"] = describe_error(cause, depth + 1)
    return told


def _details_of(error: SidecarError) -> dict[str, object]:
    """The context of an error, of which a traceback in another process is the stack."""
    details = {key: value for key, value in error.context.items() if key != "err"}
    stack = error.context.get("err")
    return {
        **({"details": details} if details else {}),
        **({"stack": stack} if isinstance(stack, str) else {}),
    }


def _as_error(err: object) -> object:
    """The object that `err` is. A traceback of another process arrives as text."""
    if isinstance(err, BaseException):
        return describe_error(err)
    if not isinstance(err, str):
        return err
    last = err.rstrip().rpartition("\n")[2]
    kind, _, message = last.partition(": ")
    if not err.startswith("Traceback"):
        return {"type": "Error", "message": err}
    return {"type": kind, "message": message, "stack": err}


def _fit(line: str) -> str:
    """The line in at most 16 KB. The innermost stack is cut first, then whatever else is long.

    `json.dumps` writes ASCII, so that a character is a byte.
    """
    most = LOG_LINE_MAX_BYTES - 1
    over = len(line) - most
    if over <= 0:
        return line
    fields: dict[str, Any] = json.loads(line)
    errors: list[dict[str, Any]] = []
    error = fields.get("err")
    while isinstance(error, dict):
        errors.append(cast("dict[str, Any]", error))
        error = cast("dict[str, Any]", error).get("cause")
    for each in reversed(errors):
        stack = each.get("stack")
        if over > 0 and isinstance(stack, str):
            each["stack"] = _cut(stack, len(stack) - over)
            over -= len(json.dumps(stack)) - len(json.dumps(each["stack"]))
    fitted = json.dumps(fields)
    for length in _LENGTHS:
        if len(fitted) <= most:
            return fitted
        fitted = json.dumps(_shortened(fields, length))
    if len(fitted) <= most:
        return fitted
    kept = {name: fields[name] for name in ("level", "time", "service")}
    return json.dumps({**kept, "msg": _cut(str(fields["msg"]), _LENGTHS[-1])})


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(0, length - len(_CUT))] + _CUT


def _shortened(value: Any, length: int) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, str):
        return _cut(value, length)
    if isinstance(value, list):
        items = cast("list[Any]", value)[:_ITEMS_MAX]
        return [_shortened(item, length) for item in items]
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {name: _shortened(item, length) for name, item in pairs}
    return value
