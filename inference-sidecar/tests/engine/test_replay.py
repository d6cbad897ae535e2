"""The replay command: from files to frames, with weights in the published layout."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from inference_sidecar.engines.infinitetalk.checkpoints.layout import (
    BASE,
    CODEC_WEIGHTS,
    IMAGE_WEIGHTS,
    SHARDS,
)
from inference_sidecar.engines.infinitetalk.upstream_checks import replay as replay_module
from inference_sidecar.engines.infinitetalk.upstream_checks.parity import (
    write_portrait,
    write_voice,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.replay import main
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.folder import (
    write_tiny_weights,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import TinySizes

OTHER_SIZES = TinySizes(
    dim=32,
    heads=4,
    layers=1,
    ffn=40,
    text_tokens=24,
    text_dim=24,
    text_heads=2,
    text_layers=1,
    audio_tokens=3,
    image_layers=2,
    image_hidden=64,
    codec_width=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    write_tiny_weights(folder / "weights", OTHER_SIZES, seed=3)
    write_portrait(folder / "portrait.png")
    write_voice(folder / "voice.wav", 34)
    write_voice(folder / "short.wav", 6)
    return folder


def replayed(folder: Path, **options: str | None) -> np.ndarray:
    out = folder / "frames.npy"
    given = {
        "weights": str(folder / "weights"),
        "image": str(folder / "portrait.png"),
        "audio": str(folder / "voice.wav"),
        "mode": "streaming",
        "size": "32x48",
        "frames": "21",
        "motion": "9",
        "steps": "2",
        "shift": "5",
        "text-guide": "1",
        "audio-guide": "1",
        "color": "0.5",
        "seed": "11",
        "prompt": "a man",
        "out": str(out),
    }
    named = {name: value for name, value in (given | options).items() if value is not None}
    arguments = [
        part for name, value in named.items() for part in (f"--{name}", value) if part != ""
    ]
    assert main(arguments) == 0
    return np.load(out)


def test_it_renders_a_whole_voice_with_weights_of_any_size(folder: Path) -> None:
    frames = replayed(folder)
    assert frames.dtype == np.float32
    assert frames.shape == (3, 34, 32, 48)
    assert np.abs(frames).max() <= 1
    assert frames.std() > 0.05
    clip = replayed(folder, mode="clip")
    assert np.array_equal(clip, frames[:, :21])


def test_it_renders_two_voices_over_a_video(folder: Path) -> None:
    film = folder / "film.npy"
    drawn = np.random.default_rng(2).integers(0, 255, (20, 60, 80, 3))
    np.save(film, drawn.astype(np.uint8))
    short = str(folder / "short.wav")
    two = {"image": None, "video": str(film), "audio2": short, "mode": "clip"}
    boxes = "0,0,50,30 10,40,60,80"
    frames = replayed(folder, boxes=boxes, multi="", **two)
    assert frames.shape == (3, 21, 32, 48)
    assert not np.array_equal(frames, replayed(folder, multi="", **two))
    assert not np.array_equal(frames, replayed(folder, boxes=boxes, **two))
    silent = replayed(folder, multi="", silent="2", mode="clip")
    assert not np.array_equal(silent, replayed(folder, multi="", silent="1", mode="clip"))
    in_turn = replayed(folder, audio2=short, speaking="in_turn", multi="")
    # Two half frames are one.
    assert in_turn.shape == (3, 41, 32, 48)


def test_a_voice_shorter_than_a_window_is_padded_and_the_video_cut(folder: Path) -> None:
    short = str(folder / "short.wav")
    assert replayed(folder, audio=short).shape == (3, 6, 32, 48)
    assert replayed(folder, audio=short, mode="clip").shape == (3, 6, 32, 48)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (CODEC_WEIGHTS, pickle.dumps({"encoder.conv1.weight": Path("/")}, protocol=2)),
        (CODEC_WEIGHTS, b"PK, or not"),
        (IMAGE_WEIGHTS, pickle.dumps({}, protocol=2)),
        (SHARDS[2], b"\x10" * 64),
    ],
    ids=["an object", "no archive", "no tensors", "no header"],
)
def test_damaged_or_dangerous_weights_end_in_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(folder / "weights", weights, copy_function=os.link)
    (weights / BASE / name).unlink()
    (weights / BASE / name).write_bytes(content)
    files = ["--image", str(folder / "portrait.png"), "--audio", str(folder / "voice.wav")]
    where = ["--out", str(tmp_path / "x.npy"), "--size", "32x48"]
    assert main(["--weights", str(weights), *files, *where]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("replay: ")
    assert not (tmp_path / "x.npy").exists()


def test_streaming_stops_after_a_thousand_frames_by_default(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert replay_module._MOST_FRAMES == 1_000
    whole = replayed(folder)
    capsys.readouterr()
    cut = replayed(folder, **{"max-frames": "26"})
    assert np.array_equal(cut, whole[:, :26])
    assert "lasts 34 frames, of which 26 are rendered" in capsys.readouterr().err
    monkeypatch.setattr(replay_module, "_MOST_FRAMES", 27)
    assert replayed(folder).shape[1] == 27


def test_an_interrupted_replay_leaves_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    replayed(folder, mode="clip")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(replay_module.Uninterrupted, "progress", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replayed(folder, mode="clip")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_negative_seed_draws_a_random_one_and_prints_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = replayed(folder, mode="clip", seed="-1")
    told = re.search(r"The seed is (\d+)\.", capsys.readouterr().err)
    assert told
    assert np.array_equal(replayed(folder, mode="clip", seed=told[1]), random)
    assert not np.array_equal(replayed(folder, mode="clip", seed="-1"), random)


def test_inputs_that_cannot_be_rendered_end_in_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--image", str(folder / "portrait.png"), "--audio", str(folder / "voice.wav")]
    where = ["--out", str(folder / "x.npy"), "--size", "32x48"]
    assert main(["--weights", "/nowhere", *files, *where]) == 2
    assert "missing from the published layout" in capsys.readouterr().err
    assert main(["--weights", str(folder / "weights"), *files, *where, "--color", "2"]) == 2
    assert "colour strength" in capsys.readouterr().err
    here = ["--weights", str(folder / "weights"), *where]
    for options, complaint in (
        (["--audio", str(folder / "voice.wav")], "an image or a video"),
        ([*files, "--audio2", str(folder / "short.wav"), "--silent", "1"], "has no audio"),
        ([*files, "--boxes", "0,0,1,1 2,2,3,3"], "tell two people apart"),
    ):
        assert main([*here, *options]) == 2
        assert complaint in capsys.readouterr().err
