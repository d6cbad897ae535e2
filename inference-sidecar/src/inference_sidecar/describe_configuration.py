"""Prints every variable the sidecar and its engines read, as JSON, for the generated documents.

Called by `npm run generate` as `python -m inference_sidecar.describe_configuration`.
"""

from __future__ import annotations

import json
import sys

from pydantic_settings import BaseSettings

from inference_sidecar.config import SidecarConfig
from inference_sidecar.engines.registry import ENGINES, settings_class
from inference_sidecar.foundation.settings import is_secret


def describe(settings: type[BaseSettings], reader: str) -> list[dict[str, str | bool | None]]:
    """Describes each field; `fallback` is None where there is no default to show.

    A secret may also be given as `NAME_FILE`, the path of a file.
    """
    return [
        {
            "name": name.upper(),
            "description": field.description or "",
            "fallback": None
            if field.is_required() or field.default is None
            else str(field.default),
            "reader": reader,
            "isSecret": is_secret(field),
            "isRequired": field.is_required(),
        }
        for name, field in settings.model_fields.items()
    ]


def main() -> None:
    """Prints the sidecar's own variables first, then those of each engine that reads any."""
    variables = describe(SidecarConfig, "sidecar")
    for name in ENGINES:
        settings = settings_class(name)
        if settings is not None:
            variables += describe(settings, f"sidecar ({name})")
    sys.stdout.write(json.dumps(variables))


if __name__ == "__main__":
    main()
