"""The volume of a fetch: missing, full, in use, or losing power."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights import partial_file
from inference_sidecar.weights.volume import locked
from stage.hub import (
    LARGE,
    FakeHub,
    World,
)
from stage.small_disk import mounted_disk


def test_a_missing_volume_is_not_created(world: World) -> None:
    world.volume.rmdir()
    with pytest.raises(WeightsError, match="does not exist: mount the volume"):
        world.fetch()
    assert not world.volume.exists()


def test_a_file_in_place_of_the_volume_is_reported(world: World) -> None:
    world.volume.rmdir()
    world.volume.write_text("")
    with pytest.raises(WeightsError, match="is no folder"):
        world.fetch()


def test_too_little_space_is_reported_before_any_download(
    world: World, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_sidecar.weights.volume.RESERVE_BYTES", 10**18)
    with pytest.raises(WeightsError, match=r"GB free and 0\.0 GB are still needed.*make room"):
        world.fetch()
    assert hub.ranges_of("large.bin") == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_reported_and_the_part_kept(
    world: World, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    genuine = partial_file.PartialFile.append

    def full(part: partial_file.PartialFile, data: bytes) -> None:
        genuine(part, data[: 50_000 - part.size])
        if part.size == 50_000:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(partial_file.PartialFile, "append", full)
    with pytest.raises(WeightsError, match="is full: make room and run the same command again"):
        world.fetch()
    monkeypatch.setattr(partial_file.PartialFile, "append", genuine)
    world.fetch()
    assert hub.ranges_of("large.bin")[-1] == "bytes=50000-"
    assert world.read("large.bin") == LARGE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk", 200 << 10) as folder:
        yield folder


def test_a_real_disk_that_is_too_small_is_reported(
    world: World, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.volume = small_disk
    with pytest.raises(WeightsError, match="make room, or use a larger volume"):
        world.fetch()
    # As if another process had filled the disk meanwhile.
    monkeypatch.setattr("inference_sidecar.weights.fetch.require_space", lambda *_: None)
    with pytest.raises(WeightsError, match="is full: make room"):
        world.fetch()
    assert 0 < (small_disk / "model/large.bin.part").stat().st_size < len(LARGE)
    assert not (small_disk / "model/large.bin").exists()


def test_a_second_fetch_waits_for_the_first(world: World) -> None:
    waiting = threading.Event()
    with locked(world.volume, lambda: None):
        second = threading.Thread(target=world.fetch)
        second.start()
        while "waiting for it" not in world.said.getvalue():
            assert second.is_alive()
            waiting.wait(0.01)
        assert not (world.volume / "model/large.bin").exists()
    second.join(30)
    assert world.read("large.bin") == LARGE


def test_a_file_is_renamed_only_after_its_content_is_synced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        events.append(("fsync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def noted_replace(draft: Path, path: Path) -> Path:
        events.append(("rename", path.name))
        return replace(draft, path)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    world.fetch()
    at = events.index(("rename", "large.bin"))
    assert ("fsync", "large.bin.part") in events[:at]
    assert ("fsync", "model") in events[at:]
