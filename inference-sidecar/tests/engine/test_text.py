"""Prompts become the tokens that the tokenizer's own file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from inference_sidecar.engines.infinitetalk.checkpoints.layout import PublishedLayout
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_files import read_pickle
from inference_sidecar.engines.infinitetalk.encoders.text import UmT5, read_tokenizer

PROMPTS = (
    "A woman is talking to the camera",
    "a man singing",
    "Eine Frau erklärt das Wetter, größer als üblich",
    "une élève à l'école, où ça ?",
    "女人在说话",
    "一个 man 在唱歌。",
    "a cat 🦙",
    "👩🏽‍🚀 talking",
    "Привет, мир",
    "a   woman\tis\nsinging </s> and <unk>",
)


@pytest.fixture(scope="module")
def folder(tiny_folder: Path) -> Path:
    return PublishedLayout(tiny_folder).tokenizer


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_ids_are_those_of_the_file(folder: Path, prompt: str) -> None:
    expected = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(prompt).ids
    found = read_tokenizer(folder)(prompt).input_ids
    assert found == expected
    assert found[-1] == 1
    assert 2 not in found


def test_an_emoji_is_taken_apart_into_its_bytes(folder: Path) -> None:
    ids = read_tokenizer(folder)("🦙").input_ids
    assert ids[-5:] == [4 + byte for byte in "🦙".encode()] + [1]


def test_what_the_vocabulary_lacks_changes_the_embedding(tiny_folder: Path) -> None:
    layout = PublishedLayout(tiny_folder)
    encoder: Any = UmT5(read_pickle(layout.text_weights, torch.float32), layout.tokenizer, 80)
    llama, cat, words = encoder.embed(["🦙", "🐈", "a " * 200])
    assert llama.shape == cat.shape
    assert not torch.equal(llama, cat)
    assert words.shape[0] == 80
