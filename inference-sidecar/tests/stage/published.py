"""A folder in the published layout with small random tensors: names and shapes, but no model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.layout import SHARDS

DIM, FFN, AUDIO = 32, 48, 16


def base_tensors(layers: int = 2) -> dict[str, Tensor]:
    """The names and proportions of the published base model."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (DIM, 36, 1, 2, 2),
        "patch_embedding.bias": (DIM,),
        "text_embedding.0.weight": (DIM, 64),
        "text_embedding.0.bias": (DIM,),
        "time_embedding.0.weight": (DIM, 16),
        "time_projection.1.weight": (6 * DIM, DIM),
        "img_emb.proj.0.weight": (48,),
        "img_emb.proj.1.weight": (48, 48),
        "head.head.weight": (64, DIM),
        "head.modulation": (1, 2, DIM),
    }
    for block in (f"blocks.{i}" for i in range(layers)):
        shapes[f"{block}.modulation"] = (1, 6, DIM)
        shapes[f"{block}.norm3.weight"] = (DIM,)
        for layer in ("self_attn.q", "cross_attn.k_img"):
            shapes |= {f"{block}.{layer}.weight": (DIM, DIM), f"{block}.{layer}.bias": (DIM,)}
        shapes |= {f"{block}.ffn.0.weight": (FFN, DIM), f"{block}.ffn.0.bias": (FFN,)}
    return _random(shapes, 1)


def audio_tensors(layers: int = 2) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"audio_proj.proj1.weight": (24, 96)}
    for i in range(layers):
        shapes[f"blocks.{i}.audio_cross_attn.proj.weight"] = (DIM, AUDIO)
        shapes[f"blocks.{i}.audio_cross_attn.proj.bias"] = (DIM,)
    return _random(shapes, 2)


def _random(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write_published(root: Path) -> None:
    """The folder of the weights after `fetch`, in the published layout."""
    base = root / "Wan2.1-I2V-14B-480P"
    base.mkdir(parents=True)
    tensors = base_tensors()
    names = sorted(tensors)
    for index, shard in enumerate(SHARDS):
        save_file({name: tensors[name] for name in names[index :: len(SHARDS)]}, base / shard)
    (base / "config.json").write_text(json.dumps({"num_heads": 2, "text_len": 16}))
    audio = root / "InfiniteTalk/single/infinitetalk.safetensors"
    audio.parent.mkdir(parents=True)
    save_file(audio_tensors(), audio)
    torch.save(
        {"token_embedding.weight": torch.randn(50, 8).bfloat16()},
        base / "models_t5_umt5-xxl-enc-bf16.pth",
    )
    torch.save(
        {
            "visual.pre_norm.weight": torch.randn(8),
            "textual.big": torch.randn(50),
            "log_scale": torch.tensor(1.0),
        },
        base / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
    )
    torch.save({"conv1.weight": torch.randn(4, 4, 1, 1, 1)}, base / "Wan2.1_VAE.pth")
    tokenizer = base / "google/umt5-xxl"
    tokenizer.mkdir(parents=True)
    (tokenizer / "tokenizer.json").write_text("{}")
    voice = root / "chinese-wav2vec2-base"
    voice.mkdir()
    (voice / "config.json").write_text("{}")
    (voice / "preprocessor_config.json").write_text("{}")
    save_file({"layer.weight": torch.randn(4, 4)}, voice / "model.safetensors")
