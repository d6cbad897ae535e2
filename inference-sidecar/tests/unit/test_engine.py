"""The values of the engine protocol."""

from dataclasses import replace
from pathlib import Path

import pytest

from inference_sidecar.engines.engine import (
    DELIVERY_SIZES,
    SIZE_CLASSES,
    Plan,
    RenderRequest,
    ResumeState,
    Size,
    fingerprint_of,
    frames_for,
    next_smaller,
    split_frames,
)
from inference_sidecar.foundation.errors import Cancelled, ResumeRefused, SidecarError

PLAN = Plan(Size(64, 36), Size(1280, 720), (25, 5), 1.0, "720p")


@pytest.fixture
def request_on_disk(tmp_path: Path) -> RenderRequest:
    image, audio = tmp_path / "portrait.png", tmp_path / "voice.wav"
    image.write_bytes(b"picture")
    audio.write_bytes(b"sound")
    return RenderRequest("job", image, audio, "a prompt", 1, DELIVERY_SIZES[0], 30)


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0.0, 1), (0.01, 1), (1.0, 25), (7.1, 178), (3.29, 82)]
)
def test_a_video_is_as_long_as_its_audio_to_the_nearest_frame(seconds: float, frames: int) -> None:
    assert frames_for(seconds) == frames


def test_chunks_add_up_to_the_video_and_the_last_one_may_be_shorter() -> None:
    assert split_frames(60, 25) == (25, 25, 10)
    assert split_frames(50, 25) == (25, 25)
    assert split_frames(3, 25) == (3,)


def test_size_classes_step_down_to_the_smallest() -> None:
    assert [next_smaller(name) for name in SIZE_CLASSES] == ["480p", "352p", "352p", None]


def test_the_fingerprint_of_a_render_does_not_depend_on_paths(
    request_on_disk: RenderRequest, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(request_on_disk.image.read_bytes())
    other = replace(request_on_disk, job_id="another", image=moved)
    assert fingerprint_of(other, PLAN, "w") == fingerprint_of(request_on_disk, PLAN, "w")


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "b"},
        {"seed": 2},
        {"frames": 29},
    ],
)
def test_another_request_has_another_fingerprint(
    request_on_disk: RenderRequest, change: dict[str, object]
) -> None:
    other = replace(request_on_disk, **change)  # pyright: ignore[reportArgumentType]
    assert fingerprint_of(other, PLAN, "w") != fingerprint_of(request_on_disk, PLAN, "w")


def test_other_media_plans_and_weights_have_another_fingerprint(
    request_on_disk: RenderRequest,
) -> None:
    before = fingerprint_of(request_on_disk, PLAN, "w")
    smaller = replace(PLAN, generation=Size(32, 18))
    assert fingerprint_of(request_on_disk, smaller, "w") != before
    assert fingerprint_of(request_on_disk, PLAN, "v") != before
    request_on_disk.audio.write_bytes(b"another sound")
    assert fingerprint_of(request_on_disk, PLAN, "w") != before


def test_a_resume_state_can_be_written_and_read() -> None:
    state = ResumeState(3, b"\x00opaque\nbytes", "abc")
    assert ResumeState.from_bytes(state.to_bytes()) == state


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"[1]\nstate", b'{"nextChunk": 1}'])
def test_a_damaged_resume_state_is_refused(content: bytes) -> None:
    with pytest.raises(ResumeRefused):
        ResumeState.from_bytes(content)


def test_a_resume_state_of_another_render_is_refused() -> None:
    state = ResumeState(1, b"", "mine")
    state.require("mine")
    with pytest.raises(ResumeRefused):
        state.require("yours")


def test_a_cancellation_is_not_a_failure() -> None:
    assert not issubclass(Cancelled, SidecarError)


def test_an_error_carries_its_code_and_its_context() -> None:
    error = ResumeRefused(context={"chunk": 2})
    assert (str(error), error.code, error.context) == (
        "RENDER_FAILED",
        "RENDER_FAILED",
        {"chunk": 2},
    )
