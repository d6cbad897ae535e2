"""A hub that misbehaves on request, a second origin, and a volume to fetch to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stage.hub import LARGE, SMALL, FakeHub, World, serving


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    files = {"large.bin": LARGE, "folder/small.json": SMALL}
    with serving(FakeHub(files=files)) as hub:
        yield hub


@pytest.fixture
def other_host() -> Iterator[FakeHub]:
    """A second origin, like the one where the hub stores its bytes."""
    with serving(FakeHub()) as hub:
        yield hub


@pytest.fixture
def world(tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> World:
    # The tests write little, and this machine may be fuller than a volume should be.
    monkeypatch.setattr("inference_sidecar.weights.volume.RESERVE_BYTES", 0)
    volume = tmp_path / "volume"
    volume.mkdir()
    world = World(volume, tmp_path / "manifest.toml", hub)
    world.write_manifest('path = "large.bin"', 'path = "folder/small.json"')
    return world
