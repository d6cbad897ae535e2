"""Which engine a name stands for; imports only the one that was chosen."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from inference_sidecar.engine import Engine

ENGINES: Final = {
    "preview": ("inference_sidecar.preview.engine", "PreviewEngine"),
    "null": ("inference_sidecar.null.engine", "NullEngine"),
}
"""Module and class of each engine. Text, so that naming an engine does not import its libraries."""


def load_engine(name: str) -> Engine:
    """Makes the engine of this name, not yet loaded. Raises `ValueError` for an unknown name."""
    if name not in ENGINES:
        raise ValueError(f"ENGINE must be one of {', '.join(ENGINES)}, not {name!r}.")
    module, factory = ENGINES[name]
    # The registry above is text, so the type checker cannot follow it; the conformance suite does.
    return cast("Engine", getattr(import_module(module), factory)())
