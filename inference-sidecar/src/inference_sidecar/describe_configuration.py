"""Prints every variable the sidecar and its engines read, as JSON, for the generated documents.

Called by `npm run generate` as `python -m inference_sidecar.describe_configuration`.
"""

from __future__ import annotations

import json
import sys

from pydantic_settings import BaseSettings

from inference_sidecar.config import SidecarConfig
from inference_sidecar.engines.registry import ENGINES, settings_class


def describe(settings: type[BaseSettings], reader: str) -> list[dict[str, str | None]]:
    """Name, description, default (None where there is none to show) and reader of each field."""
    return [
        {
            "name": name.upper(),
            "description": field.description or "",
            "fallback": None
            if field.is_required() or field.default is None
            else str(field.default),
            "reader": reader,
        }
        for name, field in settings.model_fields.items()
    ]


def main() -> None:
    """The sidecar's own variables first, then those of each engine that reads any."""
    variables = describe(SidecarConfig, "sidecar")
    for name in ENGINES:
        settings = settings_class(name)
        if settings is not None:
            variables += describe(settings, f"sidecar ({name})")
    sys.stdout.write(json.dumps(variables))


if __name__ == "__main__":
    main()
