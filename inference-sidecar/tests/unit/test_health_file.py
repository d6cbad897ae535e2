"""What the health command reads in the file that each heartbeat writes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from inference_sidecar.store.health_file import HealthFile


def test_a_fresh_file_without_an_obstacle_is_alive_and_ready(tmp_path: Path) -> None:
    file = HealthFile(tmp_path)
    file.write(None, 10)
    assert file.find_problem(is_live_enough=True) is None
    assert file.find_problem(is_live_enough=False) is None
    assert [path.name for path in tmp_path.iterdir()] == ["health.json"]


def test_an_obstacle_is_a_problem_unless_being_alive_is_enough(tmp_path: Path) -> None:
    file = HealthFile(tmp_path)
    file.write("the engine is not loaded", 10)
    assert file.find_problem(is_live_enough=True) is None
    assert "the engine is not loaded" in str(file.find_problem(is_live_enough=False))


@pytest.mark.parametrize("offset_seconds", [-11, 3600])
def test_a_file_of_another_time_is_not_alive(tmp_path: Path, offset_seconds: float) -> None:
    file = HealthFile(tmp_path)
    file.write(None, 10)
    then = time.time() + offset_seconds
    os.utime(tmp_path / "health.json", (then, then))
    assert "s old" in str(file.find_problem(is_live_enough=True))


@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_without_a_readable_file_nothing_is_alive(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "health.json").write_bytes(content)
    assert "no heartbeat" in str(HealthFile(tmp_path).find_problem(is_live_enough=True))


def test_a_removed_file_is_not_alive_and_may_be_removed_again(tmp_path: Path) -> None:
    file = HealthFile(tmp_path)
    file.write(None, 10)
    file.remove()
    file.remove()
    assert file.find_problem(is_live_enough=True) is not None


def test_a_full_disk_does_not_make_the_sidecar_look_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = HealthFile(tmp_path)
    file.write(None, 10)
    os.utime(tmp_path / "health.json", (0, 0))

    def no_room(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", no_room)
    file.write(None, 10)
    assert file.find_problem(is_live_enough=True) is None
