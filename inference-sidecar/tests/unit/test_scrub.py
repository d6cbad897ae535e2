"""Nothing secret leaves the process; the same samples as in TypeScript."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from inference_sidecar.foundation.contracts import LOG_LINE_MAX_BYTES
from inference_sidecar.foundation.scrub import _GATES, hide_value, scrub_secrets
from inference_sidecar.foundation.secret_shapes import SECRET_SHAPES
from inference_sidecar.foundation.settings import Settings

_FILE = Path(__file__).parents[3] / "contracts" / "fixtures" / "secrets.json"
# A dot in the middle keeps scanners of repositories from taking a sample for a real secret.
_SAMPLES = [
    (sample["name"], sample["text"].replace("·", ""), sample["scrubbed"])
    for sample in json.loads(_FILE.read_text("utf-8"))
]
_VALUE = 'mark/of a "secret" ü+'


@pytest.mark.parametrize(("name", "text", "scrubbed"), _SAMPLES)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(
    name: str, text: str, scrubbed: str
) -> None:
    assert scrub_secrets(text) == scrubbed, name
    assert scrub_secrets(scrubbed) == scrubbed, "twice is fine"


@pytest.mark.parametrize("shape", SECRET_SHAPES, ids=lambda shape: shape[1][:20])
def test_a_shape_is_looked_for_at_once_in_16_kb_of_hostile_text(
    shape: tuple[tuple[str, ...], str, bool, str],
) -> None:
    hints, pattern, _, replacement = shape
    bits = (*hints, "://", "://a:", "?a", '\\"', 'key="', 'secret:\\"', "='", "eyJ", "A", "-")
    # A pattern that needs time by the square or worse takes minutes for this.
    began = time.monotonic()
    for bit in bits:
        text = bit * (LOG_LINE_MAX_BYTES // len(bit))
        re.sub(pattern, replacement, text, flags=re.ASCII | re.IGNORECASE)
    assert time.monotonic() - began < 20


def test_no_hint_stands_where_nobody_looks_for_it() -> None:
    hints = [hint for _, behind in _GATES for hint in behind]
    assert sorted(hints) == sorted({hint for shape in SECRET_SHAPES for hint in shape[0]})
    assert [hint for gate, behind in _GATES for hint in behind if gate not in hint] == []


class _SomeSettings(Settings):
    password: SecretStr


def test_what_the_process_was_given_is_hidden_in_any_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PASSWORD", _VALUE)
    _SomeSettings()  # pyright: ignore[reportCallIssue] - from the environment
    encoded = (
        _VALUE,
        json.dumps({"a": _VALUE}),
        json.dumps({"a": _VALUE}, ensure_ascii=False),
        quote(_VALUE, safe=""),
        base64.b64encode(_VALUE.encode()).decode(),
        base64.b64encode(f"u:{_VALUE}!".encode()).decode(),
        base64.urlsafe_b64encode(f"us:{_VALUE}".encode()).decode(),
    )
    for text in encoded:
        scrubbed = scrub_secrets(f"{text} and more")
        assert "[redacted]" in scrubbed
        assert text not in scrubbed
        assert " and more" in scrubbed


def test_a_value_as_short_as_a_word_is_left_to_the_shapes() -> None:
    hide_value("short")
    assert scrub_secrets("in short") == "in short"
    assert scrub_secrets("password=short") == "password=[redacted]"
