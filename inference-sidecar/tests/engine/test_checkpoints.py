"""Published tensor names: every tensor is used, each exactly once, and none is unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.codec_names import codec_weights
from inference_sidecar.engines.infinitetalk.checkpoints.image_names import image_weights
from inference_sidecar.engines.infinitetalk.checkpoints.layout import (
    MissingWeights,
    PublishedLayout,
)
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_files import (
    SafetensorsFiles,
    read_pickle,
)
from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import (
    MissingTensor,
    TensorSource,
)
from inference_sidecar.engines.infinitetalk.checkpoints.text_names import TextSizes, text_weights
from inference_sidecar.engines.infinitetalk.native.dit import build_dit
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import (
    PUBLISHED,
    Shapes,
    TinySizes,
)
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.tensor_shapes import (
    audio_shapes,
    base_shapes,
    codec_shapes,
    image_shapes,
    text_shapes,
)

TINY = TinySizes()


def meta(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors with shapes but without values, so that the published sizes cost nothing."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_every_tensor_of_the_published_transformer_is_used_and_gives_its_sizes() -> None:
    tensors = meta(base_shapes(PUBLISHED) | audio_shapes(PUBLISHED))
    assert sum(tensor.numel() for tensor in tensors.values()) == pytest.approx(18.882e9, rel=1e-3)
    config = build_dit(tensors, {"num_heads": 40, "eps": 1e-6, "text_len": 512}).config
    assert (config.dim, config.heads, config.layers, config.head_dim) == (5120, 40, 40, 128)
    assert (config.audio_window, config.audio_tokens, config.audio_dim) == (5, 32, 768)
    assert (config.patch, config.out_channels, config.frequency_dim) == ((1, 2, 2), 16, 256)


def test_every_tensor_of_the_published_text_encoder_is_used() -> None:
    tensors = meta(text_shapes(PUBLISHED))
    assert sum(tensor.numel() for tensor in tensors.values()) == pytest.approx(5.681e9, rel=1e-3)
    assert len(text_weights(tensors)) == len(tensors) + 1
    sizes = TextSizes.of(tensors)
    assert (sizes.heads, sizes.layers, sizes.inner, sizes.hidden) == (64, 24, 4096, 10240)


def test_every_tensor_of_the_published_codec_is_used() -> None:
    tensors = meta(codec_shapes(PUBLISHED))
    assert sum(tensor.numel() for tensor in tensors.values()) == pytest.approx(127e6, rel=5e-3)
    assert len(codec_weights(tensors)) == len(tensors)


def test_the_image_encoder_leaves_out_only_its_last_layer_and_the_text_half() -> None:
    tensors = meta(image_shapes(TINY))
    renamed = image_weights(tensors)
    parts = ("cls_", "pos_", "patch_", "pre_norm", "transformer.0", "transformer.1")
    used = [name for name in tensors if name.startswith(tuple(f"visual.{one}" for one in parts))]
    fused = [name for name in used if "to_qkv" in name]
    assert len(renamed) == len(used) + 2 * len(fused)


@pytest.mark.parametrize(
    ("read", "shapes"),
    [
        (codec_weights, codec_shapes(TINY)),
        (text_weights, text_shapes(TINY)),
        (image_weights, image_shapes(TINY)),
        (
            lambda tensors: build_dit(tensors, {"num_heads": 2}),
            base_shapes(TINY) | audio_shapes(TINY),
        ),
    ],
)
def test_an_unknown_tensor_is_an_error(
    read: Callable[[dict[str, Tensor]], object], shapes: Shapes
) -> None:
    read(meta(shapes))
    with pytest.raises(ValueError, match=r"diff_b"):
        read(meta(shapes | {"blocks.0.self_attn.diff_b": (2,)}))


def test_a_missing_tensor_is_an_error_that_names_it() -> None:
    shapes = base_shapes(TINY) | audio_shapes(TINY)
    del shapes["blocks.1.audio_cross_attn.proj.bias"]
    with pytest.raises(MissingTensor, match=r"blocks\.1\.audio_cross_attn\.proj\.bias"):
        build_dit(meta(shapes), {"num_heads": 2})


def test_no_tensor_is_taken_twice() -> None:
    source = TensorSource({"one": torch.zeros(1)})
    source.take("one")
    with pytest.raises(ValueError, match="mapped twice"):
        source.take("one")


def test_the_number_of_heads_must_be_configured_and_divide_the_width() -> None:
    tensors = meta(base_shapes(TINY) | audio_shapes(TINY))
    with pytest.raises(TypeError, match="num_heads"):
        build_dit(tensors, {})
    with pytest.raises(ValueError, match="do not divide"):
        build_dit(tensors, {"num_heads": 5})


def test_later_files_override_earlier_ones_and_tensors_are_cast(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "1.safetensors")
    save_file({"b": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "2.safetensors")
    files = SafetensorsFiles(
        [tmp_path / "1.safetensors", tmp_path / "2.safetensors"], dtype=torch.float32
    )
    assert sorted(files) == ["a", "b"]
    assert files["b"].tolist() == [1, 1]
    assert files["b"].dtype == torch.float32


def test_pickles_with_anything_but_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "good.pth")
    assert read_pickle(tmp_path / "good.pth", torch.float32)["a"].dtype == torch.float32
    torch.save({"a": Path("/")}, tmp_path / "bad.pth")
    with pytest.raises(Exception, match="weights_only"):
        read_pickle(tmp_path / "bad.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(TypeError, match="no named tensors"):
        read_pickle(tmp_path / "list.pth")


def test_the_base_model_may_be_shards_an_index_or_a_single_file(tmp_path: Path) -> None:
    base = tmp_path / "Wan2.1-I2V-14B-480P"
    audio = tmp_path / "InfiniteTalk/single/infinitetalk.safetensors"
    audio.parent.mkdir(parents=True)
    base.mkdir()
    layout = PublishedLayout(tmp_path)
    with pytest.raises(MissingWeights, match="diffusion_pytorch_model"):
        _ = layout.transformer_files
    one = base / "diffusion_pytorch_model.safetensors"
    one.touch()
    with pytest.raises(MissingWeights, match=r"infinitetalk\.safetensors"):
        _ = layout.transformer_files
    audio.touch()
    assert layout.transformer_files == [one, audio]
    part = base / "diffusion_pytorch_model-00001-of-00002.safetensors"
    part.touch()
    index = {"weight_map": {"a": part.name, "b": part.name}}
    (base / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert layout.transformer_files == [part, audio]
    shards = [base / f"diffusion_pytorch_model-{n:05}-of-00007.safetensors" for n in range(1, 8)]
    for shard in shards:
        shard.touch()
    assert layout.transformer_files == [*shards, audio]
