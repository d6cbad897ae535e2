"""Messages that the sidecar has no model for are checked against their JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from inference_sidecar.foundation import contracts

_CONTRACTS = Path(__file__).parents[3] / "contracts"


def _fixtures(kind: str) -> list[Path]:
    """The messages without a model; `test_contract_fixtures` checks the others."""
    files = sorted((_CONTRACTS / "fixtures" / kind).iterdir())
    return [file for file in files if not hasattr(contracts, _schema_of(file))]


def _schema_of(file: Path) -> str:
    return json.loads(file.read_text())["schema"]


def _is_accepted(file: Path) -> bool:
    fixture: dict[str, Any] = json.loads(file.read_text())
    schema = json.loads((_CONTRACTS / "schema" / f"{fixture['schema']}.json").read_text())
    return Draft202012Validator(schema).is_valid(fixture["message"])  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("file", _fixtures("valid"), ids=lambda file: file.stem)
def test_accepts(file: Path) -> None:
    assert _is_accepted(file)


@pytest.mark.parametrize("file", _fixtures("invalid"), ids=lambda file: file.stem)
def test_refuses(file: Path) -> None:
    assert not _is_accepted(file)


def test_every_shape_is_read_by_a_model_or_by_its_schema() -> None:
    without_model: set[str] = set()
    for file in (_CONTRACTS / "schema").iterdir():
        Draft202012Validator.check_schema(json.loads(file.read_text()))
        if not hasattr(contracts, file.stem):
            without_model.add(file.stem)
    for kind in ("valid", "invalid"):
        assert {_schema_of(file) for file in _fixtures(kind)} == without_model
