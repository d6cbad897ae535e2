"""One trace from the HTTP request to the last frame."""

from __future__ import annotations

import re

from inference_sidecar.foundation.trace import continue_trace, trace_id_of

PARENT = f"00-{'a' * 32}-{'b' * 16}-00"


def test_a_trace_is_continued_by_a_span_of_our_own() -> None:
    ours = continue_trace(PARENT)
    assert trace_id_of(ours) == "a" * 32
    assert ours.endswith("-00")
    assert ours != PARENT


def test_a_new_trace_begins_where_there_is_none() -> None:
    for missing in (None, "", "garbage"):
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", continue_trace(missing))
