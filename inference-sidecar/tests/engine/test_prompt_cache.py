"""The prompt cache embeds a prompt once, whatever happens to its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference_sidecar.engines.infinitetalk.encoders.prompt_cache import PromptCache


class Encoder:
    """Embeds each text as a different tensor, and counts the calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.made = 0

    def make(self) -> Encoder:
        self.made += 1
        return self

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        self.asked += texts
        return [self.of(text) for text in texts]

    @staticmethod
    def of(text: str) -> Tensor:
        generator = torch.Generator().manual_seed(sum(text.encode()))
        return torch.randn(len(text) + 1, 8, generator=generator)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def kept(folder: Path, encoder: Encoder, fingerprint: str = "f", **options: int) -> PromptCache:
    return PromptCache(folder / "prompts", fingerprint, encoder.make, **options)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "prompts").iterdir())


def test_a_prompt_is_embedded_once_also_by_the_next_process(
    tmp_path: Path, encoder: Encoder
) -> None:
    first = kept(tmp_path, encoder).embed(["a", "b"])
    second = kept(tmp_path, encoder).embed(["b", "a"])
    assert encoder.asked == ["a", "b"]
    assert [torch.equal(x, y) for x, y in zip(first, reversed(second), strict=True)] == [True, True]
    assert torch.equal(first[0], Encoder.of("a"))


def test_the_encoder_is_created_only_on_a_miss(tmp_path: Path, encoder: Encoder) -> None:
    kept(tmp_path, encoder).embed(["a"])
    again = kept(tmp_path, encoder)
    again.embed(["a"])
    assert encoder.made == 1
    again.embed(["a", "new"])
    again.embed(["newer"])
    assert encoder.made == 2
    assert encoder.asked == ["a", "new", "newer"]


def test_a_repeated_text_is_embedded_once(tmp_path: Path, encoder: Encoder) -> None:
    result = kept(tmp_path, encoder).embed(["a", "a"])
    assert encoder.asked == ["a"]
    assert torch.equal(result[0], result[1])


def test_embeddings_of_other_weights_are_not_used(tmp_path: Path, encoder: Encoder) -> None:
    kept(tmp_path, encoder, "one").embed(["a"])
    kept(tmp_path, encoder, "two").embed(["a"])
    assert encoder.asked == ["a", "a"]


def test_values_are_stored_exactly_and_those_of_bf16_in_half_the_space(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = torch.randn(64, 64)
    monkeypatch.setattr(Encoder, "of", staticmethod(lambda _: exact))
    kept(tmp_path, encoder).embed(["a"])
    assert torch.equal(kept(tmp_path, encoder).embed(["a"])[0], exact)
    large = files(tmp_path)[0].stat().st_size
    half = exact.bfloat16().float()
    monkeypatch.setattr(Encoder, "of", staticmethod(lambda _: half))
    kept(tmp_path, encoder, "other").embed(["a"])
    restored = kept(tmp_path, encoder, "other").embed(["a"])[0]
    assert torch.equal(restored, half)
    assert restored.dtype == torch.float32
    assert min(path.stat().st_size for path in files(tmp_path)) < 0.6 * large


@pytest.mark.parametrize("damage", ["truncated", "emptied", "one bit", "another format"])
def test_a_damaged_entry_is_computed_again_and_replaced(
    tmp_path: Path, encoder: Encoder, damage: str
) -> None:
    kept(tmp_path, encoder).embed(["a"])
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    damaged = {
        "truncated": bytes(content[:-5]),
        "emptied": b"",
        "one bit": bytes(content),
        "another format": b"{}" * 100,
    }
    path.write_bytes(damaged[damage])
    result = kept(tmp_path, encoder).embed(["a"])
    assert torch.equal(result[0], Encoder.of("a"))
    assert encoder.asked == ["a", "a"]
    kept(tmp_path, encoder).embed(["a"])
    assert encoder.asked == ["a", "a"]


def test_a_partly_written_entry_is_never_visible(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = kept(tmp_path, encoder).embed(["a"])
    assert torch.equal(result[0], Encoder.of("a"))
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_created_fails_no_render(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "prompts").write_text("a file")
    result = kept(tmp_path, encoder).embed(["a"])
    assert torch.equal(result[0], Encoder.of("a"))


def test_the_least_recently_used_entries_are_deleted_first(
    tmp_path: Path, encoder: Encoder
) -> None:
    one = kept(tmp_path, encoder)
    one.embed(["a"])
    size = files(tmp_path)[0].stat().st_size
    small = kept(tmp_path, encoder, most_bytes=3 * size)
    for age, text in enumerate("bc", start=1):
        small.embed([text])
        for path in files(tmp_path):
            os.utime(path, ns=(path.stat().st_mtime_ns - age, path.stat().st_mtime_ns - 10**9))
    small.embed(["a"])  # It is used again, so that b is the longest unused now.
    small.embed(["d"])
    encoder.asked.clear()
    kept(tmp_path, encoder, most_bytes=3 * size).embed(["a", "c", "d"])
    assert encoder.asked == []
    kept(tmp_path, encoder).embed(["b"])
    assert encoder.asked == ["b"]
