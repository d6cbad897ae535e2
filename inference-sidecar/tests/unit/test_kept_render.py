"""What is kept of an interrupted render can be read again, or is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_sidecar.engines.engine import ResumeState
from inference_sidecar.rendering.kept_render import KeptRender


def test_reads_what_was_written_last(tmp_path: Path) -> None:
    KeptRender("720p", False, ResumeState(1, b"old", "f")).write(tmp_path)
    kept = KeptRender("480p", True, ResumeState(2, b"line\nof bytes \x00", "f"))
    kept.write(tmp_path)
    assert KeptRender.read(tmp_path) == kept
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json\n{}",
        b"[]\n",
        b'{"sizeClass": "720p"}\n',
        b'{"sizeClass":"a","isDegraded":1}\n{}\n',
    ],
)
def test_a_file_that_cannot_be_parsed_is_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept").write_bytes(content)
    assert KeptRender.read(tmp_path) is None


def test_a_missing_file_is_ignored(tmp_path: Path) -> None:
    assert KeptRender.read(tmp_path / "absent") is None
