"""From the published layout to resident files: their content, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.layout import MULTI
from inference_sidecar.engines.infinitetalk.checkpoints.resident_file import (
    MergedLora,
    ResidentFile,
    ResidentFolder,
    ResidentInfo,
)
from inference_sidecar.engines.infinitetalk.native.fp8 import E4M3, Granularity
from inference_sidecar.foundation.errors import WeightsError
from inference_sidecar.weights.hashes import sha256_of
from inference_sidecar.weights.prepare import sources
from inference_sidecar.weights.prepare.command import Preparation
from stage.published import audio_tensors, base_tensors

CPU = torch.device("cpu")
Q = "blocks.1.self_attn.q"
TRANSFORMER = "resident/transformer-fp8.safetensors"


def prepare(storage: Path, **options: object) -> ResidentFolder:
    Preparation(storage, **{"loras": (), **options}).run()
    return ResidentFolder(storage)


def published() -> dict[str, Tensor]:
    return base_tensors() | audio_tensors()


def test_the_linear_layers_of_the_blocks_are_quantised_but_those_that_hear_the_voice(
    storage: Path,
) -> None:
    tensors = prepare(storage).transformer("fp8").load(CPU)
    quantised = {name for name, tensor in tensors.items() if tensor.dtype == E4M3}
    assert quantised == {
        name
        for name, tensor in published().items()
        if name.startswith("blocks.") and name.endswith(".weight") and tensor.ndim == 2
        if "audio_cross_attn" not in name
    }
    half = {name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16}
    assert half == {
        "text_embedding.0.weight",
        "img_emb.proj.1.weight",
        "audio_proj.proj1.weight",
        *(f"blocks.{block}.audio_cross_attn.proj.weight" for block in range(2)),
    }
    for exact in ("time_embedding.0.weight", "time_projection.1.weight", "head.head.weight"):
        assert torch.equal(tensors[exact], published()[exact])
    for exact in ("patch_embedding.weight", "head.modulation", "blocks.0.modulation", f"{Q}.bias"):
        assert torch.equal(tensors[exact], published()[exact])


def test_every_tensor_is_there_and_quantised_ones_have_their_scales(storage: Path) -> None:
    tensors = prepare(storage).transformer("fp8").load(CPU)
    scales = {name for name in tensors if name.endswith(".weight_scale")}
    assert set(tensors) - scales == set(published())
    weight = published()[f"{Q}.weight"]
    scale = tensors[f"{Q}.weight_scale"]
    assert scale.shape == (weight.shape[0],)
    restored = tensors[f"{Q}.weight"].float() * scale[:, None]
    assert float((restored - weight).norm() / weight.norm()) < 0.03


def test_the_branch_for_two_voices_is_a_file_of_its_own_and_never_quantised(storage: Path) -> None:
    assert prepare(storage).multi("fp8") is None
    before = ResidentFile(storage / TRANSFORMER).info.fingerprint
    multi = storage / MULTI
    multi.parent.mkdir(parents=True)
    save_file({name: -tensor for name, tensor in audio_tensors().items()}, multi)
    folder = prepare(storage, precisions=("fp8", "bf16"))
    made = folder.multi("fp8")
    assert made is not None
    assert made.info == folder.multi("bf16").info
    tensors = made.load(CPU)
    assert set(tensors) == set(audio_tensors())
    weight = "blocks.1.audio_cross_attn.proj.weight"
    assert torch.equal(tensors[weight], -audio_tensors()[weight].bfloat16())
    # A transformer that exists is left alone.
    assert ResidentFile(storage / TRANSFORMER).info.fingerprint == before


def test_a_tensor_gets_a_single_scale_if_requested(storage: Path) -> None:
    file = prepare(storage, granularity=Granularity.TENSOR).transformer("fp8")
    tensors = file.load(CPU)
    weight = published()[f"{Q}.weight"]
    assert file.info.precision == "fp8-tensor"
    assert tensors[f"{Q}.weight_scale"].shape == ()
    torch.testing.assert_close(tensors[f"{Q}.weight_scale"], weight.abs().max() / 448)
    restored = tensors[f"{Q}.weight"].float() * tensors[f"{Q}.weight_scale"]
    assert float((restored - weight).norm() / weight.norm()) < 0.03


def test_bf16_and_fp32_have_no_scales(storage: Path) -> None:
    folder = prepare(storage, precisions=("bf16", "fp32"))
    half, full = folder.transformer("bf16").load(CPU), folder.transformer("fp32").load(CPU)
    assert set(half) == set(full) == set(published())
    assert torch.equal(half[f"{Q}.weight"], published()[f"{Q}.weight"].bfloat16())
    assert all(torch.equal(full[name], tensor) for name, tensor in published().items())


@pytest.mark.parametrize("granularity", list(Granularity))
def test_the_size_of_the_pieces_changes_nothing(
    storage: Path, monkeypatch: pytest.MonkeyPatch, granularity: Granularity
) -> None:
    whole = prepare(storage, granularity=granularity, has_encoders=False).transformer("fp8")
    expected = sha256_of(storage / TRANSFORMER)
    (storage / TRANSFORMER).unlink()
    monkeypatch.setattr(sources, "BLOCK_BYTES", 200)
    again = prepare(storage, granularity=granularity, has_encoders=False).transformer("fp8")
    assert sha256_of(storage / TRANSFORMER) == expected
    assert again.info == whole.info


def test_a_lora_is_merged_before_anything_is_rounded(
    storage: Path, write_lora: Callable[[dict[str, Tensor]], Path]
) -> None:
    down, up = torch.randn(4, 32), torch.randn(32, 4)
    lora = write_lora(
        {f"diffusion_model.{Q}.lora_A.weight": down, f"diffusion_model.{Q}.lora_B.weight": up}
    )
    folder = prepare(storage, precisions=("fp32", "fp8"), loras=((lora, 0.5),), recipe="fusionx")
    expected = published()[f"{Q}.weight"] + 0.5 * up @ down
    full = folder.transformer("fp32").load(CPU)
    torch.testing.assert_close(full[f"{Q}.weight"], expected)
    others = set(full) - {f"{Q}.weight"}
    assert all(torch.equal(full[name], published()[name]) for name in others)
    quantised = folder.transformer("fp8").load(CPU)
    restored = quantised[f"{Q}.weight"].float() * quantised[f"{Q}.weight_scale"][:, None]
    assert float((restored - expected).norm() / expected.norm()) < 0.03
    merged = (MergedLora("lora.safetensors", sha256_of(lora), 0.5),)
    assert folder.transformer("fp8").info.loras == merged
    assert folder.transformer("fp8").info.recipe == "fusionx"


def test_a_refused_lora_leaves_no_file(
    storage: Path, write_lora: Callable[[dict[str, Tensor]], Path]
) -> None:
    lora = write_lora({"diffusion_model.blocks.9.q.lora_A.weight": torch.randn(4, 32)})
    with pytest.raises(WeightsError, match=r"blocks\.9\.q\.lora_A"):
        prepare(storage, loras=((lora, 1.0),), has_encoders=False)
    assert not (storage / "resident").exists()


@pytest.mark.parametrize("name", ["blocks.1.audio_cross_attn.proj", "audio_proj.proj1"])
def test_a_lora_that_changes_the_audio_branch_is_refused(
    storage: Path, write_lora: Callable[[dict[str, Tensor]], Path], name: str
) -> None:
    """Planted beside a change of the base, which alone would be merged."""
    shape = published()[f"{name}.weight"].shape
    planted = {f"{Q}.diff": torch.randn(32, 32), f"diffusion_model.{name}.diff": torch.ones(shape)}
    with pytest.raises(WeightsError, match=rf"lora\.safetensors changes the audio .*{name}"):
        prepare(storage, loras=((write_lora(planted), 1.0),), recipe="fusionx")
    assert not (storage / TRANSFORMER).exists()


def test_the_header_records_the_sources(storage: Path) -> None:
    info = prepare(storage).transformer("fp8").info
    assert info.part == "transformer"
    assert info.precision == "fp8-row"
    assert info.config == {"num_heads": 2, "text_len": 16}
    audio = "InfiniteTalk/single/infinitetalk.safetensors"
    assert info.sources[audio] == sha256_of(storage / audio)
    assert len(info.sources) == 8


def test_the_fingerprint_covers_everything_that_decides_the_content(
    storage: Path, write_lora: Callable[[dict[str, Tensor]], Path]
) -> None:
    def fingerprint(**options: object) -> str:
        folder = prepare(storage, has_encoders=False, **options)
        return folder.transformer("fp8").info.fingerprint

    first = fingerprint()
    lora = write_lora({f"{Q}.diff": torch.randn(32, 32)})
    others = [
        fingerprint(granularity=Granularity.TENSOR),
        fingerprint(recipe="it-distilled"),
        fingerprint(loras=((lora, 1.0),), recipe="fusionx"),
        fingerprint(loras=((lora, 0.9),), recipe="fusionx"),
    ]
    assert fingerprint() == first
    audio = audio_tensors()
    audio["audio_proj.proj1.weight"] += 1
    save_file(audio, storage / "InfiniteTalk/single/infinitetalk.safetensors")
    others.append(fingerprint())
    assert len({first, *others}) == 6


def test_an_existing_file_is_not_made_again(storage: Path) -> None:
    prepare(storage)
    before = {p: p.stat().st_mtime_ns for p in (storage / "resident").glob("*.safetensors")}
    prepare(storage)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_partly_written_file_is_never_visible(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    target = "inference_sidecar.weights.prepare.writer.ResidentWriter.write"
    monkeypatch.setattr(target, broken)
    with pytest.raises(KeyboardInterrupt):
        prepare(storage, has_encoders=False)
    assert list((storage / "resident").iterdir()) == []


def test_damaged_weights_are_named_and_not_written(storage: Path) -> None:
    audio = audio_tensors()
    audio["blocks.0.audio_cross_attn.proj.weight"][3, 3] = float("nan")
    save_file(audio, storage / "InfiniteTalk/single/infinitetalk.safetensors")
    with pytest.raises(WeightsError, match=r"blocks\.0\.audio_cross_attn\.proj\.weight has values"):
        prepare(storage, has_encoders=False)
    assert not (storage / TRANSFORMER).exists()


def test_a_truncated_shard_is_reported(storage: Path) -> None:
    shard = storage / "Wan2.1-I2V-14B-480P/diffusion_pytorch_model-00003-of-00007.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"00003-of-00007.*cannot be read.*verify"):
        prepare(storage, has_encoders=False)


def test_a_missing_file_is_reported(storage: Path) -> None:
    (storage / "InfiniteTalk/single/infinitetalk.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"infinitetalk\.safetensors is missing.*fetch"):
        prepare(storage)


def test_the_encoders_become_safetensors_with_the_published_names(storage: Path) -> None:
    folder = prepare(storage, has_transformer=False)
    text = folder.part("text").load(CPU)
    assert text["token_embedding.weight"].dtype == torch.bfloat16
    image = folder.part("image").load(CPU)
    assert set(image) == {"visual.pre_norm.weight"}
    assert image["visual.pre_norm.weight"].dtype == torch.float16
    assert set(folder.part("codec").load(CPU)) == {"conv1.weight"}
    assert (folder.tokenizer / "tokenizer.json").read_text() == "{}"
    assert set(load_file(folder.voice / "model.safetensors")) == {"layer.weight"}
    assert {p.name for p in folder.voice.iterdir()} == {
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    }


def test_a_pickled_voice_becomes_safetensors(storage: Path) -> None:
    voice = storage / "chinese-wav2vec2-base"
    (voice / "model.safetensors").unlink()
    torch.save({"layer.weight": torch.ones(2, 2)}, voice / "pytorch_model.bin")
    folder = prepare(storage, has_transformer=False)
    assert torch.equal(
        load_file(folder.voice / "model.safetensors")["layer.weight"], torch.ones(2, 2)
    )


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this must never run",))


def test_a_pickle_that_holds_more_than_tensors_is_refused(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae = storage / "Wan2.1-I2V-14B-480P/Wan2.1_VAE.pth"
    torch.save({"conv1.weight": torch.ones(1), "x": _Harmful()}, vae)
    with pytest.raises(WeightsError, match=r"Wan2\.1_VAE\.pth.*cannot be read"):
        prepare(storage, has_transformer=False)
    assert "never run" not in capsys.readouterr().out


def test_the_manifests_lora_is_used_by_default(storage: Path) -> None:
    with pytest.raises(WeightsError, match=r"rank64.*--no-lora"):
        prepare(storage, loras=None, has_encoders=False)


def test_a_lora_that_nothing_is_known_of_needs_a_recipe(
    storage: Path, write_lora: Callable[[dict[str, Tensor]], Path]
) -> None:
    lora = write_lora({f"{Q}.diff": torch.randn(32, 32)})
    with pytest.raises(WeightsError, match=r"lora\.safetensors.*--recipe \(lightx2v-4, fusionx"):
        prepare(storage, loras=((lora, 1.0),), has_encoders=False)
    assert not (storage / "resident").exists()


@pytest.mark.parametrize(
    ("loras", "recipe"),
    [
        ((), "undistilled"),
        (
            (
                MergedLora(
                    "rank64.safetensors",
                    "8833bd4fd7c8eabebf0bc8ee5cfaf47f4f310ce116928a02c1adf8941dd4b0f1",
                    1.0,
                ),
            ),
            "lightx2v-4",
        ),
        ((MergedLora("other.safetensors", "0" * 64, 1.0),), None),
    ],
)
def test_a_file_of_an_older_version_gets_its_recipe_from_the_loras_it_names(
    loras: tuple[MergedLora, ...], recipe: str | None
) -> None:
    older = ResidentInfo("transformer", "fp8-row", {}, "0.0.1", loras=loras).to_metadata()
    facts = json.loads(older["avatar"])
    del facts["recipe"]
    metadata = {**older, "avatar": json.dumps(facts)}
    if recipe is None:
        with pytest.raises(ValueError, match=r"not known how to sample with other\.safetensors"):
            ResidentInfo.from_metadata(metadata)
        return
    info = ResidentInfo.from_metadata(metadata)
    assert info.recipe == recipe
    newer = ResidentInfo("transformer", "fp8-row", {}, "0.1.0", loras=loras, recipe=info.recipe)
    assert info.fingerprint == newer.fingerprint


def test_a_resident_file_of_another_kind_is_refused(storage: Path) -> None:
    folder = prepare(storage)
    path = storage / TRANSFORMER
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(WeightsError, match=r"header is not one of ours.*prepare"):
        folder.transformer("fp8")
    path.write_bytes(b"x" * 100)
    with pytest.raises(WeightsError, match=r"cannot be used.*prepare"):
        folder.transformer("fp8")
    path.unlink()
    with pytest.raises(WeightsError, match=r"is missing: run .*prepare"):
        folder.transformer("fp8")


def test_a_truncated_resident_file_is_refused(storage: Path) -> None:
    folder = prepare(storage)
    path = storage / TRANSFORMER
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="cannot be used"):
        folder.transformer("fp8")


def test_a_changed_header_is_refused(storage: Path) -> None:
    folder = prepare(storage)
    path = storage / TRANSFORMER
    path.write_bytes(path.read_bytes().replace(b"fp8-row", b"fp8-ROW"))
    with pytest.raises(WeightsError, match="contradicts itself"):
        folder.transformer("fp8")


def test_uploading_gives_the_same_tensors_as_mapping(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = prepare(storage).transformer("fp8")
    mapped = file.load(CPU)
    monkeypatch.setattr(
        "inference_sidecar.engines.infinitetalk.checkpoints.resident_file._GROUP_BYTES", 3000
    )
    read_bytes: list[int] = []
    uploaded = dict(file._uploaded(CPU, read_bytes.append))
    assert 0 < sum(read_bytes) <= file.size_bytes
    assert set(uploaded) == set(mapped)
    for name, tensor in mapped.items():
        assert torch.equal(tensor.view(torch.uint8), uploaded[name].view(torch.uint8))


def test_verify_covers_what_was_prepared(storage: Path) -> None:
    prepare(storage)
    record = json.loads((storage / "weights-lock.json").read_text())
    assert record["resident"][TRANSFORMER]["sha256"] == sha256_of(storage / TRANSFORMER)
    assert ResidentFile(storage / TRANSFORMER).size_bytes == record["resident"][TRANSFORMER]["size"]
