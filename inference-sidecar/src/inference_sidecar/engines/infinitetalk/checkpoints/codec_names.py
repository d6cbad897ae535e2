"""Maps the video autoencoder's published tensor names to those of diffusers."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from inference_sidecar.engines.infinitetalk.checkpoints.tensor_source import TensorSource

_RESIDUAL: Final = {
    "residual.0.gamma": "norm1.gamma",
    "residual.2.weight": "conv1.weight",
    "residual.2.bias": "conv1.bias",
    "residual.3.gamma": "norm2.gamma",
    "residual.6.weight": "conv2.weight",
    "residual.6.bias": "conv2.bias",
    "shortcut.weight": "conv_shortcut.weight",
    "shortcut.bias": "conv_shortcut.bias",
}
_RESAMPLE: Final = {
    name: name
    for name in ("resample.1.weight", "resample.1.bias", "time_conv.weight", "time_conv.bias")
}
_ATTENTION: Final = {
    name: name
    for name in ("norm.gamma", "to_qkv.weight", "to_qkv.bias", "proj.weight", "proj.bias")
}
_CONV: Final = {"weight": "weight", "bias": "bias"}
_LEVELS: Final = 4
_ENCODER_PER_LEVEL: Final = 3
"""Two residual blocks and a downsampling layer, which the last level does not have."""
_DECODER_PER_LEVEL: Final = 4


def codec_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor under its name in `AutoencoderKLWan`. Raises `ValueError` for an unknown
    name."""
    source = TensorSource(tensors)
    renamed: dict[str, Tensor] = {}
    for published, ours, names in _modules():
        for theirs, name in names.items():
            if f"{published}.{theirs}" in source:
                renamed[f"{ours}.{name}"] = source.take(f"{published}.{theirs}")
    if unknown := source.leftovers():
        raise ValueError(f"The video codec has no tensors named {', '.join(unknown[:5])}.")
    return renamed


def base_width(tensors: dict[str, Tensor]) -> int:
    """Channels of the first convolution, from which all other widths follow."""
    return TensorSource(tensors).peek_shape("encoder.conv1.weight")[0]


def _modules() -> list[tuple[str, str, dict[str, str]]]:
    """Published prefix, diffusers' prefix, and the names below it."""
    modules = [("conv1", "quant_conv", _CONV), ("conv2", "post_quant_conv", _CONV)]
    for half in ("encoder", "decoder"):
        modules += [
            (f"{half}.conv1", f"{half}.conv_in", _CONV),
            (f"{half}.middle.0", f"{half}.mid_block.resnets.0", _RESIDUAL),
            (f"{half}.middle.1", f"{half}.mid_block.attentions.0", _ATTENTION),
            (f"{half}.middle.2", f"{half}.mid_block.resnets.1", _RESIDUAL),
            (f"{half}.head.0", f"{half}.norm_out", {"gamma": "gamma"}),
            (f"{half}.head.2", f"{half}.conv_out", _CONV),
        ]
    for index in range(_ENCODER_PER_LEVEL * _LEVELS - 1):
        is_resample = index % _ENCODER_PER_LEVEL == _ENCODER_PER_LEVEL - 1
        names = _RESAMPLE if is_resample else _RESIDUAL
        modules.append((f"encoder.downsamples.{index}", f"encoder.down_blocks.{index}", names))
    for index in range(_DECODER_PER_LEVEL * _LEVELS - 1):
        level, place = divmod(index, _DECODER_PER_LEVEL)
        is_resample = place == _DECODER_PER_LEVEL - 1
        inner = "upsamplers.0" if is_resample else f"resnets.{place}"
        names = _RESAMPLE if is_resample else _RESIDUAL
        modules.append((f"decoder.upsamples.{index}", f"decoder.up_blocks.{level}.{inner}", names))
    return modules
