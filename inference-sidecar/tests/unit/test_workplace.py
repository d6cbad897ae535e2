"""The folder of one worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_sidecar.store.workplace import FolderInUse, Workplace


def test_the_worker_id_is_made_once_and_kept(tmp_path: Path) -> None:
    first = Workplace(tmp_path)
    name = first.worker_id(None)
    first.close()

    assert Workplace(tmp_path).worker_id(None) == name
    assert name.replace("-", "").isalnum()


def test_a_configured_worker_id_is_used(tmp_path: Path) -> None:
    assert Workplace(tmp_path).worker_id("w7") == "w7"


def test_a_second_worker_is_rejected_until_the_first_is_gone(tmp_path: Path) -> None:
    first = Workplace(tmp_path)
    with pytest.raises(FolderInUse):
        Workplace(tmp_path)
    first.close()
    Workplace(tmp_path).close()


def test_unfinished_work_is_deleted_at_the_start_and_renders_are_kept(tmp_path: Path) -> None:
    first = Workplace(tmp_path)
    (first.begin("j", 1) / "image").write_bytes(b"x")
    kept = tmp_path / "renders" / "kept"
    kept.mkdir()
    first.close()

    Workplace(tmp_path)

    assert list((tmp_path / "work").iterdir()) == []
    assert kept.exists()


def test_each_attempt_begins_with_an_empty_folder(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path)
    (workplace.begin("j", 1) / "image").write_bytes(b"x")
    folder = workplace.begin("j", 1)
    assert list(folder.iterdir()) == []
    workplace.end(folder)
    assert not folder.exists()
