"""A render is spooled completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_sidecar.foundation.contracts import FrameSize, Rendered
from inference_sidecar.store.spool import Spool, SpooledRender, sha256_of

JOB = "b4a1c2f0-5c1d-4a59-8f5e-2f8c7d1e0a11"
VIDEO = b"not really a video"


def a_render(epoch: int = 1) -> SpooledRender:
    size = FrameSize(width=1280, height=720)
    return SpooledRender(
        job_id=JOB,
        owner="acme",
        epoch=epoch,
        traceparent=f"00-{'1' * 32}-{'2' * 16}-01",
        deadline_seconds=600,
        rendered=Rendered(
            key=f"jobs/{JOB}/out/{epoch}/video.mp4",
            bytes=len(VIDEO),
            sha256="c" * 64,
            width=1280,
            height=720,
            frames=25,
            fps=25,
            video_seconds=1,
            engine="null",
            generation=size,
            degraded=False,
            render_seconds=0.5,
        ),
        render_started_at_ms=1,
        render_ended_at_ms=2,
    )


def a_video(tmp_path: Path) -> Path:
    file = tmp_path / "work.mp4"
    file.write_bytes(VIDEO)
    return file


def test_a_spooled_render_is_read_after_a_restart(tmp_path: Path) -> None:
    Spool(tmp_path / "spool").add(a_render(), a_video(tmp_path))

    spool = Spool(tmp_path / "spool")

    assert spool.read_all() == [a_render()]
    assert spool.video(JOB).read_bytes() == VIDEO
    assert not (tmp_path / "work.mp4").exists()


def test_a_later_epoch_replaces_an_earlier_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(a_render(1), a_video(tmp_path))
    spool.add(a_render(2), a_video(tmp_path))
    assert [render.epoch for render in spool.read_all()] == [2]


def test_a_removed_render_is_gone_and_removing_twice_is_fine(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(a_render(), a_video(tmp_path))
    spool.remove(JOB)
    spool.remove(JOB)
    assert spool.read_all() == []


@pytest.mark.parametrize("broken", ["no video", "short video", "half a manifest", "not renamed"])
def test_an_incomplete_render_is_deleted(tmp_path: Path, broken: str) -> None:
    spool = Spool(tmp_path / "spool")
    spool.add(a_render(), a_video(tmp_path))
    folder = tmp_path / "spool" / JOB
    if broken == "no video":
        (folder / "video.mp4").unlink()
    elif broken == "short video":
        (folder / "video.mp4").write_bytes(VIDEO[:5])
    elif broken == "half a manifest":
        manifest = folder / "render.json"
        manifest.write_bytes(manifest.read_bytes()[:50])
    else:
        folder.rename(folder.with_name(f"{JOB}.part"))

    assert spool.read_all() == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_failed_add_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with pytest.raises(FileNotFoundError):
        spool.add(a_render(), tmp_path / "absent.mp4")
    assert list((tmp_path / "spool").iterdir()) == []


def test_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    assert sha256_of(file).startswith("ba7816bf8f01cfea")
