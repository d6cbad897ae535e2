"""A portrait and a voice for schemathesis, whose own samples are one pixel large and silent.

JSON Schema cannot say what a portrait is, so that these are what every valid request is made with.
They lie in the working directory. schemathesis imports this module by the name in
SCHEMATHESIS_HOOKS.
"""

from pathlib import Path

import schemathesis
from hypothesis import strategies as st

for media_type, file in {"image/png": "portrait.png", "audio/wav": "voice.wav"}.items():
    schemathesis.openapi.media_type(media_type, st.just(Path(file).read_bytes()))


@schemathesis.hook
def before_call(
    _context: schemathesis.HookContext, case: schemathesis.Case, _kwargs: dict[str, object]
) -> None:
    """Leaves out a token that came from an answer: a check takes it for an invalid key."""
    if isinstance(case.query, dict) and str(case.query.get("token", "")).startswith("ava_evt_"):
        del case.query["token"]
