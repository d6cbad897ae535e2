"""The packaged manifest, and manifests that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_sidecar.engines.infinitetalk.checkpoints.layout import MULTI
from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.manifest import read_manifest

HEAD = f'[[repository]]\nid = "a/b"\nrevision = "{"c" * 40}"\nfolder = "f"\n'


def test_the_packaged_manifest_has_every_file_of_the_published_layout() -> None:
    files = {file.local: file for file in read_manifest()}
    shards = [f"diffusion_pytorch_model-0000{i}-of-00007.safetensors" for i in range(1, 8)]
    assert {
        "InfiniteTalk/single/infinitetalk.safetensors",
        "chinese-wav2vec2-base/config.json",
        "chinese-wav2vec2-base/preprocessor_config.json",
        "chinese-wav2vec2-base/model.safetensors",
        *(
            f"Wan2.1-I2V-14B-480P/{name}"
            for name in (
                *shards,
                "config.json",
                "models_t5_umt5-xxl-enc-bf16.pth",
                "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
                "Wan2.1_VAE.pth",
                "google/umt5-xxl/tokenizer.json",
            )
        ),
    } <= set(files)
    assert all(len(file.revision) == 40 for file in files.values())
    assert all((file.size is None) == (file.sha256 is None) for file in files.values())


def test_an_optional_part_is_included_only_on_request() -> None:
    plain, more = read_manifest(), read_manifest(parts=["model", "reference"])
    extra = {file.local for file in more} - {file.local for file in plain}
    assert extra
    assert all(name.startswith("Wan2.1-I2V-14B-480P/xlm-roberta-large/") for name in extra)


def test_the_audio_branch_for_two_voices_is_a_part_of_its_own() -> None:
    plain, more = read_manifest(), read_manifest(parts=["model", "multi"])
    extra = {file.local for file in more} - {file.local for file in plain}
    assert extra == {MULTI}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[repository]", "cannot be read"),
        ("other = 1", "is not a manifest"),
        (HEAD.replace("c" * 40, "main") + '[[repository.file]]\npath = "x"', "is no commit"),
        (HEAD.replace("a/b", "https://a/b") + '[[repository.file]]\npath = "x"', "no repository"),
        (HEAD + '[[repository.file]]\npath = "../x"', "would leave its folder"),
        (HEAD + '[[repository.file]]\npath = "x"\nname = "/etc/x"', "would leave its folder"),
        (HEAD + '[[repository.file]]\npath = "x"\nsha256 = "123"', "the sha256 of x"),
        (HEAD + '[[repository.file]]\npath = "x"\nbytes = "9"', "the bytes of x"),
        (HEAD + '[[repository.file]]\npath = "x"\nsha265 = "9"', "unknown keys sha265"),
        (HEAD + '[[repository.file]]\npath = "x"\n' * 2, "names f/x twice"),
        (HEAD + "file = []", "has no files"),
    ],
)
def test_an_invalid_manifest_is_refused_with_the_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    with pytest.raises(WeightsError, match=reason):
        read_manifest(path)
