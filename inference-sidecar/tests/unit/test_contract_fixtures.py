"""Both languages accept and reject the same messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from inference_sidecar.foundation import contracts

_FOLDER = Path(__file__).parents[3] / "contracts" / "fixtures"


def _fixtures(kind: str) -> list[Path]:
    """The messages that the sidecar has a model for."""
    files = sorted((_FOLDER / kind).iterdir())
    return [file for file in files if hasattr(contracts, json.loads(file.read_text())["schema"])]


def _read(file: Path) -> object:
    fixture = json.loads(file.read_text())
    adapter: TypeAdapter[object] = TypeAdapter(getattr(contracts, fixture["schema"]))
    return adapter.validate_json(json.dumps(fixture["message"]))


@pytest.mark.parametrize("file", _fixtures("valid"), ids=lambda file: file.stem)
def test_accepts(file: Path) -> None:
    _read(file)


@pytest.mark.parametrize("file", _fixtures("invalid"), ids=lambda file: file.stem)
def test_refuses(file: Path) -> None:
    with pytest.raises(ValidationError):
        _read(file)


@pytest.mark.parametrize("file", _fixtures("valid"), ids=lambda file: file.stem)
def test_writes_what_it_read(file: Path) -> None:
    message = json.loads(file.read_text())["message"]
    read = _read(file)
    assert isinstance(read, contracts.WireModel)
    written = json.loads(read.to_json())
    assert written == {key: value for key, value in message.items() if key in written}
    unknown = message.keys() - written.keys()
    assert unknown <= {"colour"}, "only an unknown field may be left out"


def test_there_are_fixtures_of_every_message_of_the_sidecar() -> None:
    shown = {json.loads(file.read_text())["schema"] for file in _fixtures("valid")}
    spoken = {"Beat", "ClaimRequest", "ClaimAnswer", "StoreRequest", "StoreAnswer", "StopOrder"}
    spoken |= {"NextRequest", "NextAnswer", "RequestError"}
    spoken |= {model.__name__ for model in contracts.RenderEvent.__args__}
    assert spoken <= shown
