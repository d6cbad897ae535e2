"""The engine over tiny weights: plans, renders, and every way a render can end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from inference_sidecar.engines.engine import (
    FPS,
    Box,
    How,
    Plan,
    RenderRequest,
    ResumeState,
    Size,
    Voice,
)
from inference_sidecar.engines.infinitetalk.capacity.device import Device
from inference_sidecar.engines.infinitetalk.engine import InfiniteTalkEngine
from inference_sidecar.engines.infinitetalk.loading.loaded_model import LoadedModel
from inference_sidecar.engines.infinitetalk.loading.warm_up import toucher
from inference_sidecar.engines.infinitetalk.recipes import RECIPES, SamplingRefused
from inference_sidecar.engines.infinitetalk.sampling.interfaces import Conditions, Text
from inference_sidecar.foundation.errors import (
    AudioUnreadable,
    Cancelled,
    DeadlineExceeded,
    GpuOutOfMemory,
    ImageUnreadable,
    RenderFailed,
    ResumeRefused,
    SpeakerNotFound,
)
from stage.tiny_engine import (
    Watched,
    a_request,
    tiny_loaded_model,
    tiny_settings,
    write_voice,
)

THREE_CHUNKS = 41


def frames_of(engine: InfiniteTalkEngine, request: RenderRequest, plan: Plan) -> np.ndarray:
    chunks = list(engine.render(request, plan, Watched(), None))
    return np.concatenate([chunk.frames for chunk in chunks])


def test_a_job_becomes_windows_that_add_up_to_its_frames(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    plan = loaded.plan(a_request(tmp_path, THREE_CHUNKS))
    assert plan.chunks == (17, 12, 12)
    assert plan.size_class == "480p"
    assert (plan.generation, plan.delivery) == (Size(48, 32), Size(96, 54))


def test_three_chunks_follow_the_plan_and_progress_covers_every_forward(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    request = a_request(tmp_path, THREE_CHUNKS)
    plan = loaded.plan(request)
    control = Watched()
    chunks = list(loaded.render(request, plan, control, None))
    assert [len(chunk.frames) for chunk in chunks] == list(plan.chunks)
    assert all(chunk.frames.dtype == np.uint8 for chunk in chunks)
    assert all(chunk.frames.shape[1:] == (32, 48, 3) for chunk in chunks)
    assert control.fractions == sorted(control.fractions)
    assert control.fractions[-1] == 1
    forwards = len(plan.chunks) * 2
    assert len(set(control.fractions)) >= forwards
    assert control.looks >= forwards


def test_resuming_at_the_second_chunk_gives_the_same_bits(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    request = a_request(tmp_path, THREE_CHUNKS)
    plan = loaded.plan(request)
    whole = list(loaded.render(request, plan, Watched(), None))
    kept = ResumeState(1, whole[0].state, loaded.fingerprint(request, plan)).to_bytes()
    rest = list(loaded.render(request, plan, Watched(), ResumeState.from_bytes(kept)))
    assert [chunk.index for chunk in rest] == [1, 2]
    for resumed, unbroken in zip(rest, whole[1:], strict=True):
        assert np.array_equal(resumed.frames, unbroken.frames)


@pytest.mark.parametrize(
    "changed",
    [
        {"infinitetalk_steps": 3},
        {"infinitetalk_shift": 3.0},
        {"infinitetalk_audio_guide": 2.0},
        {"infinitetalk_prompt": "another", "request": {"prompt": ""}},
    ],
)
def test_a_resume_state_of_other_settings_is_refused(
    tiny_model: LoadedModel, loaded: InfiniteTalkEngine, tmp_path: Path, changed: dict[str, Any]
) -> None:
    request = a_request(tmp_path, 20, **changed.get("request", {}))
    settings = {name: value for name, value in changed.items() if name != "request"}
    other = InfiniteTalkEngine(tiny_settings(**settings), lambda *_: tiny_model)
    other.load()
    plan = loaded.plan(request)
    assert other.fingerprint(request, plan) != loaded.fingerprint(request, plan)
    foreign = ResumeState(1, b"", other.fingerprint(request, plan))
    with pytest.raises(ResumeRefused):
        next(loaded.render(request, plan, Watched(), foreign))


def test_one_second_of_voice_is_padded_for_the_model_and_the_video_cut_back(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    engine = loaded
    request = a_request(tmp_path, 10)
    plan = engine.plan(request)
    assert plan.chunks == (10,)
    assert frames_of(engine, request, plan).shape == (10, 32, 48, 3)


def test_a_voice_of_a_single_frame_is_rendered(loaded: InfiniteTalkEngine, tmp_path: Path) -> None:
    voice = write_voice(tmp_path / "blip.wav", 0.02)
    request = a_request(tmp_path, 1, audio=voice)
    assert len(frames_of(loaded, request, loaded.plan(request))) == 1


def test_sound_after_the_last_frame_changes_nothing(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    """The recording may end up to half a frame after the video, and that must not move the lips."""
    request = a_request(tmp_path, 20)
    longer = a_request(tmp_path, 20, audio=write_voice(tmp_path / "longer.wav", 20.4 / FPS))
    assert frames_of(loaded, request, loaded.plan(request)).shape == (20, 32, 48, 3)
    assert frames_of(loaded, longer, loaded.plan(longer)).shape == (20, 32, 48, 3)


def test_the_frames_depend_on_the_seed_and_the_voice(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    request = a_request(tmp_path, 17)
    plan = loaded.plan(request)
    first = frames_of(loaded, request, plan)
    assert np.array_equal(first, frames_of(loaded, request, plan))
    assert not np.array_equal(first, frames_of(loaded, replace(request, seed=8), plan))
    silent = tmp_path / "silent.wav"
    write_voice(silent, 17 / FPS)
    silent.write_bytes(silent.read_bytes()[:44] + bytes(17 * 640 * 2))
    assert not np.array_equal(first, frames_of(loaded, replace(request, audio=silent), plan))


def test_an_empty_prompt_means_the_configured_one(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    request = a_request(tmp_path, 17, prompt="  ")
    plan = loaded.plan(request)
    said = replace(request, prompt=tiny_settings().infinitetalk_prompt)
    assert np.array_equal(frames_of(loaded, request, plan), frames_of(loaded, said, plan))
    assert loaded.fingerprint(request, plan) != loaded.fingerprint(
        replace(request, prompt="a man is singing"), plan
    )


def test_transparent_portraits_are_flattened_on_white_and_rotated_ones_turned_upright(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (64, 48), (255, 0, 0, 0)).save(clear)
    white = tmp_path / "white.png"
    Image.new("RGB", (64, 48), "white").save(white)
    plan = loaded.plan(a_request(tmp_path, 17))
    request = a_request(tmp_path, 17, image=clear)
    same = frames_of(loaded, replace(request, image=white), plan)
    assert np.array_equal(frames_of(loaded, request, plan), same)


def test_a_picture_without_a_face_is_filmed_with_a_warning(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    blank = tmp_path / "blank.png"
    Image.new("RGB", (640, 360), "grey").save(blank)
    request = a_request(tmp_path, 17, image=blank)
    plan = loaded.plan(request)
    assert [warning.code for warning in plan.warnings] == ["FACE_NOT_FOUND"]
    assert frames_of(loaded, request, plan).shape == (17, 32, 48, 3)


def test_the_plan_carries_what_the_engine_doubts(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    warnings = loaded.plan(a_request(tmp_path, 17)).warnings
    # The tiny model generates 48x32 pixels.
    assert [warning.code for warning in warnings] == ["FACE_SMALL"]


@pytest.mark.parametrize("error", [Cancelled, DeadlineExceeded])
def test_a_cancelled_render_ends_within_a_forward_and_the_next_one_is_complete(
    loaded: InfiniteTalkEngine, tmp_path: Path, error: type[Exception]
) -> None:
    request = a_request(tmp_path, THREE_CHUNKS)
    plan = loaded.plan(request)
    whole = frames_of(loaded, request, plan)
    looks = Watched()
    list(loaded.render(request, plan, looks, None))
    for stop_at in range(1, looks.looks, 3):
        control = Watched(looks_left=stop_at, error=error)
        with pytest.raises(error):
            list(loaded.render(request, plan, control, None))
        assert control.looks == stop_at + 1
    assert np.array_equal(frames_of(loaded, request, plan), whole)


def test_closing_the_render_frees_what_it_holds(loaded: InfiniteTalkEngine, tmp_path: Path) -> None:
    request = a_request(tmp_path, THREE_CHUNKS)
    chunks = loaded.render(request, loaded.plan(request), Watched(), None)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(chunks)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("image", b"no picture", ImageUnreadable),
        ("image", b"\x89PNG\r\n\x1a\n cut off", ImageUnreadable),
        ("audio", b"RIFF no sound", AudioUnreadable),
        ("audio", b"", AudioUnreadable),
    ],
)
def test_unreadable_media_are_an_input_error(
    loaded: InfiniteTalkEngine, tmp_path: Path, name: str, content: bytes, error: type[Exception]
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    request = a_request(tmp_path, 17, **{name: broken})
    with pytest.raises(error):
        list(loaded.render(request, loaded.plan(request), Watched(), None))


class HungryDenoiser:
    """Runs out of memory at a given forward."""

    def __init__(self, real: Any, forwards_left: int) -> None:
        self.real, self.forwards_left = real, forwards_left
        self.conditioned: Any = None

    def condition(self, conditions: Conditions) -> HungryDenoiser:
        self.conditioned = self.real.condition(conditions)
        return self

    def embed_audio(self, voices: Tensor) -> Tensor:
        return self.conditioned.embed_audio(voices)

    def predict(self, latent: Tensor, timestep: float, text: Text, audio: Tensor) -> Tensor:
        self.forwards_left -= 1
        if self.forwards_left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return self.conditioned.predict(latent, timestep, text, audio)


def test_running_out_of_memory_has_a_failure_code_and_leaves_a_healthy_engine(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    hungry = HungryDenoiser(tiny_model.models.denoiser, 1000)
    parts = replace(tiny_model, models=replace(tiny_model.models, denoiser=hungry))
    engine = InfiniteTalkEngine(tiny_settings(), lambda *_: parts)
    engine.load()
    request = a_request(tmp_path, THREE_CHUNKS)
    plan = engine.plan(request)
    hungry.forwards_left = 3
    chunks = engine.render(request, plan, Watched(), None)
    assert next(chunks).index == 0
    with pytest.raises(GpuOutOfMemory) as caught:
        next(chunks)
    assert caught.value.context["sizeClass"] == "480p"
    assert caught.value.__context__ is None
    hungry.forwards_left = 1000
    assert len(frames_of(engine, request, engine.plan(request, "352p"))) == THREE_CHUNKS


def test_a_size_that_cannot_fit_is_refused_before_rendering(
    loaded: InfiniteTalkEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = a_request(tmp_path, 17)
    plan = loaded.plan(request)
    monkeypatch.setattr(Device, "free_bytes", lambda _device: 2**20)
    control = Watched()
    with pytest.raises(GpuOutOfMemory, match=r"48x32 needs .* GiB"):
        list(loaded.render(request, plan, control, None))
    assert control.looks == 0


def test_loading_fails_on_a_device_that_is_too_small(tiny_model: LoadedModel) -> None:
    engine = InfiniteTalkEngine(tiny_settings(infinitetalk_memory_gib=0.001), lambda *_: tiny_model)
    with pytest.raises(GpuOutOfMemory, match="INFINITETALK_SIZE"):
        engine.load()


def test_the_estimate_is_the_measured_pace_times_the_chunks(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    short, long = (loaded.plan(a_request(tmp_path, frames)) for frames in (17, THREE_CHUNKS))
    per_chunk = (long.estimated_seconds - short.estimated_seconds) / 2
    assert per_chunk > 0
    assert short.estimated_seconds > per_chunk
    smaller = loaded.plan(a_request(tmp_path, 17), "352p")
    assert smaller.estimated_seconds < short.estimated_seconds


def test_readiness_reports_what_was_found(tiny_model: LoadedModel) -> None:
    readiness = InfiniteTalkEngine(tiny_settings(), lambda *_: tiny_model).load()
    assert (readiness.device, readiness.precision, readiness.attention_backend) == (
        "cpu",
        "fp32",
        "cpu",
    )
    assert readiness.seconds_per_video_second > 0
    assert readiness.details["calibratedAt"] == "48x32"
    assert readiness.details["steps"] == "2 in 2 forwards, uniform grid"
    assert readiness.details["sampling"] == "as the weights were trained"


def test_while_idle_every_other_aspect_is_touched_once(tiny_model: LoadedModel) -> None:
    touched: list[Size] = []
    model = replace(tiny_model, touch=lambda size, _settings: touched.append(size))
    engine = InfiniteTalkEngine(tiny_settings(), lambda *_: model)
    engine.load()
    assert len(list(engine.warm_up())) == 2
    assert touched == [Size(32, 48), Size(32, 32)]
    # Nothing is prepared per size on a CPU.
    plain = InfiniteTalkEngine(tiny_settings(), lambda *_: tiny_model)
    plain.load()
    assert list(plain.warm_up()) == []


def test_touching_a_size_runs_the_model_and_leaves_nothing(
    tiny_model: LoadedModel, loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    request = a_request(tmp_path, 17)
    plan = loaded.plan(request)
    before = frames_of(loaded, request, plan)
    denoiser: Any = tiny_model.models.denoiser
    settings = tiny_settings().render_settings(tiny_model.recipe)
    toucher(denoiser, tiny_model.codec)(Size(32, 48), settings)
    assert np.array_equal(frames_of(loaded, request, plan), before)


def test_guidance_takes_more_forwards_and_readiness_reports_them(
    tiny_model: LoadedModel, tmp_path: Path
) -> None:
    engine = InfiniteTalkEngine(
        tiny_settings(
            infinitetalk_text_guide=3.0, infinitetalk_audio_guide=2.0, infinitetalk_sampling="any"
        ),
        lambda *_: tiny_model,
    )
    # The voice guides the first half of the steps: three forwards, then two.
    details = engine.load().details
    assert details["steps"] == "2 in 5 forwards, uniform grid"
    assert "INFINITETALK_TEXT_GUIDE=3 blurs" in details["sampling"]
    request = a_request(tmp_path, 17)
    control = Watched()
    list(engine.render(request, engine.plan(request), control, None))
    assert len(set(control.fractions)) == 1 + 5 + 1


def test_settings_that_contradict_the_weights_stop_the_start_in_one_sentence(
    tiny_model: LoadedModel,
) -> None:
    undistilled = replace(tiny_model, recipe=RECIPES["undistilled"])
    engine = InfiniteTalkEngine(tiny_settings(infinitetalk_steps=19), lambda *_: undistilled)
    with pytest.raises(SamplingRefused, match=r"INFINITETALK_STEPS=19 is too few .*=any\.$"):
        engine.load()


def test_the_published_folder_decides_what_is_rendered(
    tiny_folder: Path, loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    again = InfiniteTalkEngine(tiny_settings(), lambda *_: tiny_loaded_model(tiny_folder))
    again.load()
    request = a_request(tmp_path, 17)
    plan = loaded.plan(request)
    assert np.array_equal(frames_of(again, request, plan), frames_of(loaded, request, plan))


@pytest.fixture(scope="module")
def for_two(tiny_folder: Path) -> InfiniteTalkEngine:
    """An engine with the audio branch for two voices."""
    model = tiny_loaded_model(tiny_folder, is_multi=True)
    engine = InfiniteTalkEngine(tiny_settings(), lambda *_: model)
    engine.load()
    return engine


def test_two_voices_speak_where_they_belong_and_when_they_start(
    for_two: InfiniteTalkEngine, loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    boxes = (Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0))
    first = write_voice(tmp_path / "first.wav", 0.4)
    second = write_voice(tmp_path / "second.wav", 0.3)

    def a_dialogue(*starts: float, swap: bool = False) -> np.ndarray:
        paths = (second, first) if swap else (first, second)
        voices = tuple(Voice(path, start) for path, start in zip(paths, starts, strict=True))
        how = How(speakers=boxes)
        request = a_request(tmp_path, 17, voices=voices, how=how)
        return frames_of(for_two, request, for_two.plan(request))

    together = a_dialogue(0.0, 0.0)
    assert together.shape == (17, 32, 48, 3)
    assert not np.array_equal(together, a_dialogue(0.0, 0.0, swap=True))
    assert not np.array_equal(together, a_dialogue(0.0, 0.3))

    request = a_request(tmp_path, 17, voices=(Voice(first), Voice(second)))
    with pytest.raises(RenderFailed, match="two voices is not loaded"):
        loaded.plan(request)
    with pytest.raises(SpeakerNotFound, match="two people speak"):
        for_two.plan(request)


def test_a_voice_of_its_own_drives_the_lips_and_the_delivered_sound_does_not(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    usual = a_request(tmp_path, 17)
    music = write_voice(tmp_path / "music.wav", 17 / FPS, rate=8_000)
    driven = replace(usual, audio=music, voices=(Voice(usual.audio),))
    plan = loaded.plan(usual)
    assert np.array_equal(frames_of(loaded, driven, plan), frames_of(loaded, usual, plan))
    late = replace(driven, voices=(Voice(usual.audio, 0.2),))
    assert not np.array_equal(frames_of(loaded, late, plan), frames_of(loaded, usual, plan))


def test_expressiveness_changes_what_the_voice_adds(
    loaded: InfiniteTalkEngine, tmp_path: Path
) -> None:
    usual = a_request(tmp_path, 17)
    plan = loaded.plan(usual)
    lively = replace(usual, how=How(expressiveness=1.5))
    assert not np.array_equal(frames_of(loaded, lively, plan), frames_of(loaded, usual, plan))
    assert loaded.fingerprint(lively, plan) != loaded.fingerprint(usual, plan)


def test_an_engine_that_is_not_loaded_refuses_to_work(tmp_path: Path) -> None:
    engine = InfiniteTalkEngine(tiny_settings())
    with pytest.raises(RuntimeError, match="load"):
        engine.plan(a_request(tmp_path, 17))
