"""Hides secrets in whatever leaves the process. The last line of defence, not the first."""

from __future__ import annotations

import base64
import json
import re
import threading
from typing import Final
from urllib.parse import quote

from inference_sidecar.foundation.secret_shapes import REDACTED, SECRET_SHAPES

_LEAST_CHARACTERS: Final = 8
"""A shorter value would be found in ordinary words, and hide them."""
_SHAPES: Final = [
    (
        frozenset(hints),
        re.compile(pattern, re.ASCII | (re.IGNORECASE if ignores_case else 0)),
        replacement,
    )
    for hints, pattern, ignores_case, replacement in SECRET_SHAPES
]
_WITHOUT_HINTS: Final = [shape for shape in _SHAPES if not shape[0]]
_HINTS: Final = sorted({hint for hints, _, _ in _SHAPES for hint in hints})
_SHORTER: Final = ("_", "/", "ok", "cre", "as", "ey")
"""Each stands in several hints and in few lines, which then need one look instead of several."""


def _gate_of(hint: str) -> str:
    return next((shorter for shorter in _SHORTER if shorter in hint), hint)


_GATES: Final = tuple(
    (gate, tuple(hint for hint in _HINTS if _gate_of(hint) == gate))
    for gate in dict.fromkeys(map(_gate_of, _HINTS))
)
"""Texts, and the hints that stand only where they do. Most of the price of a line."""
_MORE: Final = threading.Lock()
_known_forms: list[str] = []
"""Every form of each value that this process was given, the longest first."""


def hide_value(value: str) -> None:
    """From here on hides the value wherever it stands, in whatever shape.

    That is as it is, escaped for JSON, URL-encoded, or in base64, alone or within a longer text. A
    value under 8 characters is left to the shapes.
    """
    if len(value) < _LEAST_CHARACTERS:
        return
    forms = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe="", errors="replace"),
        # As JavaScript does it.
        quote(value, safe="!'()*", errors="replace"),
        *_base64(value),
    }
    with _MORE:
        _known_forms[:] = sorted({*_known_forms, *forms}, key=len, reverse=True)


def scrub_secrets(text: str) -> str:
    """The text without the secrets that this process was given, and without what looks like one.

    JSON stays valid.
    """
    for form in _known_forms:
        if form in text:
            text = text.replace(form, REDACTED)
    lower = text.lower()
    found = [hint for gate, hints in _GATES if gate in lower for hint in hints if hint in lower]
    for hints, pattern, replacement in _SHAPES if found else _WITHOUT_HINTS:
        # To search is quicker than to replace nothing.
        if (not hints or not hints.isdisjoint(found)) and pattern.search(text):
            text = pattern.sub(replacement, text)
    return text


def _base64(value: str) -> set[str]:
    """What base64 of any text with this value in it contains.

    The value's digits for each of the three places at which it can begin, without those that depend
    on its neighbours.
    """
    content = value.encode(errors="replace")
    found: set[str] = set()
    for before in range(3):
        digits = base64.b64encode(b"\0" * before + content).decode()
        own = digits[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
        found |= {own, own.replace("+", "-").replace("/", "_")}
    return found
