"""Writes a folder in the published layout with tiny random models.

The values have the magnitude of trained weights. In a freshly initialised network whole branches
are zero, and most mistakes would not show.
"""

from __future__ import annotations

import json
import math
import string
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from inference_sidecar.engines.infinitetalk.checkpoints import layout
from inference_sidecar.engines.infinitetalk.inputs.prepare_job import NEGATIVE_PROMPT
from inference_sidecar.engines.infinitetalk.upstream_checks.tiny_weights.sizes import (
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

_WORDS: Final = ("A", "a", "woman", "man", "is", "talking", "to", "the", "camera", "singing")
_SPECIAL: Final = ("<pad>", "</s>", "<s>", "<unk>")
"""In umT5's order. Libraries that assume another one read other tokens, without an error."""
_SPACE: Final = "\u2581"
"""What a sentencepiece model writes for a space."""


def write_tiny_weights(root: Path, sizes: TinySizes, seed: int = 0) -> Path:
    """Fills `root` with the three repositories and returns it. The same seed gives the same
    bytes."""
    generator = torch.Generator().manual_seed(seed)
    base = root / layout.BASE
    audio = root / layout.AUDIO
    audio.parent.mkdir(parents=True)
    base.mkdir(parents=True)
    _write_shards(base, random_tensors(base_shapes(sizes), generator))
    save_file(random_tensors(audio_shapes(sizes), generator), audio)
    # Drawn apart, so that nothing else changes where it is left out.
    multi = root / layout.MULTI
    multi.parent.mkdir(parents=True)
    save_file(random_tensors(audio_shapes(sizes), torch.Generator().manual_seed(seed + 1)), multi)
    _write_config(base / "config.json", sizes)
    for name, shapes in (
        (layout.TEXT_WEIGHTS, text_shapes(sizes)),
        (layout.IMAGE_WEIGHTS, image_shapes(sizes)),
        (layout.CODEC_WEIGHTS, codec_shapes(sizes)),
    ):
        torch.save(random_tensors(shapes, generator), base / name)
    for name in (layout.TOKENIZER, layout.IMAGE_TOKENIZER):
        _write_tokenizer(base / name, sizes.text_vocabulary)
    _write_voice(root / layout.VOICE, sizes, generator)
    return root


def random_tensors(shapes: Shapes, generator: torch.Generator) -> dict[str, Tensor]:
    """A random tensor for every shape, scaled by its role, which follows from name and shape."""
    return {name: _random(name, shape, generator) for name, shape in shapes.items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator)
    if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
        # Large enough for positions to matter: otherwise a base of the rotary embedding that is
        # 1 % off would stay within rounding.
        return (2 if "self_attn" in name else 1) * (1 + 0.1 * values)
    is_convolution = len(shape) >= 4
    is_codec = name.startswith(("encoder.", "decoder.", "conv"))
    if name.endswith("bias"):
        # The codec divides by the norm of a few channels, which these biases keep away from zero.
        return (0.2 if is_codec else 0.1) * values
    if "modulation" in name:
        return 0.3 * values
    if "embedding" in name and "patch" not in name and len(shape) != 2:
        return 0.5 * values
    if name in {"token_embedding.weight", "log_scale"} or "pos_embedding" in name:
        return values
    # Linear layers preserve the magnitude of their input. Convolutions reduce it, the last one
    # most: frames stay within -1..1, and rounding errors of one chunk do not grow in the next.
    gain = 0.4 if name == "decoder.head.2.weight" else 0.6 if is_convolution else 1.0
    return gain * values / math.sqrt(math.prod(shape[1:]) if len(shape) > 1 else 1)


def _write_shards(folder: Path, tensors: dict[str, Tensor]) -> None:
    names = sorted(tensors)
    for index, shard in enumerate(layout.SHARDS):
        save_file(
            {name: tensors[name] for name in names[index :: len(layout.SHARDS)]}, folder / shard
        )


def _write_config(path: Path, sizes: TinySizes) -> None:
    config = {
        "_class_name": "WanModel",
        "model_type": "i2v",
        "dim": sizes.dim,
        "eps": sizes.epsilon,
        "ffn_dim": sizes.ffn,
        "freq_dim": sizes.frequency_dim,
        "in_dim": 36,
        "num_heads": sizes.heads,
        "num_layers": sizes.layers,
        "out_dim": 16,
        "text_len": sizes.text_tokens,
        "text_dim": sizes.text_dim,
        "intermediate_dim": sizes.audio_hidden,
        "output_dim": sizes.audio_dim,
        "context_tokens": sizes.audio_tokens,
    }
    path.write_text(json.dumps(config))


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A tokenizer in umT5's layout: pieces with scores, and a token for each of the 256 bytes, into
    which it takes apart what no piece covers."""
    folder.mkdir(parents=True)
    letters = (*string.ascii_letters, *",.-")
    words = dict.fromkeys([*_WORDS, *NEGATIVE_PROMPT.replace(",", "").split()])
    pieces = [
        *((token, 0.0) for token in _SPECIAL),
        *((f"<0x{byte:02X}>", -20.0) for byte in range(256)),
        *((letter, -8.0) for letter in (_SPACE, *letters)),
        # A word costs less than its letters. The scores differ, so that no cut is a tie.
        *((f"{_SPACE}{word}", -4.0 - index / 100) for index, word in enumerate(words)),
    ]
    if len(pieces) > vocabulary:
        raise ValueError(f"The tokenizer has {len(pieces)} pieces, the encoder {vocabulary}.")
    model = models.Unigram(pieces, _SPECIAL.index("<unk>"), byte_fallback=True)
    tokenizer = cast("Any", Tokenizer)(model)
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, "always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", _SPECIAL.index("</s>"))]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = dict(zip(("pad_token", "eos_token", "bos_token", "unk_token"), _SPECIAL, strict=True))
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _write_voice(folder: Path, sizes: TinySizes, generator: torch.Generator) -> None:
    """wav2vec2. The transformer expects 12 layers of 768, so these sizes cannot be tiny."""
    config = cast("Any", Wav2Vec2Config)(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=sizes.voice_hidden,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    model = cast("Any", Wav2Vec2Model)(config)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(_random(name.replace("weight_g", "gamma"), parameter.shape, generator))
    model.save_pretrained(str(folder))
    extractor = cast("Any", Wav2Vec2FeatureExtractor)(do_normalize=True)
    extractor.save_pretrained(str(folder))
