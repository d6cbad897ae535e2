"""The engine with source videos, and a camera that moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference_sidecar.engines.engine import How, Plan, RenderRequest, ResumeState, Size
from inference_sidecar.engines.infinitetalk.engine import InfiniteTalkEngine
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.foundation.errors import FaceUnusable
from stage.film import write_film, write_shots
from stage.tiny_engine import EXAMPLES, Watched, a_request, tiny_settings


def frames_of(engine: InfiniteTalkEngine, request: RenderRequest, plan: Plan) -> np.ndarray:
    chunks = list(engine.render(request, plan, Watched(), None))
    return np.concatenate([chunk.frames for chunk in chunks])


def test_each_window_of_a_dubbed_video_shows_its_own_frame(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    video = write_film(tmp_path / "source.mp4", EXAMPLES / "portrait.jpg", frames=14)
    still = a_request(tmp_path, 29)
    dubbed = replace(still, video=video)
    plan = loaded.plan(dubbed)
    assert plan.chunks == (17, 12)
    frames = frames_of(loaded, dubbed, plan)
    assert not np.array_equal(frames, frames_of(loaded, still, plan))
    # Resumed at the second window, its anchor is taken from the video again.
    first, second = loaded.render(dubbed, plan, Watched(), None)
    kept = ResumeState(1, first.state, loaded.fingerprint(dubbed, plan))
    (again,) = loaded.render(dubbed, plan, Watched(), kept)
    assert np.array_equal(again.frames, second.frames)


def test_what_is_cut_from_a_source_video_lies_beside_it(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    # There a worker empties the folder of an attempt, also after its render process was killed.
    video = write_film(tmp_path / "source.mp4", EXAMPLES / "portrait.jpg", frames=14)
    request = replace(a_request(tmp_path, 29), video=video)
    chunks = iter(loaded.render(request, loaded.plan(request), Watched(), None))
    next(chunks)
    assert [path.is_dir() for path in tmp_path.glob("source-*")] == [True]
    list(chunks)
    assert list(tmp_path.glob("source-*")) == []


def test_a_camera_may_move(loaded: InfiniteTalkEngine, tmp_path: Path) -> None:
    still = a_request(tmp_path, 29)
    plan = loaded.plan(still)
    moving = replace(still, how=How(camera="drift"))
    frames, others = (frames_of(loaded, request, plan) for request in (still, moving))
    # It starts at the portrait.
    assert np.abs(frames[:17].astype(int) - others[:17]).max() <= 1
    assert not np.array_equal(frames[17:], others[17:])


def test_each_scene_of_a_source_video_begins_with_a_window_of_its_own(
    loaded: InfiniteTalkEngine, tiny_model: LoadedModel, tmp_path: Path
) -> None:
    video = write_shots(tmp_path / "source.mp4", 30, 40)
    request = a_request(tmp_path, 65, video=video)
    plan = loaded.plan(request)
    assert plan.cuts == (30,)
    assert plan.chunks == (17, 12, 1, 17, 12, 6)
    whole = list(loaded.render(request, plan, Watched(), None))
    assert [len(chunk.frames) for chunk in whole] == list(plan.chunks)
    # Within a scene, where one begins, and in the next one.
    for at in (1, 3, 4):
        kept = ResumeState(at, whole[at - 1].state, loaded.fingerprint(request, plan))
        for again, unbroken in zip(
            loaded.render(request, plan, Watched(), kept), whole[at:], strict=True
        ):
            assert np.array_equal(again.frames, unbroken.frames)
    as_upstream = InfiniteTalkEngine(
        tiny_settings(infinitetalk_at_cuts="nothing"), lambda *_: tiny_model
    )
    as_upstream.load()
    assert as_upstream.plan(request).chunks == (17, 12, 12, 12, 12)


def test_a_portrait_of_another_shape_is_cut_around_its_face(
    loaded: InfiniteTalkEngine, tiny_model: LoadedModel, tmp_path: Path
) -> None:
    portrait = Image.open(EXAMPLES / "portrait.jpg").convert("RGB")

    def at(left: int) -> RenderRequest:
        whole = Image.new("RGB", (1400, 600), "grey")
        whole.paste(portrait, (left, 0))
        path = tmp_path / f"at-{left}.png"
        whole.save(path)
        return a_request(tmp_path, 5, image=path, delivery=Size(54, 96))

    # 875 pixels are 70 in the video: the same pixels are shown, wherever the face is.
    left, right = (frames_of(loaded, at(x), loaded.plan(at(x))) for x in (0, 875))
    assert np.abs(left.astype(int) - right).max() <= 1
    as_upstream = InfiniteTalkEngine(
        tiny_settings(infinitetalk_crop="centre"), lambda *_: tiny_model
    )
    as_upstream.load()
    with pytest.raises(FaceUnusable, match="too far from the middle"):
        as_upstream.plan(at(875))
